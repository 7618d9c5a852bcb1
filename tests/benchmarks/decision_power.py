"""How sure a decision is: how often chance alone replaces the champion, and how often a real gain is found.

    python tests/benchmarks/decision_power.py
    python tests/benchmarks/decision_power.py --seeds 0 1 2 --cycles 2000 --effects 0 0.02 0.05 --prompts 250 1000 4000

Simulated, without any model. Every prompt has its own chances of Accept, Caution and Refuse, drawn around the means of
its harm level (Dirichlet); champion, KTO and DPO each draw one label from the same chances, so that any two policies
agree on a given share of prompts and none is better. With an effect, KTO's label is then replaced by the level's best
one with the chance that makes its expected SS higher by just that much. What decides is the code of
`pipelines.decision.paired` that `decide` uses; the gate is left open. Means, level mix and agreement are invented: they
set how noisy a comparison is, not whether the rule keeps its word.
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
from pipelines.config.scores import ScoreTable
from pipelines.decision.paired import holm, paired_test
from pipelines.measures.bootstrap import Floats

Ints = NDArray[np.int64]

MARKS = ScoreTable().marks()
# Mean chances of Accept, Caution and Refuse at each harm level: a champion halfway, SS .68.
MEANS = np.array([[0.85, 0.10, 0.05], [0.30, 0.25, 0.45], [0.30, 0.25, 0.45], [0.25, 0.15, 0.60]])
POLICIES = ("champion", "kto", "dpo")


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
    labels: Ints
    bases: Ints

    @property
    def marks(self) -> Floats:
        """Shape (3 policies, prompts)."""
        return MARKS[self.levels, self.labels]

    def judged(self, policy: str) -> pa.Table:
        """One policy's judged answers, with the columns that a decision reads."""
        labels = pa.array(LABELS).take(pa.array(self.labels[POLICIES.index(policy)]))
        rows = len(self.levels)
        return pa.table(
            {
                "prompt_id": [f"p{i:06d}" for i in range(rows)],
                "base_prompt": [f"b{i:06d}" for i in self.bases],
                "policy": [policy] * rows,
                "level": pa.array(self.levels, pa.int8()),
                "principle": pa.nulls(rows, pa.int8()),
                "method": ["direct"] * rows,
                "answer": [f"{policy}: {label}" for label in labels.to_pylist()],
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


def chosen(cycle: Cycle, seed: int, resamples: int, confidence: float = 0.95) -> str:
    """Whom the rule chooses where every policy is inside the gate.

    `decide` without its tables, figures and sentences, which take thirty times as long; a test holds the two
    against each other.
    """
    marks = cycle.marks
    tests = [paired_test(marks[i] - marks[0], cycle.bases, seed, resamples) for i in (1, 2)]
    p_values = holm([test.p_better for test in tests])
    better = {
        name: test.gain.value
        for name, test, p in zip(POLICIES[1:], tests, p_values, strict=True)
        if p <= 1.0 - confidence
    }
    return max(better, key=lambda name: better[name]) if better else "champion"


def replaced(scenario: Scenario, cycles: int, seed: int, resamples: int, alone: bool = False) -> Rate:
    """How often the champion was replaced; with an effect, how often by KTO, which has it.

    Args:
        scenario: what is compared.
        cycles: simulated.
        seed: of all draws.
        resamples: of the rule's tests.
        alone: whether the rule takes every prompt for a base prompt of its own, rewrites included.
    """
    rng = np.random.default_rng(derive_seed(seed, "decision power", repr(scenario)))
    wanted = ("kto",) if scenario.effect else ("kto", "dpo")
    found = 0
    for number in range(cycles):
        cycle = draw_cycle(scenario, rng)
        if alone:
            cycle = replace(cycle, bases=np.arange(scenario.prompts))
        found += chosen(cycle, number, resamples) in wanted
    return Rate(count=found, cycles=cycles)


def rates_table(rows: list[tuple[Scenario, int, Rate]]) -> Table:
    """One row for each scenario and seed; alike: the share of prompts two policies label alike."""
    table = Table(title="Champion replaced; with an effect: by the challenger that has it")
    for name in ("effect", "prompts", "alike", "rewrites", "seed", "cycles", "rate", "95 %"):
        table.add_column(name, justify="right", no_wrap=True)
    for scenario, seed, rate in rows:
        low, high = rate.interval
        table.add_row(
            f"{scenario.effect:+.2f}" if scenario.effect else "none",
            f"{scenario.prompts:,}",
            f"{scenario.agreement:.2f}",
            str(scenario.rewrites),
            str(seed),
            f"{rate.cycles:,}",
            f"{rate.value:.3f}",
            f"{low:.3f}-{high:.3f}",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--prompts", type=int, nargs="+", default=[250, 1000, 4000])
    parser.add_argument("--effects", type=float, nargs="+", default=[0.0, 0.05])
    parser.add_argument("--agreements", type=float, nargs="+", default=[0.9], help="between .6 and 1")
    parser.add_argument("--rewrites", type=int, nargs="+", default=[1], help="prompts to a base prompt")
    parser.add_argument("--cycles", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=2000, help="as decide.resamples")
    args = parser.parse_args()
    rows = [
        (scenario, seed, replaced(scenario, args.cycles, seed, args.resamples))
        for effect in args.effects
        for prompts in args.prompts
        for agreement in args.agreements
        for rewrites in args.rewrites
        for seed in args.seeds
        for scenario in [Scenario(prompts, effect, agreement, rewrites)]
    ]
    Console().print(rates_table(rows))


if __name__ == "__main__":
    main()
