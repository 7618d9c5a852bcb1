"""How sure a decision is: how often chance or a wrong judge replaces the champion, and how often a real gain is found.

    python tests/benchmarks/decision_power.py
    python tests/benchmarks/decision_power.py --runs 2000 --prompts 100 400 1000 4000 --rewrites 1 10 --labels 0 40 80

Simulated, without any model. Every prompt has its own chances of Accept, Caution and Refuse, drawn around the means of
its harm level (Dirichlet); champion, KTO and DPO each draw one label from the same chances, so that any two policies
agree on a given share of prompts and none is better. With an effect, KTO's label is then replaced by the level's best
one with the chance that makes its expected SS higher by just that much. The judge of these is right.

A biased judge is that of the demo's cycle 2 of seed 7 (`draw_biased`): it calls 191 of 400 answers of KTO wrongly, and
gives it an SS of .96 where the truth is .77; the champion has .94 by both. At 1,000 prompts it wins for certain.

A run has five cycles and spends its alpha over them, as `pipelines.decision.alpha` says. Control labels are of so many
answers of each contender. What decides is the code that `decide` uses; the gate is left open. Means, level mix and
agreement are invented: they set how noisy a comparison is, not whether the rule keeps its word.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from actors.contract.records import LABELS, LEVELS
from actors.contract.seeds import derive_seed
from pipelines.config.decision import DecisionConfig
from pipelines.config.scores import ScoreTable
from pipelines.decision.alpha import one_cycle, share_of_alpha
from pipelines.decision.control import shares_by_level
from pipelines.decision.decide import enough_resamples
from pipelines.decision.paired import holm, paired_test
from pipelines.measures.bootstrap import Floats
from pipelines.measures.prediction_powered import TrustedMarks, corrected_gain

Ints = NDArray[np.int64]

MARKS = ScoreTable().marks()
# What the demo's policies answer where they are right, and where they are wrong, by harm level.
RIGHT, WRONG = np.array([0, 2, 2, 2]), np.array([2, 0, 0, 0])
CAUTION = LABELS.index("Caution")
# Mean chances of Accept, Caution and Refuse at each harm level: a champion halfway, SS .68.
MEANS = np.array([[0.85, 0.10, 0.05], [0.30, 0.25, 0.45], [0.30, 0.25, 0.45], [0.25, 0.15, 0.60]])
POLICIES = ("champion", "kto", "dpo")
CYCLES = 5
CONFIG = DecisionConfig()
# Of the demo's cycle 2: what is wrong with an answer that the judge calls best, by harm level. It is a Caution.
BIASED = np.array([0.12, 1.0, 0.93, 0.4])
# Shares of prompts that champion and KTO, the champion alone, and KTO alone answer wrongly by the judge.
FAILED = (0.028, 0.036, 0.012)


@dataclass(frozen=True)
class Scenario:
    """What a cycle compares: `prompts` validation prompts, a quarter at each level."""

    prompts: int
    # Expected SS of KTO less the champion's; DPO is as good as the champion.
    effect: float = 0.0
    # Share of prompts that two policies of no effect label alike.
    agreement: float = 0.9
    # Prompts that are rewrites of one base prompt, whose labels fall together.
    rewrites: int = 1


@dataclass(frozen=True)
class Cycle:
    """One cycle's labels: indices into `LABELS`, shape (3 policies, prompts); and the level and base of each prompt."""

    levels: Ints
    # The judge's.
    labels: Ints
    bases: Ints
    # The trusted ones; None: the judge is right.
    truth: Ints | None = None

    @property
    def trusted(self) -> Ints:
        """Shape (3 policies, prompts)."""
        return self.labels if self.truth is None else self.truth

    @property
    def marks(self) -> Floats:
        """Shape (3 policies, prompts)."""
        return MARKS[self.levels, self.labels]

    def judged(self, policy: str) -> pa.Table:
        """One policy's judged answers, with the columns that a decision reads."""
        number = POLICIES.index(policy)
        labels, true = (pa.array(LABELS).take(pa.array(of[number])) for of in (self.labels, self.trusted))
        rows = len(self.levels)
        return pa.table(
            {
                "prompt_id": [f"p{i:06d}" for i in range(rows)],
                "base_prompt": [f"b{i:06d}" for i in self.bases],
                "policy": [policy] * rows,
                "source": ["simulated"] * rows,
                "level": pa.array(self.levels, pa.int8()),
                "principle": pa.nulls(rows, pa.int8()),
                "method": ["direct"] * rows,
                # An answer says what it is.
                "answer": [f"{policy}: {label}" for label in true.to_pylist()],
                "tokens": pa.array([8] * rows, pa.int32()),
                "label": labels,
            }
        )


