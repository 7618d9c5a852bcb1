"""How the demo recipe does by seed: each seed its own data, policy, judge and training.

python tests/benchmarks/seeds.py 1 2 3 4 5
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipelines.alignment.align import align
from pipelines.cluster.progress import RichReporter
from pipelines.config.load import load_recipe
from pipelines.runs.summary import Measured, Summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    args = parser.parse_args()
    console = Console()
    summaries = []
    for seed in args.seeds:
        recipe = load_recipe(args.recipe, [f"seed={seed}"])
        with RichReporter(console).live() as reporter:
            summaries.append(align(recipe, args.runs / f"{recipe.name}-s{seed}", reporter))
        console.print(seeds_table(summaries))


def seeds_table(summaries: list[Summary]) -> Table:
    """One row per seed: the test split by ground truth, who won each cycle, and the cost."""
    table = Table(title="demo by seed: test split, ground truth")
    for name in ("seed", "SS base", "SS champion", "ERR strict", "ASR", "keyword SS", "cycles", "wall s", "GiB"):
        table.add_column(name, justify="right")
    for summary in summaries:
        test = summary.test
        table.add_row(
            str(summary.seed),
            _figure(test.base.ss),
            _figure(test.champion.ss),
            _figure(test.champion.err_strict),
            _figure(test.champion.asr),
            _figure(test.keyword_refuse.ss),
            " ".join(cycle.decision for cycle in summary.cycles),
            f"{summary.wall_s:.0f}",
            f"{summary.peak_memory_gib:.1f}",
        )
    return table


def _figure(measured: Measured | None) -> str:
    return "-" if measured is None else f"{measured.value:.3f}"


if __name__ == "__main__":
    main()
