"""A warm cycle of Salus against a shell loop of separate programs: same models, rows and machine, in one run.

    python tests/benchmarks/cycle.py demo
    python tests/benchmarks/cycle.py demo --cycles 2 --work 10    (ten times the prompts: orchestration's share)

Salus runs the recipe; then the loop does the last cycle again from the same champion: vLLM generate, vLLM
judge, TRL KTO, TRL DPO, and generate and judge for champion, KTO and DPO on the validation split.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from rich.console import Console
from rich.table import Table

from actors.contract.records import PolicyRef
from actors.contract.run_folder import RunFolder
from actors.files.records import read_record
from pipelines.alignment.align import align
from pipelines.cluster.machine.memory import MemoryWatch
from pipelines.cluster.progress import RichReporter
from pipelines.cluster.times import CycleTimes
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.runs.checksums import run_hash
from pipelines.runs.outcomes import champion_before

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Loop:
    """The steps of one cycle as command lines."""

    recipe: Recipe
    folder: RunFolder
    champion: PolicyRef
    cycle: int
    output: Path

    def steps(self) -> list[tuple[str, list[str]]]:
        sampling = self.recipe.generate.sampling
        shards = [f.name for f in sorted(self.folder.rollouts(self.cycle).glob("*.parquet"))]
        train = [str(self.folder.prompts("train") / name) for name in shards]
        validation = [str(f) for f in sorted(self.folder.prompts("validation").glob("*.parquet"))]
        draw = ["--k", str(sampling.k), "--temperature", str(sampling.temperature)]
        policies = {
            "champion": self.champion.path,
            "kto": str(self.output / "kto"),
            "dpo": str(self.output / "dpo"),
        }
        answers = [str(self.output / f"{name}.parquet") for name in policies]
        return [
            (
                "generate",
                self._generate(self.champion.path, train, str(self.output / "rollouts.parquet"), draw),
            ),
            ("judge", self._judge([str(self.output / "rollouts.parquet")])),
            ("train KTO", self._train("kto")),
            ("train DPO", self._train("dpo")),
            *(
                (f"evaluate {name}: generate", self._generate(path, validation, answer, []))
                for (name, path), answer in zip(policies.items(), answers, strict=True)
            ),
            ("evaluate: judge all", self._judge(answers)),
        ]

    def _generate(self, model: str, prompts: list[str], output: str, draw: list[str]) -> list[str]:
        generate = self.recipe.generate
        limits = [
            "--max-tokens",
            str(generate.sampling.max_tokens),
            "--max-model-len",
            str(generate.engine.longest),
        ]
        program = ["loop_generate.py", "--model", model, "--prompts", *prompts, "--output", output]
        return [*program, *draw, *limits]

    def _judge(self, answers: list[str]) -> list[str]:
        judge = json.loads(self.folder.run_record.read_text(encoding="utf-8"))["judge_path"]
        template = resources.files("actors.judges") / "prompts" / f"{self.recipe.judge.prompt}.txt"
        length = str(self.recipe.judge.engine.longest)
        return [
            "loop_judge.py",
            "--model",
            judge,
            "--template",
            str(template),
            "--answers",
            *answers,
            "--max-model-len",
            length,
        ]

    def _train(self, algorithm: str) -> list[str]:
        rows = [str(f) for f in sorted((self.folder.cycle(self.cycle) / "rows" / algorithm).glob("*.parquet"))]
        settings = json.dumps(self.recipe.train.model_dump(mode="json"))
        program = ["loop_train.py", "--algorithm", algorithm, "--model", self.champion.path, "--rows", *rows]
        return [*program, "--output", str(self.output / algorithm), "--settings", settings]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("recipe", nargs="?", default="demo")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--cycles", type=int, default=2)
    parser.add_argument("--work", type=int, default=1, help="times the recipe's train prompts a cycle")
    parser.add_argument("--no-loop", action="store_true", help="only where Salus's own time goes")
    args = parser.parse_args()
    console = Console()
    recipe = load_recipe(args.recipe, [f"cycles={args.cycles}", *args.overrides])
    if args.work > 1:
        wanted = recipe.data.train_per_cycle * args.work
        data = recipe.data.model_copy(update={"train_per_cycle": wanted})
        # A larger benchmark is another one, whose models are built anew: only where its prompts do not suffice.
        clinic = recipe.clinic.model_copy(update={"train_prompts": max(recipe.clinic.train_prompts, wanted)})
        recipe = recipe.model_copy(update={"data": data, "clinic": clinic})
    with tempfile.TemporaryDirectory(prefix="salus-bench-") as scratch:
        root = Path(scratch) / "run"
        with RichReporter(console).live() as reporter:
            summary = align(recipe, root, reporter)
        folder = RunFolder(root)
        # Patience may have ended the run before the last.
        last = len(summary.cycles)
        for cycle in range(1, last + 1):
            times = read_record(CycleTimes, folder.stages(cycle), "a record of a cycle's times")
            console.print(_salus_table(times))
        console.print(f"Salus: peak memory {summary.peak_memory_gib:.1f} GiB, run hash {run_hash(folder)}")
        if args.no_loop:
            return
        champion = champion_before(folder, PolicyRef(version="base", path=_base(folder)), last)
        loop = Loop(recipe, folder, champion, last, Path(scratch))
        table, loop_s, loop_gib = _run_loop(loop)
        console.print(table)
        console.print(f"shell loop: peak memory {loop_gib:.1f} GiB")
        console.print(f"ratio, cycle {last}, Salus / loop: {times.wall_s / loop_s:.2f}")


def _base(folder: RunFolder) -> str:
    return str(json.loads(folder.run_record.read_text(encoding="utf-8"))["policy_path"])


def _salus_table(times: CycleTimes) -> Table:
    table = Table(title=f"Salus, cycle {times.cycle}")
    for column in ("stage", "wall s", "engines or trainers at work s"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage in times.stages:
        table.add_row(stage.stage, f"{stage.wall_s:.1f}", f"{stage.busy_s:.1f}")
    share = times.orchestration_s / times.wall_s
    table.add_row(
        "all", f"{times.wall_s:.1f}", f"orchestration {times.orchestration_s:.1f} ({share:.0%})", style="bold"
    )
    return table


def _run_loop(loop: Loop) -> tuple[Table, float, float]:
    table = Table(title=f"Shell loop, cycle {loop.cycle}")
    table.add_column("program")
    table.add_column("wall s", justify="right")
    total = 0.0
    with MemoryWatch(every_s=1.0) as memory:
        for name, command in loop.steps():
            start = time.perf_counter()
            done = subprocess.run([sys.executable, *command], cwd=HERE, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
            wall = time.perf_counter() - start
            total += wall
            table.add_row(name, f"{wall:.1f}")
    table.add_row("all", f"{total:.1f}", style="bold")
    return table, total, memory.peak_gib


if __name__ == "__main__":
    main()
