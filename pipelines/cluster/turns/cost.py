"""What a run on GPUs takes: hours, GPU-hours, the share of them at work, and money; as planned and as measured.

The plan's hours follow from the recipe and `cluster.assumed`; no GPU was used to find them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pydantic import Field

from actors.contract.records import ChallengerName, Record, RowKind
from actors.errors import SalusError
from actors.training.algorithms.table import ALGORITHMS
from pipelines.cluster.demand import judge_shape, policy_shape
from pipelines.cluster.footprint import SEQUENCES, Shape
from pipelines.cluster.times import StageTime, Work, WorkerKind
from pipelines.config.recipe import Recipe

HOUR_S = 3600.0
# Sampling reads all weights for each step, and so does its time grow with them.
USUAL_PARAMETERS = 8e9


class GpuUse(Record):
    """GPUs that a run holds, for how long, and how much of that they are at work."""

    gpus: float
    hours: float
    gpu_hours: float
    busy_gpu_hours: float
    # The latter in the former, between 0 and 1.
    busy_share: float
    # None: the recipe names no price (`cluster.gpu_hour_price`).
    money: float | None = None

    @classmethod
    def of(cls, gpus: float, wall_s: float, busy_gpu_s: float, price: float | None) -> GpuUse:
        """The use of `gpus` GPUs held for `wall_s` seconds, in which they worked `busy_gpu_s` GPU-seconds."""
        held = gpus * wall_s / HOUR_S
        busy = min(held, busy_gpu_s / HOUR_S)
        return cls(
            gpus=gpus,
            hours=round(wall_s / HOUR_S, 4),
            gpu_hours=round(held, 4),
            busy_gpu_hours=round(busy, 4),
            busy_share=round(busy / held, 4) if held else 0.0,
            money=None if price is None else round(held * price, 2),
        )

    def sentence(self) -> str:
        """As in `2.1 h on 8 GPU(s): 16.8 GPU-hours, busy 83%, at a price of 42.00`."""
        money = "" if self.money is None else f", at a price of {self.money:,.2f}"
        return (
            f"{self.hours:.2g} h on {self.gpus:g} GPU(s): {self.gpu_hours:.3g} GPU-hours, busy"
            f" {self.busy_share:.0%}{money}"
        )


class GpuShares(Record):
    """GPUs of one worker of each kind, and of the whole run; a trainer is the whole of a challenger's workers."""

    workers: dict[WorkerKind, float] = Field(default_factory=dict)
    # By challenger, where their numbers of workers differ.
    trainers: dict[str, float] = Field(default_factory=dict)
    held: float = 0.0

    def used(self, time: StageTime) -> float:
        """GPU-seconds of a stage in which workers used theirs."""
        return sum((work.end_s - work.start_s) * self._of(work) for work in time.work)

    def _of(self, work: Work) -> float:
        usual = self.workers.get(work.kind, 0.0)
        return self.trainers.get(work.worker, usual) if work.kind == "trainer" else usual


class EngineWork(Record):
    """Seconds that one engine of each pool would take alone, on the GPUs that it spans."""

    generate_s: float
    judge_s: float


def uses_gpus(recipe: Recipe) -> bool:
    """Whether any engine, trainer or replica of the run is on a GPU."""
    on_gpu = (generator_gpus(recipe), judge_gpus(recipe), recipe.train.gpus_per_worker, endpoint_gpus(recipe))
    return any(on_gpu)


def generator_gpus(recipe: Recipe) -> int:
    """GPUs that one generator spans; 0 on a CPU."""
    engine = recipe.generate.engine
    return engine.tensor_parallel if engine.device == "cuda" else 0


def judge_gpus(recipe: Recipe) -> int:
    """GPUs that one judge spans; 0 on a CPU, and where it has no model."""
    engine = recipe.judge.engine
    return engine.tensor_parallel if engine.device == "cuda" and recipe.judge.row.weights is not None else 0


def endpoint_gpus(recipe: Recipe) -> float:
    """GPUs of all replicas together."""
    publish = recipe.publish
    return publish.replicas * publish.gpus_per_replica if publish.enabled else 0.0


def rollout_work(recipe: Recipe) -> EngineWork:
    """A cycle's answers to train prompts, sampled and judged."""
    return _engine_work(recipe, sampled_prompts(recipe) * recipe.generate.sampling.k)


def red_team_work(recipe: Recipe) -> EngineWork:
    """A cycle's attacks: rewrites, and the champion's judged answers to them; an attacker is taken to be as fast."""
    team = recipe.red_team
    attempts = team.prompts * team.attempts if team is not None else 0
    answered, rewritten = _engine_work(recipe, attempts), _engine_work(recipe, attempts)
    return EngineWork(generate_s=answered.generate_s + rewritten.generate_s, judge_s=answered.judge_s)


def sampled_prompts(recipe: Recipe) -> int:
    """Train prompts that a cycle answers, where the split has as many whole shards; 0 where none is learnt from."""
    return recipe.data.shards_per_cycle * recipe.data.prompts_per_shard if recipe.preference.judged else 0


