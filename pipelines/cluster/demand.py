"""Every actor of a recipe, with the CPUs, GPUs and memory that one of it takes."""

from __future__ import annotations

from pathlib import Path

from actors.contract.records import ChallengerName, Record
from actors.engine.config import EngineConfig
from actors.engine.precision import cpu_dtype
from actors.errors import SalusError
from actors.judges.regimens import REGIMENS
from actors.serve.guard.config import GuardConfig
from actors.training.config import Workers
from pipelines.cluster import footprint
from pipelines.cluster.footprint import Shape
from pipelines.config.recipe import Recipe

# Host memory of a process beside its model, proportional set size, with the pinned versions on CPU. Chosen with
# a fifth to spare: the demo is planned at 12.2 GiB and was measured at 10.0.
ENGINE_GIB = 0.8
WORKER_GIB = 0.7
# Serve's controller, proxy and ingress, and a replica's own process without its model.
ENDPOINT_GIB = 2.0
# Ray's own processes, the driver and the coordinator.
RAY_GIB = 1.2
# Work space of an engine on a GPU beside weights and KV cache (vLLM's activations, CUDA context, graphs).
ENGINE_GPU_GIB = 2.0
WORKER_GPU_GIB = 2.0


class PlanRow(Record):
    """Actors of one kind; everything but `count` is for each of them."""

    actor: str
    count: int
    cpus: float = 0.0
    gpus: float = 0.0
    # Host memory.
    memory_gib: float = 0.0
    # On each of its GPUs.
    gpu_memory_gib: float = 0.0
    # Where the settings are that change this row.
    section: str = ""


def demand(recipe: Recipe) -> tuple[PlanRow, ...]:
    """The actors of a run, in the order of a prompt's way.

    Raises:
        SalusError: the size of a model cannot be told.
    """
    policy = policy_shape(recipe)
    return (
        _ray(recipe),
        PlanRow(actor="coordinator", count=1),
        _engines(
            "generator",
            recipe.generate.actors,
            recipe.generate.cpus_per_actor,
            recipe.generate.engine,
            policy,
        ),
        *(() if recipe.cluster.shared_judges else (_judges(recipe, policy),)),
        *_control_judge(recipe),
        *(_controller(name.upper()) for name in recipe.train.challengers),
        *(_workers(recipe, name, policy) for name in recipe.train.challengers),
        PlanRow(
            actor="Ray Data task",
            count=len(recipe.train.row_kinds),
            cpus=1.0,
            memory_gib=0.3,
            section="train.challengers",
        ),
        *_publisher(recipe, policy),
    )


def judge_training_demand(recipe: Recipe) -> tuple[tuple[PlanRow, ...], tuple[PlanRow, ...]]:
    """The actors of `salus judge train`: those that train, and then, when they have ended, those that judge.

    Raises:
        SalusError: the size of the judge cannot be told.
    """
    train, engine = recipe.judge.train, recipe.judge.engine
    shape = _own_judge_shape(recipe)
    needed = footprint.judge_training_gib(shape, train, engine.longest, _training_dtype(train))
    workers = _training_row("judge training worker", train, shape, needed, "judge.train")
    judges = _engines("judge", recipe.judge.actors, recipe.judge.cpus_per_actor, engine, shape)
    return (_ray(recipe), _controller("judge training"), workers), (_ray(recipe), judges)


def disk_gib(recipe: Recipe) -> float:
    """What a whole run writes to its folder, an estimate: merged weights of every challenger, and what is beside them.

    Raises:
        SalusError: the size of a model cannot be told.
    """
    policy, train = policy_shape(recipe), recipe.train
    # Merged weights are written as the deployed ones are stored, which on a CPU may be float32 whatever computes.
    weights = footprint.weights_gib(policy, train.dtype if train.gpus_per_worker > 0 else "float32")
    saved = footprint.saved_gib(policy, train.lora, weights)
    trained = len(train.challengers) * (recipe.cycles * (weights + saved) + saved)
    # A row of text is in the rollouts, the judgments and the training rows; four bytes a token.
    answers = recipe.cycles * recipe.data.train_per_cycle * recipe.generate.sampling.k
    rows = 3 * 4 * answers * recipe.generate.longest_answer / footprint.GIB
    copies = 0.0
    if recipe.self_contained:
        copies = (
            weights
            if recipe.judge.row.weights != "own"
            else weights + footprint.weights_gib(_own_judge_shape(recipe), recipe.judge.engine.computing_dtype)
        )
    return trained + rows + copies


def policy_shape(recipe: Recipe) -> Shape:
    """The shape of the deployed policy.

    Raises:
        SalusError: it is on the hub and the recipe does not say its size.
    """
    if recipe.model.source == "clinic":
        return footprint.shape_of_tiny(recipe.clinic.policy)
    if recipe.model.source == "medsafety":
        return footprint.shape_of_tiny(recipe.medsafety.model)
    return _shape("model", recipe.model.path, recipe.model.parameters_b)


def _judge_shape(recipe: Recipe, policy: Shape) -> Shape:
    return policy if recipe.judge.row.champion_judges else _own_judge_shape(recipe)


def _own_judge_shape(recipe: Recipe) -> Shape:
    if recipe.judge.source == "clinic":
        return footprint.shape_of_tiny(recipe.clinic.judge)
    return _shape("judge", recipe.judge.path, recipe.judge.parameters_b)


def _shape(section: str, path: str | None, parameters_b: float | None) -> Shape:
    folder = Path(path or "").expanduser()
    if path and (folder / "config.json").is_file():
        return footprint.shape_of_folder(folder)
    if parameters_b is None:
        raise SalusError(
            f"The size of {path} is not known, as there is no such folder. Give the model's folder as"
            f" {section}.path, or its size in 10^9 parameters as {section}.parameters_b."
        )
    return footprint.shape_of_size(parameters_b)