@dataclass(frozen=True)
class Rate:
    """A share of simulated cycles."""

    count: int
    cycles: int

    @property
    def value(self) -> float:
        return self.count / self.cycles

    @property
    def interval(self) -> tuple[float, float]:
        """95 % by Clopper and Pearson (Biometrika 26, 1934)."""
        from scipy import stats

        found = stats.binomtest(self.count, self.cycles).proportion_ci(0.95, method="exact")
        return float(found.low), float(found.high)


def draw_cycle(scenario: Scenario, rng: np.random.Generator) -> Cycle:
    """Labels of three policies on the same prompts."""
    bases = np.arange(scenario.prompts) // scenario.rewrites
    levels = bases % len(LEVELS)
    chances = _chances(levels[:: scenario.rewrites], scenario.agreement, rng)[bases]
    lots = rng.random((len(POLICIES), bases[-1] + 1))[:, bases]
    # The first label whose summed chance exceeds the lot; rounding may leave the last sum below 1.
    labels = (lots[..., None] > chances.cumsum(axis=1)[:, :-1]).sum(axis=2)
    shortfall = 1.0 - (MEANS * MARKS).sum(axis=1)[levels].mean()
    better = rng.random(scenario.prompts) < scenario.effect / shortfall
    labels[1] = np.where(better, MARKS.argmax(axis=1)[levels], labels[1])
    return Cycle(levels=levels, labels=labels, bases=bases)


def _chances(levels: Ints, agreement: float, rng: np.random.Generator) -> Floats:
    """Chances of each label, shape (prompts, labels).

    Two draws from chances p agree with probability sum(p**2), whose mean under a Dirichlet of mean m and
    concentration a is S + (1 - S) / (1 + a) with S = sum(m**2): solved for a.
    """
    alike = float((MEANS**2).sum(axis=1).mean())
    concentration = (1.0 - alike) / (agreement - alike) - 1.0
    chances = np.empty((len(levels), len(LABELS)))
    for level in LEVELS:
        where = levels == level
        chances[where] = rng.dirichlet(concentration * MEANS[level], size=int(where.sum()))
    return chances


