"""What a coordinator must not lose with its process: one JSON file, replaced at every change."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Self

from actors.contract.records import Assignment, ChallengerName, PolicyRef, Record, RowKind, TrainReport
from actors.coordinator.recorded import RecordedDecision
from actors.files.records import find_record

# Why a challenger is not trained, by the rows it wants; what comes before the colon is its cell in a table.
NO_ROWS: dict[RowKind, str] = {
    "unpaired": "no rows: the judgments call no answer good or bad",
    "pairs": "no pairs: no prompt has two answers with different marks",
    "demonstrations": "no demonstrations: no prompt has a good answer",
}


# Why a cycle has no merged challenger.
TOO_FEW = "fewer than two challengers were trained, so there was nothing to merge"


def lacks_rows(failure: str | None) -> bool:
    """Whether a job was not begun because the cycle has no rows of its kind."""
    return failure in NO_ROWS.values()


class TrainingState(Record):
    """How far one training job is."""

    step: int = 0
    total: int = 0
    report: TrainReport | None = None
    failure: str | None = None

    @classmethod
    def of(cls, kind: RowKind, rows: Path) -> Self:
        """A job before its beginning; it has ended where its cycle's rows were made, and there are none."""
        empty = (rows / "report.json").is_file() and not any(rows.glob("*.parquet"))
        return cls(failure=NO_ROWS[kind] if empty else None)

    @property
    def ended(self) -> bool:
        return self.report is not None or self.failure is not None


class CoordinatorState(Record):
    """Champion, jobs and their ends, by job index."""

    # The session of the run that wrote it; a new session begins anew, from the decisions.
    session: str
    champion: PolicyRef
    # What an endpoint that starts anew serves: not the champion where a gate held that back.
    live: PolicyRef
    assignments: dict[ChallengerName, tuple[Assignment, ...]]
    training: dict[ChallengerName, tuple[TrainingState, ...]]
    stopped: bool = False
    # The last decision on record; None before the first of the session.
    decided: RecordedDecision | None = None

    @classmethod
    def begin(cls, challengers: Iterable[ChallengerName], champion: PolicyRef, live: PolicyRef) -> Self:
        """Before the first job: nothing is assigned to any of these challengers."""
        nothing: dict[ChallengerName, tuple[()]] = {name: () for name in challengers}
        return cls(session="", champion=champion, live=live, assignments=nothing, training=nothing)

    @classmethod
    def read(cls, path: Path, session: str) -> Self | None:
        """The state that a coordinator of this session left; None where none did."""
        state = find_record(cls, path, "the state of a coordinator", "delete it and run the same command again")
        return state if state is not None and state.session == session else None
