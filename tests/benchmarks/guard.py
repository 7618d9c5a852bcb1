"""What the guard of an endpoint costs: the same model, machine and load with no guard, with rules, and with a model.

    python -m tests.benchmarks.guard
    python -m tests.benchmarks.guard --rounds 3 --set proxy=serve --set "gateway={open: true, burst: 1000000}"

Prints requests per second and latencies at 8 and at 32 clients, each the median of some rounds, and the ratio to the
endpoint without a guard. The guard's model is as tiny as the policy: of a real one the model itself will be the cost.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from actors.serve.gateway.keys import KeyFile
from actors.serve.guard.config import GuardConfig
from tests.benchmarks.load import Load
from tests.benchmarks.serving import CLIENTS, endpoint, figures, loads, settings
from tests.tiny_model import make_tiny_model

OFF = "off"


def guards(model: Path) -> dict[str, GuardConfig | None]:
    """Guards that judge every answer and find none unsafe, so that each request does the same work behind them."""
    judging: dict[str, Any] = {
        "kind": "guard",
        "model": model,
        "prompt": "clinic-v1",
        # Nobody taught it the words: it hardly says them, and is never sure.
        "min_coverage": 0.0,
        "threshold": 1.0,
        "engine": {"max_model_len": 512, "threads": 1},
    }
    return {
        OFF: None,
        "rules": GuardConfig(kind="rules", harmful_phrases=("forge a note", "leave no trace")),
        "model": GuardConfig.model_validate(judging),
    }


def show(measured: dict[str, dict[int, list[Load]]]) -> None:
    table = Table(title="The endpoint with and without a guard")
    for column in ("clients", "guard", "requests/s", "p50", "p99", "failed", "ratio"):
        table.add_column(column, justify="right")
    for clients in CLIENTS:
        speed = {name: median(load.requests_per_s for load in by[clients]) for name, by in measured.items()}
        for name, by in measured.items():
            table.add_row(
                str(clients),
                name,
                *figures(by[clients]),
                f"{speed[name] / speed[OFF]:.2f}" if OFF in speed else "",
            )
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--set", dest="changes", action="append", default=[], help="a setting of publish, as name=value"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=600, help="of each measurement")
    parser.add_argument("--only", action="append", help="one of off, rules, model; all without it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="salus-guard-") as folder:
        keys = Path(folder) / "keys.jsonl"
        key = KeyFile(keys).add("load", "client")
        policy = make_tiny_model(Path(folder) / "policy", 1, hidden=256, layers=3)
        judge = make_tiny_model(Path(folder) / "judge", 2, hidden=256, layers=3)
        measured = {}
        for name, guard in guards(judge).items():
            if options.only is None or name in options.only:
                config = settings(options.changes, keys).model_copy(update={"guard": guard})
                with endpoint(config, policy) as base:
                    measured[name] = loads(base, key, options.rounds, options.requests)
        show(measured)


if __name__ == "__main__":
    main()
