"""Every actor of a recipe, with the CPUs, GPUs and memory that one of it takes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Literal, get_args

from actors.contract.records import ChallengerName, Record
from actors.contract.run_folder import SFT
from actors.engine.config import EngineConfig
from actors.engine.precision import cpu_dtype
from actors.errors import SalusError
from actors.judges.regimens import REGIMENS
from actors.serve.guard.config import GuardConfig
from actors.training.config import TrainConfig, Workers
from pipelines.cluster import footprint
from pipelines.cluster.footprint import Shape
from pipelines.config.recipe import Recipe

# What a run is made of, as far as it takes CPUs, GPUs or memory.
Part = Literal["coordinate", "generate", "judge", "control", "train", "shuffle", "publish"]
PARTS: tuple[Part, ...] = get_args(Part)

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
    # On each of its GPUs; of an engine, with its KV cache for one answer.
    gpu_memory_gib: float = 0.0
    # The share of each GPU's memory that an engine takes, whatever it needs.
    gpu_memory_utilization: float = 0.0
    # The answers that an engine may decode at once.
    sequences: int = 0
    # The KV cache of the longest of them on each GPU.
    sequence_gib: float = 0.0
    # Whether its actors meet in collectives, for which each needs a GPU of its own.
    collective: bool = False
    # Where the settings are that change this row.
    section: str = ""


def demand(
    recipe: Recipe, parts: Collection[Part] = PARTS, challengers: Collection[ChallengerName] | None = None
) -> tuple[PlanRow, ...]:
    """The actors of some parts of a run, in the order of a prompt's way.

    Args:
        recipe: whose they are.
        parts: those that are up at once; all, where a run holds everything from start to end.
        challengers: those that train at once; None: all.

    Raises:
        SalusError: the size of a model that one of them holds cannot be told.
    """
    names = tuple(name for name in recipe.train.challengers if challengers is None or name in challengers)
    rows: dict[Part, Callable[[], tuple[PlanRow, ...]]] = {
        "coordinate": lambda: (PlanRow(actor="coordinator", count=1),),
        "generate": lambda: (*_own_generators(recipe), *_attackers(recipe)),
        "judge": lambda: () if recipe.cluster.shared_judges else (_judges(recipe),),
        "control": lambda: _control_judge(recipe),
        "train": lambda: () if recipe.cluster.shared_trainers else _training(recipe, names),
        "shuffle": lambda: (_shuffle(recipe),),
        "publish": lambda: _publisher(recipe),
    }
    return (_ray(recipe), *(row for part, made in rows.items() if part in parts for row in made()))


def _training(recipe: Recipe, names: Collection[ChallengerName]) -> tuple[PlanRow, ...]:
    return (*(_controller(name.upper()) for name in names), *(_workers(recipe, name) for name in names))


def fine_tuning_demand(recipe: Recipe) -> tuple[PlanRow, ...]:
    """The actors of the fine-tuning before the cycles, when nothing else is up; none where there is none.

    Raises:
        SalusError: the size of the policy cannot be told.
    """
    if recipe.sft is None:
        return ()
    return (_ray(recipe), _controller(SFT.upper()), _trainers(recipe, SFT, recipe.sft.as_training(), "sft"))


def attacking(recipe: Recipe) -> Recipe:
    """The recipe with its red team's attacker in the place of the deployed policy and its generators."""
    team = recipe.red_team
    assert team is not None
    generate = recipe.generate.model_copy(
        update={"engine": team.engine, "actors": team.actors, "cpus_per_actor": team.cpus_per_actor}
    )
    return recipe.model_copy(update={"generate": generate, "model": team.attacker or recipe.model})


def _attackers(recipe: Recipe) -> tuple[PlanRow, ...]:
    """The red team's attackers, up while they rewrite a cycle's prompts."""
    if recipe.red_team is None:
        return ()
    return (_generators(attacking(recipe)).model_copy(update={"actor": "attacker", "section": "red_team"}),)


