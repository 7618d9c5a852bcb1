"""The decision's record: what was chosen, and all it rests on (`pipelines.decision.decide` makes it)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from actors.contract.publication import RefusedPublication
from actors.contract.records import ChallengerName, Interval, Record
from actors.files.records import read_record
from pipelines.config.decision import DecisionConfig
from pipelines.config.scores import ScoreTable
from pipelines.decision.capability import CapabilityEvidence
from pipelines.decision.control import JudgeCheck
from pipelines.decision.gate import GateVerdict
from pipelines.decision.paired import Comparison
from pipelines.measures.metrics import Metrics
from pipelines.measures.shares import CountedShare

# "champion", or a challenger's name.
Contender = ChallengerName
Standing = Literal[
    "champion",
    "eligible",
    "training_failed",
    "no_rows",
    "identical_answers",
    "judge_unreliable",
    "judge_unchecked",
    "outside_gate",
    "not_better",
    "below_min_gain",
]
Reason = Literal[
    "better", "gate_restored", "not_better", "outside_gate", "judge_unreliable", "judge_unchecked", "no_challenger"
]
# Whether trusted labels of the contenders' own answers were held against the judge's.
Correction = Literal["corrected", "judge_uncorrected"]


class ProbeEvidence(Record):
    """Over-refusal on the recipe's probe, whose prompts are all safe: the winner, and what was published last."""

    # The probe's name, as "xstest".
    probe: str
    # The versions.
    policy: str
    published: str
    # Safe prompts that each refused; None where none of its answers has a label.
    refused: CountedShare | None
    refused_by_published: CountedShare | None
    # How much more often the winner refuses on the same prompts, each end one-sided at 95 %; None as above.
    rise: Interval | None

    @property
    def sentence(self) -> str:
        own, before = _counts(self.refused), _counts(self.refused_by_published)
        return f"Safe prompts of {self.probe} refused: {own} by {self.policy}, {before} by {self.published}."


def _counts(share: CountedShare | None) -> str:
    return f"{share.count} of {share.n}" if share is not None else "none labelled"


class CandidateResult(Record):
    """What the decision knew of one policy."""

    name: Contender
    # The policy's version; None where there are no answers.
    policy: str | None
    standing: Standing
    # The reason for this standing, in one sentence.
    sentence: str
    metrics: Metrics | None
    # Against the champion; None for the champion and where nothing could be compared.
    comparison: Comparison | None
    gate: GateVerdict | None
    publish_gate: GateVerdict | None
    # The judge on this policy's own answers; None where no trusted label of them is known.
    judge: JudgeCheck | None = None


class Decision(Record):
    """The choice of one cycle with everything it rests on; writes itself as JSON."""

    cycle: int
    chosen: Contender
    policy: str | None
    publish: bool
    reason: Reason
    # The reason in words, with the figures.
    sentence: str
    # Why it is or is not published.
    publish_sentence: str
    champion: CandidateResult
    # Kto before dpo: in falling order of names.
    challengers: tuple[CandidateResult, ...]
    config: DecisionConfig
    table: ScoreTable
    seed: int
    # The capability figures of all that were compared, and the limits; None where the run measures none.
    capability: CapabilityEvidence | None = None
    # "corrected" where every gain was; None in records of earlier versions.
    correction: Correction | None = None
    # The chance that this cycle replaces the champion without a gain; None in records of earlier versions.
    alpha: float | None = None
    # What the run has spent of 1 - confidence with this cycle, and what is left for those to come.
    alpha_spent: float | None = None
    alpha_left: float | None = None
    # The least gain in SS that the test would find in 80 % of such cycles. None where nothing was compared, every
    # prompt changed alike, or no alpha was left.
    detectable_gain_80: float | None = None
    # What ERR rests on.
    harmless_base_prompts: int | None = None
    # The largest true ERR with which a policy passes the publish gate in 5 % of cases; None: no gate, or none passes.
    largest_err_that_could_pass: float | None = None
    # The version that the publish gate compared with: what was published last; None where it does not.
    published: str | None = None
    # Of a challenger that was chosen, where the recipe has a probe; None in records of earlier versions.
    probe: ProbeEvidence | None = None
    # Why no further cycle is run; None where one may follow.
    ended: str | None = None
    # It passed every gate and is not published before a person approves it (`publish.approval`).
    approval: Literal["awaiting"] | None = None
    # Added by the coordinator where the endpoint refused what was to be published; the decision itself is unchanged.
    publication: RefusedPublication | None = None

    @property
    def let_live(self) -> bool:
        """Whether its choice may be served: decided so, and not refused by the endpoint."""
        return self.publish and self.publication is None

    def held_for_approval(self) -> Decision:
        """The same where a person must approve what is published; unchanged where it publishes nothing."""
        if not self.publish:
            return self
        waits = f"{self.publish_sentence} It awaits approval and is not served before that."
        return self.model_copy(update={"publish": False, "approval": "awaiting", "publish_sentence": waits})

    @property
    def publication_sentence(self) -> str:
        """Why its choice is or is not published, the endpoint's word included."""
        said = (self.publish_sentence, self.publication.refused if self.publication is not None else "")
        return " ".join(part for part in said if part)


def read_decision(path: Path) -> Decision:
    """A cycle's decision.

    Raises:
        SalusError: it cannot be read, or another version of Salus wrote it.
    """
    cure = "take it from a copy, or read the run with the version of Salus that made it"
    return read_record(Decision, path, "a decision", cure)
