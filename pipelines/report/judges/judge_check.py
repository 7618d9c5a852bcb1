"""The last lines of a run: how well its judge did on every contender, and what its decisions could not have seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.decision.control import JudgeCheck
from pipelines.decision.record import Decision


def judge_check_lines(decisions: Sequence[Decision]) -> Iterator[str]:
    """What trusted labels say of the judge, by cycle and contender, and which contender it is worst about.

    Args:
        decisions: of the run, in their order.
    """
    checked = [
        (decision.cycle, each.name, each.judge)
        for decision in decisions
        for each in (decision.champion, *decision.challengers)
        if each.judge is not None
    ]
    if not checked:
        if decisions:
            yield (
                "No trusted label was held against the judge's labels of the contenders. How often it is wrong about"
                " them is not known."
            )
        return
    references = ", ".join(sorted({check.reference for _, _, check in checked}))
    yield f"The judge against trusted labels ({references}) of each contender's answers:"
    for cycle in dict.fromkeys(cycle for cycle, _, _ in checked):
        said = ", ".join(f"{name} {_right(check)}" for number, name, check in checked if number == cycle)
        yield f"  cycle {cycle}: {said}"
    cycle, name, check = min(checked, key=lambda each: each[2].accuracy)
    # All right about all of them has no worst.
    if check.wrong:
        yield f"Worst: {name} in cycle {cycle}, {_right(check)} (accuracy {check.accuracy:.3f}, weighted by the draw)."


def unseen_lines(decisions: Sequence[Decision]) -> Iterator[str]:
    """What each decision could not have seen, as far as its record says.

    Args:
        decisions: of the run, in their order.
    """
    for decision in decisions:
        gain, err = decision.detectable_gain_80, decision.largest_err_that_could_pass
        said = []
        if gain is not None:
            said.append(f"In one of five cases cycle {decision.cycle} misses a gain in SS of {gain:.3f}.")
        if err is not None:
            said.append(f"In one of twenty a policy with a true ERR of {err:.3f} passes its limit.")
        if said:
            yield " ".join(said)


def _right(check: JudgeCheck) -> str:
    return f"{check.n - check.wrong} of {check.n}"