def engine_demand(recipe: Recipe) -> PlanRow:
    """One engine of the recipe's policy alone.

    Raises:
        SalusError: the size of the policy cannot be told.
    """
    return _generators(recipe).model_copy(update={"actor": "engine", "count": 1})


def judge_training_demand(recipe: Recipe) -> tuple[tuple[PlanRow, ...], tuple[PlanRow, ...]]:
    """The actors of `salus judge train`: those that train, and then, when they have ended, those that judge.

    Raises:
        SalusError: the size of the judge cannot be told.
    """
    train, engine = recipe.judge.train, recipe.judge.engine
    shape = _own_judge_shape(recipe)
    needed = footprint.judge_training_gib(shape, train, engine.longest, _training_dtype(train))
    loading = footprint.weights_gib(shape, _training_dtype(train))
    workers = _training_row("judge training worker", train, needed, loading, "judge.train")
    judges = _engines("judge", recipe.judge.actors, recipe.judge.cpus_per_actor, engine, shape)
    return (_ray(recipe), _controller("judge training"), workers), (_ray(recipe), judges)


def disk_gib(recipe: Recipe) -> float:
    """What a whole run writes to its folder, an estimate: merged weights, and what is beside them.

    A winner's are written; without LoRA those of every challenger.

    Raises:
        SalusError: the size of a model cannot be told.
    """
    policy, train = policy_shape(recipe), recipe.train
    # Merged weights are written as the deployed ones are stored, which on a CPU may be float32 whatever computes.
    weights = footprint.weights_gib(policy, train.dtype if train.on_gpu else "float32")
    saved = footprint.saved_gib(policy, train.lora, weights)
    # The winner's whole weights; without LoRA, or merged of whole weights, the losers' too.
    contestants = len(recipe.contestants)
    merged = 1 if train.lora is not None else contestants
    trained = recipe.cycles * merged * weights + (contestants * recipe.cycles + len(train.challengers)) * saved
    if recipe.merge is not None and train.lora is not None and recipe.merge.of == "weights":
        # What it is merged of, while it is.
        trained += recipe.cycles * weights + len(train.challengers) * weights
    if recipe.sft is not None:
        own = footprint.saved_gib(policy, recipe.sft.lora, weights)
        trained += weights + 2 * own
    # A row of text is in the rollouts, the judgments and the training rows; four bytes a token.
    answers = recipe.cycles * recipe.data.train_per_cycle * recipe.generate.sampling.k * recipe.preference.judged
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


def judge_shape(recipe: Recipe) -> Shape:
    """The shape of the model that judges: its own, or the policy's.

    Raises:
        SalusError: its size cannot be told.
    """
    return policy_shape(recipe) if recipe.judge.row.champion_judges else _own_judge_shape(recipe)


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
    section = {"generator": "generate", "guard": "publish.guard"}.get(actor, "judge")
    weights = footprint.weights_gib(shape, engine.computing_dtype)
    if engine.device == "cpu":
        memory = ENGINE_GIB + weights + engine.kv_cache_gib
        return PlanRow(actor=actor, count=count, cpus=cpus, memory_gib=memory, section=section)
    row = PlanRow(
        actor=actor,
        count=count,
        cpus=cpus,
        gpus=engine.tensor_parallel,
        memory_gib=2 * ENGINE_GIB * (1 + engine.tensor_parallel),
        section=section,
    )
    return row.model_copy(update=_on_gpus(engine, shape, f"{section}.engine.tensor_parallel"))


def _on_gpus(engine: EngineConfig, shape: Shape, setting: str) -> dict[str, Any]:
    """What an engine takes of each of its GPUs; `setting` says how many they are."""
    footprint.check_tensor_parallel(shape, engine.tensor_parallel, setting)
    weights = footprint.weights_gib(shape, engine.computing_dtype) / engine.tensor_parallel
    answer = footprint.kv_gib_each(shape, engine.longest, engine.computing_dtype, engine.tensor_parallel)
    return {
        "gpu_memory_gib": (weights + answer) / engine.gpu_memory_utilization + ENGINE_GPU_GIB,
        "gpu_memory_utilization": engine.gpu_memory_utilization,
        "sequences": engine.max_num_seqs,
        "sequence_gib": answer,
    }