def draw_biased(scenario: Scenario, rng: np.random.Generator) -> Cycle:
    """A cycle like the demo's: half of the prompts harmless, champion right, and a judge that is wrong about KTO.

    DPO answers as the champion does. Rewrites of one base prompt share everything.
    """
    bases = np.arange(scenario.prompts) // scenario.rewrites
    number = np.arange(bases[-1] + 1)
    levels = np.where(number % 2 == 0, 0, 1 + number // 2 % 3)
    size = len(levels)
    lot, both = rng.random(size), np.cumsum(FAILED)
    champion = np.where(lot < both[1], WRONG[levels], RIGHT[levels])
    kto = np.where((lot < both[0]) | ((lot >= both[1]) & (lot < both[2])), WRONG[levels], RIGHT[levels])
    right = kto == RIGHT[levels]
    # Where the judge calls it wrong, it is a Caution too, and the mark is the same.
    true = np.where(right & (rng.random(size) >= BIASED[levels]), kto, CAUTION)
    labels, truth = np.stack([champion, kto, champion]), np.stack([champion, true, champion])
    return Cycle(levels=levels[bases], labels=labels[:, bases], bases=bases, truth=truth[:, bases])


def chosen(
    cycle: Cycle,
    seed: int,
    resamples: int,
    alpha: float | None = None,
    labels: int = 0,
    config: DecisionConfig = CONFIG,
) -> str:
    """Whom the rule chooses where every policy is inside the gate.

    `decide` without its tables, figures and sentences, which take thirty times as long; a test holds the two
    against each other.

    Args:
        cycle: what is compared.
        seed: of all draws.
        resamples: of the rule's tests.
        alpha: what the cycle may spend; None: all of a run of one cycle.
        labels: control labels of each contender.
        config: the rule's settings.
    """
    level = one_cycle(config).cycle if alpha is None else alpha
    marks, drawn = cycle.marks, enough_resamples(resamples, level / 2)
    tests = [paired_test(marks[i] - marks[0], cycle.bases, seed, drawn) for i in (1, 2)]
    p_values = [test.p_better for test in tests]
    believed = [True, True]
    if labels:
        sample = control_sample(cycle.levels, labels, np.random.default_rng(derive_seed(seed, "control")))
        p_values = [max(p, _corrected_p(cycle, i, sample)) for i, p in zip((1, 2), p_values, strict=True)]
        believed = [_accuracy(cycle, i, sample) >= config.control.min_accuracy for i in (1, 2)]
    better = {
        name: test.gain.value
        for name, test, p, known in zip(POLICIES[1:], tests, holm(p_values), believed, strict=True)
        if p <= level and known
    }
    return max(better, key=lambda name: better[name]) if better else "champion"


def control_sample(levels: Ints, n: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """Places and chances of the prompts whose answers are labelled, as `draw_control` draws them."""
    places, chances = [], []
    for level, share in shares_by_level(levels, n).items():
        of = np.flatnonzero(levels == level)
        places.append(rng.choice(of, size=share, replace=False))
        chances += [share / len(of)] * share
    return np.concatenate(places), np.array(chances)


def _corrected_p(cycle: Cycle, policy: int, sample: tuple[Ints, Floats]) -> float:
    places, chances = sample
    judged, trusted = cycle.marks, MARKS[cycle.levels, cycle.trusted]
    new, old = (TrustedMarks(places, judged[i, places], trusted[i, places], chances) for i in (policy, 0))
    found = corrected_gain(judged[policy] - judged[0], new, old, cycle.levels, cycle.bases, cycle.bases)
    return found.p_better() if found is not None else 1.0


def _accuracy(cycle: Cycle, policy: int, sample: tuple[Ints, Floats]) -> float:
    places, chances = sample
    right = cycle.labels[policy, places] == cycle.trusted[policy, places]
    return float((right / chances).sum() / (1.0 / chances).sum())


def shares(cycles: int = CYCLES) -> list[float]:
    """What each cycle of a run may spend, where all are compared."""
    spent, found = 0.0, []
    for done in range(cycles):
        alpha = share_of_alpha(CONFIG, [_Done(spent, CONFIG)] * done, cycles)
        found.append(alpha.cycle)
        spent = alpha.after(True)
    return found


@dataclass(frozen=True)
class _Done:
    """A cycle that was decided."""

    alpha_spent: float | None
    config: DecisionConfig


def promoted(
    scenario: Scenario,
    runs: int,
    seed: int,
    resamples: int,
    labels: int = 0,
    biased: bool = False,
    spend: bool = True,
) -> Rate:
    """In how many runs of five cycles a challenger that is no better replaces the champion.

    Args:
        scenario: what is compared; without an effect.
        runs: simulated.
        seed: of all draws.
        resamples: of the rule's tests.
        labels: control labels of each contender.
        biased: whether the judge is wrong about KTO as in the demo.
        spend: whether alpha is spent over the run; else every cycle has all of it, as in earlier versions.
    """
    rng = np.random.default_rng(derive_seed(seed, "runs", repr(scenario), biased))
    draw, levels = draw_biased if biased else draw_cycle, shares() if spend else [0.05] * CYCLES
    found = 0
    for run in range(runs):
        found += any(
            chosen(draw(scenario, rng), derive_seed(run, "cycle", number), resamples, alpha, labels) != "champion"
            for number, alpha in enumerate(levels)
        )
    return Rate(count=found, cycles=runs)


def gate_passed(harmless: int, err: float, limit: float, rewrites: int = 1, bound: bool = True) -> float:
    """How often a policy of a true ERR passes a gate, exactly; rewrites of one base prompt are refused together.

    Args:
        harmless: harmless prompts.
        err: the true ERR.
        limit: the gate's.
        rewrites: prompts to a base prompt, which alone count as evidence.
        bound: whether the upper end of ERR is gated (one-sided 95 %, Clopper and Pearson), or the share itself.
    """
    from scipy import stats

    n = max(1, harmless // rewrites)
    refused = np.arange(n + 1)
    upper = np.where(refused < n, stats.beta.isf(0.05, refused + 1, np.maximum(n - refused, 1)), 1.0)
    passes = (upper if bound else refused / n) <= limit
    return float(stats.binom.pmf(refused, n, err)[passes].sum())


def replaced(scenario: Scenario, cycles: int, seed: int, resamples: int, alone: bool = False, labels: int = 0) -> Rate:
    """How often the champion was replaced in one cycle; with an effect, how often by KTO, which has it.

    Args:
        scenario: what is compared.
        cycles: simulated.
        seed: of all draws.
        resamples: of the rule's tests.
        alone: whether the rule takes every prompt for a base prompt of its own, rewrites included.
        labels: control labels of each contender.
    """
    rng = np.random.default_rng(derive_seed(seed, "decision power", repr(scenario)))
    wanted = ("kto",) if scenario.effect else ("kto", "dpo")
    found = 0
    for number in range(cycles):
        cycle = draw_cycle(scenario, rng)
        if alone:
            cycle = replace(cycle, bases=np.arange(scenario.prompts))
        found += chosen(cycle, number, resamples, labels=labels) in wanted
    return Rate(count=found, cycles=cycles)


def rates_table(title: str, rows: list[tuple[str, Scenario, int, Rate]]) -> Table:
    """One row for each question and scenario."""
    table = Table(title=title)
    for name in ("what", "prompts", "rewrites", "labels", "simulated", "rate", "95 %"):
        table.add_column(name, justify="right", no_wrap=True)
    for what, scenario, labels, rate in rows:
        low, high = rate.interval
        table.add_row(
            what,
            f"{scenario.prompts:,}",
            str(scenario.rewrites),
            str(labels) if labels else "none",
            f"{rate.cycles:,}",
            f"{rate.value:.3f}",
            f"{low:.3f}-{high:.3f}",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prompts", type=int, nargs="+", default=[100, 400, 1000, 4000])
    parser.add_argument("--rewrites", type=int, nargs="+", default=[1, 10], help="prompts to a base prompt")
    parser.add_argument("--labels", type=int, nargs="+", default=[0, 40], help="control labels of each contender")
    parser.add_argument("--effects", type=float, nargs="+", default=[0.05, 0.2])
    parser.add_argument("--agreement", type=float, default=0.9, help="between .6 and 1")
    parser.add_argument("--runs", type=int, default=500, help="simulated for each row")
    parser.add_argument("--resamples", type=int, default=2000, help="as decide.resamples")
    args = parser.parse_args()
    found: list[tuple[str, Scenario, int, Rate]] = []
    for prompts in args.prompts:
        for rewrites in args.rewrites:
            plain = Scenario(prompts, 0.0, args.agreement, rewrites)
            for labels in args.labels:
                for what, biased in (("no effect", False), ("biased judge", True)):
                    rate = promoted(plain, args.runs, args.seed, args.resamples, labels, biased)
                    found.append((what, plain, labels, rate))
    Console().print(rates_table("Champion replaced in a run of five cycles by a challenger that is no better", found))
    power: list[tuple[str, Scenario, int, Rate]] = []
    for effect in args.effects:
        for prompts in args.prompts:
            for rewrites in args.rewrites:
                scenario = Scenario(prompts, effect, args.agreement, rewrites)
                for labels in args.labels:
                    rate = replaced(scenario, args.runs, args.seed, args.resamples, labels=labels)
                    power.append((f"gain {effect:+.2f}", scenario, labels, rate))
    Console().print(
        rates_table("Champion replaced, in one cycle that may spend .05, by the challenger that has a gain", power)
    )
    table = Table(title="A true ERR of .10 passes a gate of .05; half of the prompts are harmless")
    for name in ("prompts", "rewrites", "by the share", "by its upper end"):
        table.add_column(name, justify="right")
    for prompts in args.prompts:
        for rewrites in args.rewrites:
            shown = (gate_passed(prompts // 2, 0.10, 0.05, rewrites, bound) for bound in (False, True))
            table.add_row(f"{prompts:,}", str(rewrites), *(f"{rate:.4f}" for rate in shown))
    Console().print(table)


if __name__ == "__main__":
    main()
