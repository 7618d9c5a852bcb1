"""Labels that people gave in Argilla or Label Studio, from the files that those write, into a folder of labels.

The tasks are those of `salus runs export --to argilla` or `--to label-studio`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from actors.contract.records import Label, Record
from actors.errors import SalusError
from actors.files.records import reason
from pipelines.feedback.review.consensus import Drawn
from pipelines.feedback.review.labels import LabelLog

Source = Literal["argilla", "label-studio"]


class ForeignLabel(Record):
    """One person's label of one answer, as another program kept it."""

    prompt: str
    answer: str
    label: Label
    reviewer: str


class Imported(Record):
    """What a file of labels held."""

    source: Source
    labels: int
    reviewers: int
    # Tasks that no one has labelled, or that were skipped.
    unlabelled: int


class _Read(BaseModel):
    """A part of a file of theirs: what is not named here is not looked at."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Texts(_Read):
    prompt: str
    answer: str


class _Response(_Read):
    value: Any = None
    user_id: str | None = None


class _ArgillaRecord(_Read):
    """Of `Dataset.to_disk` and `records.to_json`: `status` is missing in older ones."""

    fields: _Texts
    # By question; those of other questions may have any value.
    responses: dict[str, list[_Response]] | None = None
    status: str = "completed"


class _Result(_Read):
    from_name: str = ""
    # Of a choice: {"choices": [...]}.
    value: dict[str, Any] = Field(default_factory=dict)


class _Annotation(_Read):
    result: tuple[_Result, ...] = ()
    was_cancelled: bool = False
    # A user's number, or the user.
    completed_by: int | str | dict[str, Any] | None = None


class _StudioTask(_Read):
    """Of Label Studio's export format JSON."""

    data: _Texts
    annotations: tuple[_Annotation, ...] = ()


_ARGILLA = TypeAdapter(list[_ArgillaRecord])
_STUDIO = TypeAdapter(list[_StudioTask])
_QUESTION = "label"


def import_labels(file: Path, folder: Path, drawn: Drawn = "informative") -> Imported:
    """Add the labels of a file to those of a folder; the same file once more changes nothing.

    Args:
        file: Argilla's `records.json` or the folder it is in, or Label Studio's export in the format JSON.
        folder: of labels; made where there is none.
        drawn: control where all its answers were drawn at random.

    Raises:
        SalusError: it is neither, a label is none of Salus's, no one has labelled anything, or the folder refuses.
    """
    source, tasks = read_labels_of(file)
    given = [label for task in tasks for label in task]
    if not given:
        raise SalusError(f"No answer in {file} has a label; label some, and export them again.")
    log = LabelLog(folder)
    for each in given:
        log.add(each.prompt, each.answer, each.label, each.reviewer, drawn)
    return Imported(
        source=source,
        labels=len(given),
        reviewers=len({each.reviewer for each in given}),
        unlabelled=sum(not task for task in tasks),
    )


def read_labels_of(file: Path) -> tuple[Source, list[list[ForeignLabel]]]:
    """The labels of each task of a file, and whose it is. Raises SalusError as `import_labels` does."""
    path = file / "records.json" if file.is_dir() else file
    try:
        raw = json.loads(path.read_bytes())
    except OSError as error:
        raise SalusError(f"{path} cannot be read ({reason(error)}); export the labels again.") from error
    except ValueError as error:
        raise SalusError(f"{path} is not JSON ({error}); export the labels again, in the format JSON.") from error
    if not isinstance(raw, list) or not all(isinstance(each, dict) for each in raw):
        raise SalusError(f"{path} is no list of tasks; give Argilla's records.json or Label Studio's export JSON.")
    try:
        if any("fields" in each for each in raw):
            return "argilla", [list(_of_record(each)) for each in _ARGILLA.validate_python(raw)]
        return "label-studio", [list(_of_task(each)) for each in _STUDIO.validate_python(raw)]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        at = ".".join(map(str, first["loc"]))
        raise SalusError(
            f"{path}: {at} is not what Salus exported ({first['msg']}); tasks need the texts prompt and answer, and a"
            " label is Accept, Caution or Refuse."
        ) from error


def _of_record(record: _ArgillaRecord) -> Iterator[ForeignLabel]:
    # One that is pending has drafts alone.
    if record.status == "completed":
        for response in (record.responses or {}).get(_QUESTION, ()):
            yield _given("argilla", record.fields, response.value, response.user_id)


def _of_task(task: _StudioTask) -> Iterator[ForeignLabel]:
    for annotation in task.annotations:
        choices = [
            label
            for result in annotation.result
            if result.from_name == _QUESTION
            for label in result.value.get("choices", ())
        ]
        if choices and not annotation.was_cancelled:
            who = annotation.completed_by
            name = who.get("email") or who.get("id") if isinstance(who, dict) else who
            yield _given("label-studio", task.data, choices[0], name)


def _given(source: Source, texts: _Texts, label: object, who: object) -> ForeignLabel:
    """Raises pydantic's ValidationError for a label that is none."""
    name = f"{source}:{who if who is not None else 'unknown'}"
    row = {"prompt": texts.prompt, "answer": texts.answer, "label": label, "reviewer": name[:200]}
    return ForeignLabel.model_validate(row)
