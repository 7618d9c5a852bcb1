"""Ray Train as Salus uses it: one run of workers in a task of its own, its environment, and its fault in one line."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from actors.contract.actor_address import beside_me
from actors.contract.growth import boot_s
from actors.contract.records import Record
from actors.engine.faults.device import Device, check_device, gpus_in_use
from actors.errors import SalusError, own_error
from actors.files.full_disk import full_disk
from actors.training.config import Workers

if TYPE_CHECKING:
    from ray.train.torch import TorchConfig

TRAIN_ENVIRONMENT = {
    # To fingerprint a function, dill disassembles it to stdout, which it captures. Ray Train's redirected
    # print goes past the capture: pages of log, and fingerprints that miss what the function refers to.
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
    # Relative paths in an assignment mean the same in every worker.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    # On CPUs, glibc giving back and faulting in again every activation costs a twelfth of the training time.
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
}
# Ray Train's own limit for workers on nodes that are there.
_START_S = 60.0
TIMEOUT_S = 1800.0
TIMEOUT_S_PER_GIB = 60.0
# What each worker runs, with the run's settings as a dict.
Loop = Callable[[dict[str, Any]], None]


class TrainRun(Record):
    """One Ray Train run: what it is called, where its own state is, and its workers.

    Ray resumes a run of the same name in the same place. `storage_path` is a folder all nodes see, or a URI.
    """

    # As "KTO training run", in faults.
    title: str
    name: str
    storage_path: str
    workers: Workers
    # Of the model that is trained, as it is stored.
    weights_gib: float = 0.0

    @property
    def timeout_s(self) -> int:
        """How long one worker waits for another in a collective. Torch gives up after half an hour by itself.

        The time for the weights is our choice: 17 MiB a second, of a slow network file system.
        """
        own = self.workers.collective_timeout_s
        return own if own is not None else math.ceil(TIMEOUT_S + TIMEOUT_S_PER_GIB * self.weights_gib)


def check_worker(workers: Workers) -> None:
    """Refuse to train on another device than the settings name; asked in each worker before the workers meet.

    Raises:
        SalusError: torch sees fewer GPUs than the worker has.
    """
    device: Device = "cuda" if workers.on_gpu else "cpu"
    check_device(device, math.ceil(workers.gpus_per_worker), "A training worker", gpus_in_use, platform=None)


def launch(loop: Loop, loop_config: dict[str, Any], run: TrainRun) -> ray.ObjectRef[None]:
    """Start a run and return at once; several may run side by side.

    `ray.get` of the result waits for the end of the run and raises SalusError where the run failed, FullDiskError
    where a full disk ended it. `loop` must be a function of a module, which every worker imports.
    """
    place = run.storage_path if "://" in run.storage_path else str(Path(run.storage_path).absolute())
    # Ray Train's controller is on this task's node: any other node that dies takes workers alone with it.
    task = _fit.options(runtime_env={"env_vars": _environment(run.workers)}, scheduling_strategy=beside_me())
    return task.remote(loop, loop_config, run.model_copy(update={"storage_path": place}))


def _environment(workers: Workers) -> dict[str, str]:
    """Environment of a run's processes, beside what they inherit."""
    return TRAIN_ENVIRONMENT | {
        # Ray Train's cleaner looks for the cluster by itself, and fails where a machine holds two.
        "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
        # Spot nodes are GPU nodes; elsewhere the watcher would be one more process to start.
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "1" if workers.on_gpu else "0",
        # After it Ray Train asks for its workers anew, and its autoscaler for the nodes.
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": f"{_START_S + boot_s():g}",
    }


def torch_config(run: TrainRun) -> TorchConfig:
    """How the workers of a run meet. Torch itself would name no cure where it is built without what they need."""
    from ray.train.torch import TorchConfig

    workers = run.workers
    torch: Any = TorchConfig().backend_cls

    class CheckedTorch(torch):  # type: ignore[misc]  # Ray names its class in private modules alone.
        def on_start(self, worker_group: Any, backend_config: Any) -> None:
            worker_group.execute(check_worker, workers)
            super().on_start(worker_group, backend_config)

    class CheckedTorchConfig(TorchConfig):
        @property
        def backend_cls(self) -> Any:
            return CheckedTorch

    # Objects are exchanged between ranks through gloo, on GPUs too.
    backend = "cpu:gloo,cuda:nccl" if workers.on_gpu else "gloo"
    return CheckedTorchConfig(backend=backend, timeout_s=run.timeout_s)


@ray.remote(num_cpus=0, max_retries=0)
def _fit(loop: Loop, loop_config: dict[str, Any], run: TrainRun) -> None:
    from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    workers = run.workers
    resources = {"CPU": workers.cpus_per_worker, "GPU": workers.gpus_per_worker}
    trainer = TorchTrainer(
        train_loop_per_worker=loop,
        train_loop_config=loop_config,
        torch_config=torch_config(run),
        scaling_config=ScalingConfig(
            num_workers=workers.workers_per_run,
            use_gpu=workers.on_gpu,
            resources_per_worker={name: amount for name, amount in resources.items() if amount},
        ),
        run_config=RunConfig(
            name=run.name,
            storage_path=run.storage_path,
            failure_config=FailureConfig(max_failures=workers.max_failures),
            logging_config=LoggingConfig(log_level="WARNING"),  # type: ignore[call-arg]
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        raise run_fault(run, error) from None


def run_fault(run: TrainRun, error: Exception) -> SalusError:
    """The first worker's own fault, or Ray Train's, in one line; any worker's full disk goes before all else."""
    failures: dict[int, Exception] = getattr(error, "worker_failures", {})
    causes = [failures[each] for each in sorted(failures)] or [getattr(error, "controller_failure", error)]
    causes = [getattr(cause, "_base_exc", cause) for cause in causes]
    storage = Path(run.storage_path) if "://" not in run.storage_path else None
    if (full := next((fault for cause in causes if (fault := full_disk(cause, storage))), None)) is not None:
        return full
    cause = causes[0]
    if (own := cause if isinstance(cause, SalusError) else own_error(cause)) is not None:
        return own
    text = " ".join(str(cause).split())
    return SalusError(f"The {run.title} {run.name} ended with {type(cause).__name__}: {text[:300]}")
