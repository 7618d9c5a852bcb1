"""The decision of a cycle as a run's own recipe makes it, from its judged answers and its capability figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from actors.contract.records import ChallengerName
from actors.contract.run_folder import RunFolder
from pipelines.config.capability import CapabilityConfig
from pipelines.config.decision import DecisionConfig
from pipelines.config.scores import ScoreTable
from pipelines.decision.alpha import share_of_alpha
from pipelines.decision.capability import read_evidence
from pipelines.decision.control import read_control
from pipelines.decision.decide import decide, publication
from pipelines.decision.ending import past_decisions, patience_used_up
from pipelines.decision.gate import GateVerdict
from pipelines.decision.published import (
    check_probe,
    live_before,
    probe_answers,
    probe_evidence,
    published_answers,
)
from pipelines.decision.record import CandidateResult, Decision, ProbeEvidence


@dataclass(frozen=True)
class DecisionOfRun:
    """The choice as this run's recipe makes it (`actors.coordinator.coordinator.DecisionRule`)."""

    table: ScoreTable
    config: DecisionConfig
    seed: int
    # None: no capability is measured.
    capability: CapabilityConfig | None
    # The run folder, where the capability figures are.
    root: str
    # The version the run began with.
    base: str
    # Whose judgments count; None: those of the champion of the cycle (SELF).
    judge: str | None = None
    # How many cycles the recipe asks for, over which the run's alpha is spent.
    cycles: int = 1
    # The recipe's probe; None: it has none.
    probe: str | None = None
    # Whether a person must approve what is published (`publish.approval`).
    approval: bool = False

    def __call__(
        self,
        cycle: int,
        champion: pa.Table,
        challengers: Mapping[ChallengerName, pa.Table],
        failed: Mapping[ChallengerName, str],
    ) -> Decision:
        """The decision of a cycle.

        Raises:
            SalusError: as `decide` does, or judged answers that it rests on are missing.
        """
        decision = self.before_probe(cycle, champion, challengers, failed)
        if self.probe is not None and decision.chosen != "champion" and decision.policy is not None:
            folder, judge = RunFolder(Path(self.root)), self.judge or str(decision.champion.policy)
            live = live_before(folder, cycle, self.base)
            before, after = (probe_answers(folder, version, judge) for version in (live, decision.policy))
            decision = with_probe(decision, probe_evidence(self.probe, before, after))
        # Last, for what may be published is not known before.
        return decision.held_for_approval() if self.approval else decision

    def before_probe(
        self,
        cycle: int,
        champion: pa.Table,
        challengers: Mapping[ChallengerName, pa.Table],
        failed: Mapping[ChallengerName, str],
    ) -> Decision:
        """The same, but for what the probe says of the winner, and so of its publication.

        Who wins does not depend on the probe: it is asked of the winner alone, once that is known.
        """
        folder = RunFolder(Path(self.root))
        incumbent = str(champion["policy"][0].as_py()) if champion.num_rows else self.base
        before = past_decisions(folder, cycle - 1)
        live = live_before(folder, cycle, self.base)
        compares = self.config.publish_gate is not None and live != incumbent
        published = published_answers(folder, live, self.judge or incumbent) if compares else champion
        evidence = None
        if self.capability is not None:
            tables = (champion, *challengers.values())
            versions = {str(version) for table in tables for version in table["policy"].unique().to_pylist()}
            evidence = read_evidence(folder, self.capability, self.base, sorted(versions), live)
        decision = decide(
            cycle,
            champion,
            challengers,
            self.table,
            self.config,
            self.seed,
            failed,
            evidence,
            read_control(folder.control(cycle)),
            share_of_alpha(self.config, before, self.cycles),
            published,
        )
        chosen = [*(past.chosen for past in before), decision.chosen]
        return decision.model_copy(update={"ended": patience_used_up(chosen, self.config.patience)})


def with_probe(decision: Decision, found: ProbeEvidence) -> Decision:
    """A decision for a challenger, with what the probe says of it: a breach of the publish gate keeps it back."""
    gate = decision.config.publish_gate
    breaches = check_probe(found, gate) if gate is not None else ()

    def held(result: CandidateResult) -> CandidateResult:
        if result.name != decision.chosen or result.publish_gate is None or not breaches:
            return result
        verdict = GateVerdict(passed=False, breaches=(*result.publish_gate.breaches, *breaches))
        return result.model_copy(update={"publish_gate": verdict})

    challengers = tuple(map(held, decision.challengers))
    chosen = next(result for result in challengers if result.name == decision.chosen)
    publish, sentence = publication(chosen, decision.config)
    update = {"challengers": challengers, "publish": publish, "publish_sentence": sentence, "probe": found}
    return decision.model_copy(update=update)