def most_rows(recipe: Recipe) -> dict[RowKind, int]:
    """The most rows of each kind that a cycle's own judgments and pairs make."""
    prompts, k, preference = sampled_prompts(recipe), recipe.generate.sampling.k, recipe.preference
    outside = preference.egida_pairs
    pairs, unpaired = (outside.per_cycle, 2 * outside.per_cycle * outside.unpaired) if outside is not None else (0, 0)
    return {
        "unpaired": prompts * k + unpaired,
        "pairs": prompts * min(preference.pairs_per_prompt, k * k // 4 or 1) + pairs,
    }


def evaluation_work(recipe: Recipe, policies: int) -> EngineWork:
    """Greedy, judged answers of some policies to the validation prompts."""
    prompts = recipe.data.validation or recipe.cluster.assumed.validation_prompts
    return _engine_work(recipe, policies * prompts)


def _engine_work(recipe: Recipe, answers: float) -> EngineWork:
    assumed = recipe.cluster.assumed
    rate = assumed.sampled_tokens_s * USUAL_PARAMETERS / _parameters(lambda: policy_shape(recipe))
    sampled = answers * assumed.answer_tokens / (rate * (generator_gpus(recipe) or 1))
    judged = 0.0
    if recipe.judge.row.weights is not None:
        read = answers * (assumed.prompt_tokens + assumed.answer_tokens + assumed.judge_tokens)
        # Two operations a parameter and token that is read.
        operations = 2 * _parameters(lambda: judge_shape(recipe)) * read
        judged = operations / (assumed.tflops * 1e12 * (judge_gpus(recipe) or 1))
    return EngineWork(generate_s=sampled, judge_s=judged)


def _parameters(shape: Callable[[], Shape]) -> float:
    try:
        return shape().parameters
    except SalusError:
        # A run that is gone on with brings its models along: they are found once its folder is open. GPUs are divided
        # before that, and their division rests on few sizes. The plan refuses a model whose size cannot be told.
        return USUAL_PARAMETERS


def training_s(recipe: Recipe, name: ChallengerName, cycle: int) -> float:
    """Seconds that one GPU takes to train a challenger in a cycle (1, 2, ...)."""
    assumed, preference = recipe.cluster.assumed, recipe.preference
    settings, kind = recipe.train.challengers[name], ALGORITHMS[recipe.train.algorithms[name]].rows
    outside = preference.egida_pairs
    drawn = 0 if outside is None else outside.per_cycle if kind == "pairs" else 2 * outside.per_cycle * outside.unpaired
    share = assumed.pairs_share if kind == "pairs" else 1.0
    own = share * (most_rows(recipe)[kind] - drawn) * len(preference.cycles_of_rows(cycle))
    rows = (own + drawn) * settings.epochs
    tokens = min(assumed.prompt_tokens + assumed.answer_tokens, recipe.train.max_length_tokens)
    operations = 2 * _parameters(lambda: policy_shape(recipe)) * tokens * passes(recipe, name)
    return rows * operations / (assumed.tflops * 1e12)


def passes(recipe: Recipe, name: ChallengerName) -> int:
    """What one row costs, in forward passes of one sequence; with LoRA and checkpointing 6 for KTO, 8 for a DPO pair.

    Forward, backward, the recomputed forward of checkpointing, and the reference's. Backward is as much again for the
    inputs' gradients, and for the weights' where every weight is trained. KTO's KL term is another forward of both.
    """
    train, row = recipe.train, ALGORITHMS[recipe.train.algorithms[name]]
    backward = 1 if train.lora is not None else 2
    each = 1 + backward + int(train.gradient_checkpointing) + int(row.reference)
    return SEQUENCES[row.rows] * each + row.more_passes(train.challengers[name])


def run_training_s(recipe: Recipe) -> dict[ChallengerName, float]:
    """Seconds that one GPU takes to train each challenger over the whole run."""
    cycles = range(1, recipe.cycles + 1)
    return {name: sum(training_s(recipe, name, cycle) for cycle in cycles) for name in recipe.train.challengers}


def measured(recipe: Recipe, gpus: float, wall_s: float, stages: Iterable[StageTime]) -> GpuUse | None:
    """What a run took by its own clocks; None where nothing of it is on a GPU.

    Args:
        recipe: the run's, with the workers that it had.
        gpus: that it held.
        wall_s: from start to end, over all sessions.
        stages: when its engines and trainers worked.
    """
    if not uses_gpus(recipe) or not gpus:
        return None
    return GpuUse.of(gpus, wall_s, busy_gpu_s(recipe, stages), recipe.cluster.gpu_hour_price)


def busy_gpu_s(recipe: Recipe, stages: Iterable[StageTime]) -> float:
    """Seconds of one GPU in which an engine or a trainer was at work on it."""
    shares = worker_gpus(recipe)
    return sum(shares.used(stage) for stage in stages)


def worker_gpus(recipe: Recipe) -> GpuShares:
    """What the workers of a recipe's run use; nothing is said of what it holds."""
    train = recipe.train
    return GpuShares(
        workers={
            "generator": generator_gpus(recipe),
            "judge": judge_gpus(recipe),
            "trainer": train.workers_per_run * train.gpus_per_worker,
        },
        trainers={str(name): train.of(name).workers_per_run * train.gpus_per_worker for name in train.challengers},
    )
