"""What a training output was made from, beside its report: the same job is not done twice, another never passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from actors.contract.decides import decisive
from actors.contract.records import Assignment, JudgeAssignment, JudgeTraining, Record, TrainReport
from actors.contract.run_names import names_of
from actors.files.shards import write_text
from actors.training.config import JudgeTrainConfig, TrainConfig

MADE_FROM = "assignment.json"
# The report in a judge's folder.
JUDGE_REPORT = "training.json"
Report = TypeVar("Report", bound=Record)


class MadeFrom(Record):
    """An assignment and the settings that decide what comes out of it, both as JSON."""

    assignment: dict[str, Any]
    settings: dict[str, Any]

    @property
    def job(self) -> dict[str, Any]:
        """The same without the assignment's number, which every session of a run counts anew."""
        assignment = {name: value for name, value in self.assignment.items() if name != "index"}
        return {"assignment": assignment, "settings": self.settings}


def read_finished(
    report: Path,
    made_from: MadeFrom,
    kind: type[Report],
    as_now: Callable[[dict[str, Any]], dict[str, Any]] = lambda assignment: assignment,
) -> Report | None:
    """The report at this path; None where there is none, or the one there is of another job or other settings.

    `as_now`: an assignment as it was written once, as it would be written today.
    """
    order = report.with_name(MADE_FROM)
    if not (report.is_file() and order.is_file()):
        return None
    try:
        known = MadeFrom.model_validate_json(order.read_text(encoding="utf-8"))
        if known.model_copy(update={"assignment": as_now(known.assignment)}).job != made_from.job:
            return None
        return kind.model_validate_json(report.read_text(encoding="utf-8"))
    except ValidationError:
        # Written by a version with other fields.
        return None


def write_finished(report: Path, made_from: MadeFrom, record: Record) -> None:
    """Write both, the report last: it marks its output as complete."""
    write_text(made_from.model_dump_json(indent=2), report.with_name(MADE_FROM))
    write_text(record.model_dump_json(indent=2), report)


def training_made_from(config: TrainConfig, assignment: Assignment) -> MadeFrom:
    """What a policy's training is made from."""
    # A report made under other settings is not reused.
    settings = config.model_dump(mode="json", include=set(decisive(TrainConfig)))
    # The algorithm is the assignment's.
    settings["loss"] = config.challengers[assignment.name].model_dump(mode="json", exclude={"algorithm"})
    names, written = names_of(assignment), assignment.model_dump(mode="json")
    return MadeFrom(assignment=names.job(written) if names is not None else written, settings=settings)


def finished_training(config: TrainConfig, assignment: Assignment) -> TrainReport | None:
    """The report of this very assignment under this config; None where it is not done yet."""
    report, made_from = Path(assignment.output) / "report.json", training_made_from(config, assignment)
    names = names_of(assignment)
    if names is None:
        return read_finished(report, made_from, TrainReport)
    found = read_finished(report, made_from, TrainReport, names.job)
    return names.found(found) if found is not None else None


def judge_made_from(config: JudgeTrainConfig, assignment: JudgeAssignment) -> MadeFrom:
    """What a judge's folder is made from."""
    return MadeFrom(assignment=assignment.model_dump(mode="json"), settings=config.decisive())


def finished_judge(config: JudgeTrainConfig, assignment: JudgeAssignment) -> JudgeTraining | None:
    """The report of this very assignment under this config; None where it is not done yet."""
    return read_finished(Path(assignment.output) / JUDGE_REPORT, judge_made_from(config, assignment), JudgeTraining)
