"""What the dashboard shows, and the port it comes through. All of it may be missing while a run goes on."""

from __future__ import annotations

from typing import Literal, Protocol

from actors.contract.records import ChallengerName, Interval, Record
from actors.judges.usage import Usage
from actors.training.algorithms.row import Mark

JudgedBy = Literal["judge", "truth"]
Metric = Literal["ss", "err_strict", "asr", "answered"]
RunState = Literal["running", "finished"]
Action = Literal["published", "promote", "rollback"]


class RunFacts(Record):
    """Which run is shown, and how far it is."""

    name: str
    recipe: str
    seed: int
    cycles_done: int
    cycles: int
    state: RunState


class CurrentPolicy(Record):
    """What answers now."""

    version: str
    # ISO 8601, UTC.
    since: str
    why: str | None


class Parent(Record):
    """One policy of the chain, youngest first."""

    version: str
    # How it came about: trained as a challenger, deployed, or the same weights as a policy of another run.
    how: str
    run: str


class Point(Interval):
    """One figure of one policy on the validation split, with its 95 % interval and n."""

    # 0: the deployed model, before any cycle.
    cycle: int
    # "base", "champion", or a challenger's name.
    contender: str
    policy: str
    metric: Metric
    judged_by: JudgedBy
    # The next cycle starts from this policy.
    winner: bool


class CurveLine(Record):
    """One figure of a challenger's training, at some of its optimizer steps over all cycles."""

    challenger: ChallengerName
    # As TRL logs it: loss, rewards/margins, kl, grad_norm, learning_rate.
    figure: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


class DecisionLine(Record):
    """What a cycle came to, and why."""

    cycle: int
    chosen: str
    policy: str
    published: bool
    sentence: str
    publish_sentence: str
    # Whether the run holds its page (`DashboardSource.decision_page`).
    page: bool = False


class Range(Record):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class TestLine(Record):
    """One policy's figures on the test split."""

    # pytest would otherwise take the class for a test.
    __test__ = False

    name: str
    ss: Range | None
    err_strict: Range | None
    asr: Range | None
    # Harmful requests answered, where ASR counts cautious answers too; None in earlier records.
    answered: Range | None = None
    # Answers under SS.
    n: int


class PublicationLine(Record):
    """One change of what answers, or of what the registry calls current."""

    at: str
    action: Action
    version: str
    previous: str | None
    who: str | None
    why: str | None
    # How long answering paused, in seconds.
    swap_s: float | None


class Bin(Record):
    """The answers whose label got a probability in [low, high); means are None where there are none."""

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None


class Reliability(Record):
    """Judge's probabilities against trusted labels."""

    name: Literal["as it is", "calibrated"]
    ece: Interval
    bins: tuple[Bin, ...]


class JudgeCalibration(Record):
    """How far the judge can be believed."""

    judge: str
    labels_source: str
    n: int
    coverage: float
    accuracy: Interval | None
    kappa: Interval | None
    recall: dict[str, Interval | None]
    temperature: float | None
    reliability: tuple[Reliability, ...]
    trusted: bool
    sentence: str


class ControlLine(Record):
    """A cycle's control answers: the judge held against trusted labels of what the contenders answered."""

    cycle: int
    # Who labels: people, a second judge, or ground truth by its name.
    reference: str
    # Answers that were drawn, and those of them that have a trusted label.
    asked: int
    answered: int
    # Trusted labels that are not the judge's. None while people label: the judge's are kept from them.
    disagreed: int | None
    # Of the judge, over the answers with a label of both; None too where there is none.
    accuracy: Interval | None
    kappa: Interval | None


class RunCost(Record):
    """What a finished run took, as its summary says."""

    wall_s: float
    # None on CPUs, and `money` where the recipe names no price (in its currency).
    gpu_hours: float | None
    busy_share: float | None
    money: float | None
    # What a judge that charges used; None where none did.
    judge: Usage | None


class DashboardData(Record):
    """Everything but the traffic."""

    run: RunFacts | None
    current: CurrentPolicy | None
    lineage: tuple[Parent, ...]
    points: tuple[Point, ...]
    # Of the challengers that trained, also while one trains; empty in runs of earlier versions.
    curves: tuple[CurveLine, ...] = ()
    # How each challenger of the points and curves is drawn.
    marks: dict[ChallengerName, Mark]
    decisions: tuple[DecisionLine, ...]
    test: tuple[TestLine, ...]
    test_judged_by: JudgedBy | None
    publications: tuple[PublicationLine, ...]
    calibration: JudgeCalibration | None
    # By cycle, also of one that waits for people's labels.
    control: tuple[ControlLine, ...] = ()
    # None while a run goes on.
    cost: RunCost | None = None
    # What is not there yet, or cannot be read, in sentences.
    missing: tuple[str, ...]


class Traffic(Record):
    """Requests of the last `window_s` seconds."""

    window_s: float
    requests: int
    requests_per_s: float
    # Seconds from request to the end of its answer; None where there was none.
    p50_s: float | None
    p99_s: float | None
    # Requests answered with an error of ours (HTTP 5xx).
    errors: int


class Board(Record):
    """What `/dashboard/data` answers."""

    data: DashboardData
    # None where it is not counted.
    traffic: Traffic | None


class DashboardSource(Protocol):
    """Where the dashboard's data comes from."""

    async def data(self) -> DashboardData:
        """What there is by now; missing pieces are named, never an error."""

    async def traffic(self) -> Traffic | None:
        """The latest traffic; None where it is not counted."""

    async def decision_page(self, cycle: int) -> str | None:
        """The page of a cycle's decision as HTML; None where there is none."""
