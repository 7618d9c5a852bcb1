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
from pipelines.decision.decide import decide
from pipelines.decision.ending import past_decisions, patience_used_up
from pipelines.decision.published import last_published, published_answers
from pipelines.decision.record import Decision


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
    # Whether a person must approve what is published (`publish.approval`).
    approval: bool = False

    def __call__(
        self,
        cycle: int,
        champion: pa.Table,
        challengers: Mapping[ChallengerName, pa.Table],
        failed: Mapping[ChallengerName, str],
    ) -> Decision:
        folder = RunFolder(Path(self.root))
        incumbent = str(champion["policy"][0].as_py()) if champion.num_rows else self.base
        before = past_decisions(folder, cycle - 1)
        live = last_published(before, self.base)
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
        decision = decision.held_for_approval() if self.approval else decision
        chosen = [*(past.chosen for past in before), decision.chosen]
        return decision.model_copy(update={"ended": patience_used_up(chosen, self.config.patience)})
