"""People's labels as the file that `salus judge calibrate --labels` and `salus judge train --labels` read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from actors.contract.records import Record
from actors.errors import SalusError
from actors.files.atomic import PRIVATE, write_atomically
from pipelines.feedback.review.consensus import Gold, Settled

# Readers of labels need the first three; a comment is for people.
COLUMNS = ("prompt", "answer", "label", "comment")
FORMATS = (".csv", ".jsonl")


class Exported(Record):
    """What an export holds, and what it could not."""

    labels: int
    # Answers without a majority.
    ties: int
    # Blank prompts or answers, which no judge is asked about.
    blank: int


def export_labels(settled: Settled, out: Path, control_only: bool = False) -> Exported:
    """Write prompt, answer, label and comment of every answer with a majority, in the format the file's name ends in.

    The comments of several reviewers are one text, a line between them. The file is readable by its user alone.
    Texts are written as they are, because a judge must see what people saw. A spreadsheet may take one that begins
    with `=` for a formula, so open the file in an editor.

    Args:
        control_only: only answers drawn at random. Those chosen because the judges were unsure of them are harder
            than most, and make a judge look worse than it is.

    Raises:
        SalusError: another ending, nothing to write, or the file cannot be written.
    """
    if out.suffix.lower() not in FORMATS:
        raise SalusError(f"{out} ends in neither {' nor '.join(FORMATS)}; give a file name that does.")
    wanted = [each for each in settled.gold if each.drawn == "control" or not control_only]
    rows = [each for each in wanted if each.prompt.strip() and each.answer.strip()]
    if not rows:
        kind = "randomly drawn answer" if control_only else "answer"
        raise SalusError(f"No {kind} has a label that most of its reviewers gave; label more on the page /review.")
    try:
        text = _csv(rows) if out.suffix.lower() == ".csv" else _json_lines(rows)
        write_atomically(out, text.encode(), PRIVATE)
    except OSError as error:
        raise SalusError(f"{out} cannot be written ({error.strerror or error}); give another place.") from error
    return Exported(labels=len(rows), ties=len(settled.ties), blank=len(wanted) - len(rows))


def _csv(rows: Sequence[Gold]) -> str:
    text = io.StringIO(newline="")
    # All in quotes: a lone carriage return would otherwise end a row.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    writer.writerows(map(_cells, rows))
    return text.getvalue()


def _json_lines(rows: Sequence[Gold]) -> str:
    return "".join(json.dumps(dict(zip(COLUMNS, _cells(each), strict=True))) + "\n" for each in rows)


def _cells(gold: Gold) -> tuple[str, ...]:
    return gold.prompt, gold.answer, gold.label, "\n\n".join(gold.comments)
