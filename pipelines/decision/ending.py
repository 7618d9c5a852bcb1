"""Whether a run is over: all its recipe's cycles are decided, or the champion has stayed too often in a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from actors.contract.run_folder import RunFolder
from pipelines.decision.record import Contender, Decision, read_decision


class DecidedCycle(Protocol):
    """What one decided cycle tells: a decision, its outcome, or its page of the summary."""

    @property
    def ended(self) -> str | None: ...


def is_over(decided: Sequence[DecidedCycle], cycles: int) -> bool:
    """Whether no cycle follows those decided so far, in their order; `cycles` is the recipe's number of them.

    The only place that says so: a run that is taken up again must end where it would have ended in one go.
    """
    return len(decided) >= cycles or (len(decided) > 0 and decided[-1].ended is not None)


def patience_used_up(chosen: Sequence[Contender], patience: int | None) -> str | None:
    """The sentence that ends a run after these choices of cycles 1, 2, ...; None where a cycle may follow.

    It depends on the choices alone and not on how many cycles the recipe asks for, which may grow later.
    """
    if patience is None or len(chosen) < patience or any(who != "champion" for who in chosen[-patience:]):
        return None
    stayed = "in the last cycle" if patience == 1 else f"in the last {patience} cycles"
    return f"No cycle follows cycle {len(chosen)}: the champion stayed {stayed} (decide.patience {patience})."


def past_decisions(folder: RunFolder, cycles: int) -> list[Decision]:
    """The decisions of a run folder, at most `cycles`, without a gap and up to the one that ended the run."""
    decisions: list[Decision] = []
    while not is_over(decisions, cycles) and (path := folder.decision(len(decisions) + 1)).is_file():
        decisions.append(read_decision(path))
    return decisions
