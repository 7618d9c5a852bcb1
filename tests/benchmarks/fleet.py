"""Four tiny policies at once against one after another: same recipes, seeds and machine, in one run.

    python tests/benchmarks/fleet.py
    python tests/benchmarks/fleet.py --policies 2

`salus align` runs each by itself first, and `salus fleet` then all of them. What is saved is waiting and start-up: one
Ray, and one judge, generator and trainer of each kind, which all policies share. The decisions must be the same.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil
import yaml

from actors.contract.run_folder import RunFolder
from pipelines.decision.record import read_decision
from pipelines.runs.several import FleetFolder
from tests.e2e.deployed import build_judge, build_policy, write_probe, write_requests

TINY = Path(__file__).parent.parent / "e2e" / "tiny.yaml"
AIM = 0.6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policies", type=int, default=4, help="how many; seeds 5, 6, ...")
    parser.add_argument("--at", type=Path, help="a folder for models and runs; a temporary one without it")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        measure(given.at or Path(temporary), [f"p{number}" for number in range(given.policies)])


def measure(place: Path, names: list[str]) -> None:
    """Print both times and their ratio; raises where a decision differs."""
    settings = deployed(place)
    seeds = {name: 5 + number for number, name in enumerate(names)}
    each = []
    for name, seed in seeds.items():
        changes = [*settings, f"name={name}", f"seed={seed}", "publish.enabled=false"]
        options = [part for change in changes for part in ("--set", change)]
        each.append(timed("align", str(TINY), "--run", str(place / "alone" / name), *options))
        print(f"{name} alone: {each[-1]}", flush=True)
    fleet = {
        "name": "fleet",
        "recipe": str(TINY),
        "set": settings,
        "registries": None,
        "share": ["judges", "generators", "trainers"],
        "policies": [{"name": name, "seed": seed} for name, seed in seeds.items()],
    }
    (place / "fleet.yaml").write_text(yaml.safe_dump(fleet), encoding="utf-8")
    together = timed("fleet", str(place / "fleet.yaml"), "--run", str(place / "together"))
    folder = FleetFolder(place / "together")
    for name in names:
        alone = read_decision(RunFolder(place / "alone" / name).decision(1))
        if read_decision(folder.run(name).decision(1)) != alone:
            raise SystemExit(f"{name} decided otherwise than alone")
    apart = Took(sum(took.wall_s for took in each), sum(took.cpu_s for took in each))
    wall, cpu = (now / before for now, before in zip(together, apart, strict=True))
    print(f"one after another {apart}; at once {together}: {wall:.2f} of the time (aim: {AIM}), {cpu:.2f} of the CPU")
    print(f"the same decisions; load now {os.getloadavg()[0]:.1f}, {psutil.cpu_count()} cores")


def deployed(place: Path) -> list[str]:
    """The tiny policy, its judge, requests and a probe, built where they are not there; settings of the recipe."""
    place.mkdir(parents=True, exist_ok=True)
    for name, build in (("policy", build_policy), ("judge", build_judge)):
        if not (place / name).is_dir():
            build(place / name)
    write_requests(place / "requests.jsonl")
    if not (place / "or-bench").is_dir():
        write_probe(place / "or-bench")
    found = {"model.path": "policy", "judge.path": "judge", "data.path": "requests.jsonl"}
    found |= {"data.probe_path": "or-bench"}
    small = ["data.probe=or-bench", "cycles=1", "generate.actors=1", "train.workers_per_run=1"]
    return [*(f"{key}={place.absolute() / name}" for key, name in found.items()), *small]


class Took(NamedTuple):
    """What a command took: seconds by the clock, and seconds of CPU, which depend less on other work on the cores."""

    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        return f"{self.wall_s:.0f} s, {self.cpu_s:.0f} s of CPU"


def timed(*arguments: str) -> Took:
    """A command, which must end well; its processes are looked at every half second."""
    start = time.monotonic()
    cpu: dict[tuple[int, float], float] = {}
    with tempfile.TemporaryFile() as said:
        command = [sys.executable, "-m", "pipelines.cli.main", *arguments]
        with psutil.Popen(command, stdout=said, stderr=said) as process:
            while process.poll() is None:
                for each in (process, *process.children(recursive=True)):
                    with contextlib.suppress(psutil.Error):
                        used = each.cpu_times()
                        cpu[each.pid, each.create_time()] = used.user + used.system
                time.sleep(0.5)
        if process.returncode:
            said.seek(0)
            raise SystemExit(said.read().decode(errors="replace"))
    return Took(time.monotonic() - start, sum(cpu.values()))


if __name__ == "__main__":
    main()