def _engines(actor: str, count: int, cpus: float, engine: EngineConfig, shape: Shape) -> PlanRow:
    section = "generate" if actor == "generator" else "judge"
    weights = footprint.weights_gib(shape, engine.computing_dtype)
    if engine.device == "cpu":
        memory = ENGINE_GIB + weights + engine.kv_cache_gib
        return PlanRow(actor=actor, count=count, cpus=cpus, memory_gib=memory, section=section)
    cache = footprint.kv_gib(shape, engine.longest, engine.computing_dtype)
    return PlanRow(
        actor=actor,
        count=count,
        cpus=cpus,
        gpus=engine.tensor_parallel,
        memory_gib=2 * ENGINE_GIB * (1 + engine.tensor_parallel),
        gpu_memory_gib=(weights + cache) / engine.tensor_parallel / engine.gpu_memory_utilization + ENGINE_GPU_GIB,
        section=section,
    )


def _judges(recipe: Recipe, policy: Shape) -> PlanRow:
    judge = recipe.judge
    if judge.row.memory_gib is not None:
        host = max(REGIMENS[voice].memory_gib or 0.0 for voice in judge.voices)
        row = PlanRow(actor="judge", count=judge.actors, cpus=judge.cpus_per_actor, memory_gib=host, section="judge")
        return row if judge.row.weights is None else _with_weights(row, judge.engine, _judge_shape(recipe, policy))
    return _engines("judge", judge.actors, judge.cpus_per_actor, judge.engine, _judge_shape(recipe, policy))


def _control_judge(recipe: Recipe) -> tuple[PlanRow, ...]:
    """The second judge, where it is the reference of control labels; it is up while a cycle's are made."""
    control = recipe.decide.control.judge
    if recipe.control_reference != "judge" or control is None:
        return ()
    judge = control.as_judge()
    host, cpus = judge.row.memory_gib or 0.0, judge.cpus_per_actor
    row = PlanRow(actor="control judge", count=1, cpus=cpus, memory_gib=host, section="decide.control")
    return (row,)


def _with_weights(row: PlanRow, device: EngineConfig, shape: Shape) -> PlanRow:
    """A model outside of an engine: it has weights, and no KV cache."""
    weights = footprint.weights_gib(shape, device.computing_dtype)
    host = row.memory_gib + weights
    if device.device == "cpu":
        return row.model_copy(update={"memory_gib": host})
    on_gpu = {"gpus": device.tensor_parallel, "gpu_memory_gib": weights + ENGINE_GPU_GIB}
    return row.model_copy(update={"memory_gib": host, **on_gpu})


def _workers(recipe: Recipe, name: ChallengerName, policy: Shape) -> PlanRow:
    train = recipe.train
    needed = footprint.training_gib(policy, train, name, _training_dtype(train))
    return _training_row(f"{name.upper()} worker", train, policy, needed, "train")


def _training_row(actor: str, workers: Workers, shape: Shape, needed_gib: float, section: str) -> PlanRow:
    """The workers of one Ray Train run, each of which needs `needed_gib` on its device."""
    on_gpu = workers.gpus_per_worker > 0
    # Weights pass through host memory when they are loaded and when the adapter is merged.
    host = footprint.weights_gib(shape, _training_dtype(workers)) if on_gpu else needed_gib
    return PlanRow(
        actor=actor,
        count=workers.workers_per_run,
        cpus=workers.cpus_per_worker,
        gpus=workers.gpus_per_worker,
        memory_gib=WORKER_GIB + host,
        gpu_memory_gib=needed_gib + WORKER_GPU_GIB if on_gpu else 0.0,
        section=section,
    )


def _training_dtype(workers: Workers) -> str:
    return workers.dtype if workers.gpus_per_worker > 0 else cpu_dtype(workers.dtype)


def _controller(name: str) -> PlanRow:
    return PlanRow(actor=f"{name} controller (Ray Train)", count=1, memory_gib=WORKER_GIB / 2)


def _ray(recipe: Recipe) -> PlanRow:
    memory = RAY_GIB + recipe.cluster.object_store_gib
    return PlanRow(actor="driver and Ray", count=1, memory_gib=memory, section="cluster")


def _publisher(recipe: Recipe, policy: Shape) -> tuple[PlanRow, ...]:
    publish = recipe.publish
    if not publish.enabled:
        return ()
    weights = footprint.weights_gib(policy, publish.engine.computing_dtype)
    on_gpu = publish.gpus_per_replica > 0
    cache = footprint.kv_gib(policy, publish.engine.longest, publish.engine.computing_dtype)
    each = (weights + cache) / publish.tensor_parallel_size / publish.gpu_memory_utilization + ENGINE_GPU_GIB
    return (
        PlanRow(
            actor="policy replica (Ray Serve)",
            count=publish.replicas,
            cpus=publish.cpus_per_replica,
            gpus=publish.gpus_per_replica,
            memory_gib=ENDPOINT_GIB + (0.0 if on_gpu else weights + publish.kv_cache_gib),
            gpu_memory_gib=each if on_gpu else 0.0,
            section="publish",
        ),
        *_guard(publish.guard),
    )


def _guard(guard: GuardConfig | None) -> tuple[PlanRow, ...]:
    if guard is None or not guard.has_engine:
        return ()
    row = _engines("guard", 1, guard.cpus, guard.engine, _shape("publish.guard", str(guard.model), None))
    return (row.model_copy(update={"section": "publish.guard"}),)
