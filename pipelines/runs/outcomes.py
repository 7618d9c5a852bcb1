"""What the decided cycles of a run came to: its champions, and what each cycle left live."""

from __future__ import annotations

from actors.contract.records import PolicyRef
from actors.contract.run_folder import SFT, SFT_CYCLE, RunFolder
from actors.coordinator.coordinator import CycleOutcome
from actors.errors import SalusError
from pipelines.decision.ending import past_decisions
from pipelines.decision.published import live_before


def first_champion(folder: RunFolder, base: PolicyRef) -> PolicyRef:
    """What the first cycle starts from: the deployed model, or what fine-tuning on demonstrations made of it.

    Raises:
        SalusError: the first decision cannot be read.
    """
    made = folder.fine_tuned()
    if (folder.training(SFT_CYCLE, SFT) / "report.json").is_file():
        return made
    # Of a run whose weights were not fetched, or were removed, the first decision tells.
    first = past_decisions(folder, 1)
    return made if first and first[0].champion.policy == made.version else base


def past_outcomes(folder: RunFolder, base: PolicyRef, cycles: int) -> list[CycleOutcome]:
    """The outcomes of `past_decisions`; published is what they let go live, the deployed model at first."""
    outcomes: list[CycleOutcome] = []
    champion, live = first_champion(folder, base), base
    for cycle, decision in enumerate(past_decisions(folder, cycles), start=1):
        if decision.chosen != "champion":
            champion = folder.challenger(cycle, decision.chosen)
        live = champion if decision.let_live else live
        outcomes.append(
            CycleOutcome(
                cycle=cycle,
                chosen=decision.chosen,
                champion=champion,
                published=live,
                ended=decision.ended,
                refused=decision.publication.refused if decision.publication is not None else None,
            )
        )
    return outcomes


def live_policy(folder: RunFolder, base: PolicyRef, cycle: int) -> PolicyRef:
    """The policy that patients are served by when a cycle is decided (`live_before`)."""
    known = [base, *(outcome.champion for outcome in past_outcomes(folder, base, cycle - 1))]
    live = live_before(folder, cycle, base.version)
    found = next((policy for policy in known if policy.version == live), None)
    if found is None:
        raise SalusError(f"{folder.live(cycle)} names {live}, which is no policy of an earlier cycle; remove the file.")
    return found


def champion_before(folder: RunFolder, base: PolicyRef, cycle: int) -> PolicyRef:
    """The policy cycle `cycle` starts from.

    Raises:
        SalusError: an earlier cycle has no decision yet, or ended the run.
    """
    outcomes = past_outcomes(folder, base, cycle - 1)
    if outcomes and outcomes[-1].ended is not None:
        raise SalusError(
            f"Cycle {cycle} of {folder.root} is not to be run. {outcomes[-1].ended} For more cycles, raise"
            " decide.patience and begin anew in another folder with --run."
        )
    if len(outcomes) < cycle - 1:
        raise SalusError(
            f"Cycle {len(outcomes) + 1} of {folder.root} has no decision yet; run its steps before cycle {cycle}."
        )
    return outcomes[-1].champion if outcomes else first_champion(folder, base)
