"""The record of one `salus judge train`: made from what, what it cost, and how much better the judge has become."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from actors.contract.records import JudgeTraining, Record
from actors.errors import SalusError
from actors.files.shards import write_text
from actors.training.made_from import JUDGE_REPORT as TRAINED
from pipelines.config.difference import first_difference
from pipelines.judges.trust import Trust
from pipelines.measures.agreement import Agreement

ORDER, REPORT = "order.json", "report.json"
Kind = TypeVar("Kind", bound=Record)


class JudgeTrainOrder(Record):
    """Everything that decides what comes out; written into the folder before training begins."""

    # The folder of the model it starts from.
    model: str
    # The labelled answers: their file's name, and a hash of their content.
    labels: str
    labels_digest: str
    prompt: str
    max_model_len: int
    seed: int
    # `judge.train`, without what only says where the run lives.
    train: dict[str, Any]


class JudgeTrainReport(Record):
    """A trained judge: its figures on prompts that were kept from training, before and after."""

    order: JudgeTrainOrder
    training: JudgeTraining
    # Labelled answers by label, each counted once, whatever was repeated.
    train_labels: dict[str, int]
    held_out_labels: dict[str, int]
    held_out_prompts: int
    # Rows made of two answers, one that complies and one that refuses; they are not among `train_labels`.
    spliced: int = 0
    before: Agreement
    after: Agreement
    # Of the trained judge, by `judge.trust`.
    trust: Trust


def read_finished_judge(folder: Path, order: JudgeTrainOrder) -> JudgeTrainReport | None:
    """The report of this very training, None where it is still to be made or to be ended.

    A folder whose training failed may be used for another try with other settings.

    Raises:
        SalusError: the folder holds another judge, or something that is none.
    """
    path = folder / ORDER
    if not path.is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise SalusError(
                f"{folder} is not empty and holds no judge that Salus trained; give another folder with --out."
            )
        return None
    if not (folder / TRAINED).is_file():
        return None
    known = _read(JudgeTrainOrder, path)
    other = first_difference(known.model_dump(mode="json"), order.model_dump(mode="json"))
    if other is not None:
        raise SalusError(f"{folder} holds another judge ({other}); give another folder with --out.")
    return _read(JudgeTrainReport, folder / REPORT) if (folder / REPORT).is_file() else None


def write_record(record: JudgeTrainOrder | JudgeTrainReport, path: Path) -> None:
    """Write as JSON, atomically."""
    write_text(record.model_dump_json(indent=2) + "\n", path)


def _read(kind: type[Kind], path: Path) -> Kind:
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise SalusError(
            f"{path} is not one this version of Salus wrote ({error.errors(include_url=False)[0]['msg']}); give another"
            " folder with --out."
        ) from error
