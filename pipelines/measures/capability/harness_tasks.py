"""Tasks of EleutherAI's lm-evaluation-harness, its own or local ones, run over Salus's engine."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from actors.contract.records import Record
from actors.engine.port import Engine
from actors.errors import SalusError
from pipelines.data.rows import nearest
from pipelines.measures.capability.open_metrics import fetch_bert_score, installed_metrics

# Tasks whose names hold it ask for BERTScore.
_OPEN = "careqa_open"
# Of standard errors that have no formula; the harness's own number takes hours in one process.
RESAMPLES = 2000


class HarnessRequest(Record):
    """Which tasks, how far, and how they are asked."""

    tasks: tuple[str, ...]
    # A folder of task files (YAML) beside the harness's own.
    task_path: Path | None = None
    # Most questions of each task; None: all.
    limit: int | None = None
    # Whether to ask under the model's chat template.
    chat: bool = False
    seed: int = 0


class HarnessFigures(Record):
    """What the harness measured: by task and metric, as it names them."""

    lm_eval: str
    limit: int | None
    chat: bool
    tasks: dict[str, dict[str, float]]
    # A sentence on each metric that a task has and this machine has not.
    left_out: tuple[str, ...] = ()


class HarnessResult(NamedTuple):
    """Figures to keep, and the harness's own table of them (Markdown)."""

    figures: HarnessFigures
    table: str


def check_harness() -> None:
    """Raise `SalusError` where the evaluation harness is not installed."""
    if find_spec("lm_eval") is None:
        raise SalusError(
            "The evaluation harness is not installed; install Salus with its extra: pip install salus[eval]."
        )


def find_tasks(request: HarnessRequest) -> Any:
    """The harness's `TaskManager`, which knows every task asked for.

    Called before the engine starts: an engine puts this process offline, and what the harness loads first still
    reaches the hub.

    Raises:
        SalusError: the harness is not installed, the folder is not there, or a task is unknown.
    """
    check_harness()
    if request.task_path is not None and not request.task_path.is_dir():
        raise SalusError(f"--task-path {request.task_path} is not a folder; give the one that holds the task files.")
    import datasets  # noqa: F401  # Reads the setting that allows it the hub.
    from lm_eval.tasks import TaskManager

    asked = set(request.tasks)
    if any(_OPEN in task for task in asked):
        fetch_bert_score()
    if request.task_path is not None:
        # The harness takes ten seconds to read its own thousands of task files.
        local: Any = TaskManager(include_path=str(request.task_path), include_defaults=False)
        if asked <= set(local.all_tasks):
            return local
    manager: Any = TaskManager(include_path=str(request.task_path) if request.task_path is not None else None)
    known = set(manager.all_tasks)
    for task in sorted(asked - known):
        raise SalusError(
            f"The evaluation harness has no task {task!r}, the nearest is {nearest(task, known)!r}; local task"
            " files are found with --task-path DIR."
        )
    return manager


def run_tasks(engine: Engine, name: str, request: HarnessRequest, manager: Any) -> HarnessResult:
    """Have the harness ask its tasks of the engine's model.

    Args:
        name: of the model, for the harness's notes.
        manager: as `find_tasks` made it.

    Raises:
        SalusError: a task's data cannot be fetched.
    """
    from lm_eval import simple_evaluate
    from lm_eval.utils import make_table

    from pipelines.measures.capability.harness import SalusLM

    try:
        # The harness prints what it is at.
        with installed_metrics() as left_out, redirect_stdout(sys.stderr):
            results: dict[str, Any] = simple_evaluate(
                model=SalusLM(engine, name, request.seed),
                tasks=list(request.tasks),
                task_manager=manager,
                limit=request.limit,
                apply_chat_template=request.chat,
                log_samples=False,
                bootstrap_iters=RESAMPLES,
                random_seed=request.seed,
                numpy_random_seed=request.seed,
                torch_random_seed=request.seed,
                fewshot_random_seed=request.seed,
            )
    except OSError as error:
        raise SalusError(
            f"The data of {', '.join(request.tasks)} cannot be read ({type(error).__name__}:"
            f" {' '.join(str(error).split())[:200]}); where no hub can be reached, give local task files with"
            " --task-path DIR."
        ) from error
    return HarnessResult(_figures(results, request, left_out), str(make_table(results)))


def _figures(results: dict[str, Any], request: HarnessRequest, left_out: Sequence[str]) -> HarnessFigures:
    """The numbers of the harness's results; names, "N/A" and NaN are left out."""
    tasks = {
        str(task): {
            str(metric): float(value)
            for metric, value in found.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        }
        for task, found in results["results"].items()
    }
    return HarnessFigures(
        lm_eval=metadata.version("lm_eval"),
        limit=request.limit,
        chat=request.chat,
        tasks=tasks,
        left_out=tuple(left_out),
    )