def _generators(recipe: Recipe) -> PlanRow:
    generate = recipe.generate
    return _engines("generator", generate.actors, generate.cpus_per_actor, generate.engine, policy_shape(recipe))


def _own_generators(recipe: Recipe) -> tuple[PlanRow, ...]:
    return () if recipe.cluster.shared_generators else (_generators(recipe),)


def _judges(recipe: Recipe) -> PlanRow:
    judge = recipe.judge
    if judge.row.memory_gib is not None:
        host = max(REGIMENS[voice].memory_gib or 0.0 for voice in judge.voices)
        row = PlanRow(actor="judge", count=judge.actors, cpus=judge.cpus_per_actor, memory_gib=host, section="judge")
        return row if judge.row.weights is None else _with_weights(row, judge.engine, judge_shape(recipe))
    return _engines("judge", judge.actors, judge.cpus_per_actor, judge.engine, judge_shape(recipe))


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


def _workers(recipe: Recipe, name: ChallengerName) -> PlanRow:
    return _trainers(recipe, name, recipe.train.of(name), "train")


def _trainers(recipe: Recipe, name: ChallengerName, train: TrainConfig, section: str) -> PlanRow:
    policy, dtype = policy_shape(recipe), _training_dtype(train)
    needed = footprint.training_gib(policy, train, name, dtype)
    loading = footprint.loading_gib(policy, train, name, dtype)
    return _training_row(f"{name.upper()} worker", train, needed, loading, section)


def _training_row(actor: str, workers: Workers, needed_gib: float, loading_gib: float, section: str) -> PlanRow:
    """The workers of one Ray Train run, each of which needs `needed_gib` on its device, and `loading_gib` before it."""
    on_gpu = workers.on_gpu
    host = loading_gib if on_gpu else needed_gib
    return PlanRow(
        actor=actor,
        count=workers.workers_per_run,
        cpus=workers.cpus_per_worker,
        gpus=workers.gpus_per_worker,
        memory_gib=WORKER_GIB + host,
        gpu_memory_gib=needed_gib + WORKER_GPU_GIB if on_gpu else 0.0,
        collective=True,
        section=section,
    )


def _training_dtype(workers: Workers) -> str:
    return workers.dtype if workers.on_gpu else cpu_dtype(workers.dtype)


def _controller(name: str) -> PlanRow:
    return PlanRow(actor=f"{name} controller (Ray Train)", count=1, memory_gib=WORKER_GIB / 2)


def _ray(recipe: Recipe) -> PlanRow:
    memory = RAY_GIB + recipe.cluster.object_store_gib
    return PlanRow(actor="driver and Ray", count=1, memory_gib=memory, section="cluster")


def _shuffle(recipe: Recipe) -> PlanRow:
    count = len(recipe.train.row_kinds)
    return PlanRow(actor="Ray Data task", count=count, cpus=1.0, memory_gib=0.3, section="train.challengers")


def _publisher(recipe: Recipe) -> tuple[PlanRow, ...]:
    publish = recipe.publish
    if not publish.enabled:
        return ()
    policy = policy_shape(recipe)
    weights = footprint.weights_gib(policy, publish.engine.computing_dtype)
    on_gpu = publish.gpus_per_replica > 0
    row = PlanRow(
        actor="policy replica (Ray Serve)",
        count=publish.most_replicas,
        cpus=publish.cpus_per_replica,
        gpus=publish.gpus_per_replica,
        memory_gib=ENDPOINT_GIB + (0.0 if on_gpu else weights + publish.kv_cache_gib),
        section="publish",
    )
    taken = _on_gpus(publish.engine, policy, "publish.tensor_parallel_size") if on_gpu else {}
    return (row.model_copy(update=taken), *_guard(publish.guard))


def _guard(guard: GuardConfig | None) -> tuple[PlanRow, ...]:
    if guard is None or not guard.has_engine:
        return ()
    return (_engines("guard", 1, guard.cpus, guard.engine, _shape("publish.guard", str(guard.model), None)),)
