"""Capability measured by given answers: in a run by its warm generators, or of one model folder without any run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pyarrow as pa

from actors.contract.records import PolicyRef
from actors.contract.run_folder import RunFolder
from actors.contract.seeds import derive_seed
from actors.contract.span import Span
from actors.engine.likelihood import LikelihoodTask, read_items
from actors.engine.port import Engine
from actors.engine.tokenizer import load_tokenizer
from actors.errors import SalusError
from actors.files.shards import read_folder, read_shard
from actors.generator import Generator
from pipelines.alignment.measurements.toxicity import check_toxicity, measure_toxicity, read_continuations
from pipelines.alignment.run import Run
from pipelines.cluster.progress import Reporter
from pipelines.cluster.stream import spread
from pipelines.cluster.times import Work, engine_work
from pipelines.config.capability import CapabilityConfig
from pipelines.config.recipe import Recipe
from pipelines.decision.capability import figures_path, write_figures
from pipelines.measures.capability.bias import Bias, bias_figures
from pipelines.measures.capability.figures import Capability, choice_figures, helpful_share, reference_figures
from pipelines.measures.capability.items import BIAS_SCHEMA, KINDS, Kind, bias_questions, item_shards, write_items
from pipelines.measures.capability.questions import HELD_OUT, HeldOut, question_set
from pipelines.measures.capability.toxicity import toxicity_figures
from pipelines.runs.prompts.sets import medsafety_config


def prepare_capability(recipe: Recipe, folder: RunFolder, policy: PolicyRef) -> None:
    """Write the questions of both splits before anything costly; what is written is left.

    Raises:
        SalusError: the questions are missing or bad, or one does not fit the policy's engine.
    """
    config = recipe.capability
    if config is None:
        return
    write_questions(recipe, config, folder, HELD_OUT)
    tokenizer = load_tokenizer(Path(policy.path))
    length = recipe.generate.engine.length(Path(policy.path), "generate.engine")
    for split in HELD_OUT:
        for kind in KINDS:
            for shard in item_shards(folder.capability_items(split), kind):
                read_items(shard, tokenizer, config.chat, length)
        check_toxicity(recipe, folder, split, policy)


def write_questions(recipe: Recipe, config: CapabilityConfig, folder: RunFolder, splits: Sequence[HeldOut]) -> None:
    """The questions of these splits as shards.

    Raises:
        SalusError: as `question_set` does.
    """
    for split in splits:
        questions = question_set(config, medsafety_config(recipe), split, derive_seed(recipe.seed, "capability"))
        write_items(questions, config, folder.capability_items(split))


def measure_capability(
    run: Run, split: HeldOut, policies: Sequence[PolicyRef], champion: PolicyRef, broken: Collection[str] = ()
) -> list[Work]:
    """File the figures of every policy that has none yet; returns when the engines worked.

    Its greedy answers to the split's prompts must be judged by then. Under judge SELF the share of harmless prompts
    accepted is by the champion of the cycle in which a policy was first measured. `broken` names the versions that
    cannot win whatever they continue, so that their continuations may lack labels.
    """
    config = run.recipe.capability
    if config is None:
        return []
    waiting = [p for p in policies if not figures_path(run.folder, split, p.version).is_file()]
    tasks = [task for policy in waiting for task in likelihood_tasks(config, run.folder, split, policy, champion)]
    work = engine_work("generator", _scored(run, split, tasks)) if tasks else []
    work += measure_toxicity(run, split, waiting, champion, broken)
    judge = run.judge_name(champion)
    for policy in waiting:
        judged = read_folder(
            run.folder.evaluation_judgments(split, policy.version, judge), ("level", "label", "base_prompt")
        )
        seed = derive_seed(run.recipe.seed, "capability figures")
        found = figures_of(config, run.folder, split, policy, judged, seed)
        continued = read_continuations(run, split, policy)
        if continued is not None:
            found = found.model_copy(update={"toxicity": toxicity_figures(continued, seed)})
        write_figures(found, run.folder, split)
    return work


def likelihood_tasks(
    config: CapabilityConfig, folder: RunFolder, split: HeldOut, policy: PolicyRef, champion: PolicyRef | None = None
) -> list[LikelihoodTask]:
    """A task for each shard of the split's questions; `champion`: what a challenger was trained on."""
    return [
        LikelihoodTask(
            policy=policy,
            base=champion,
            items=str(shard),
            output=str(_scores(folder, split, policy, kind) / shard.name),
            chat=config.chat,
        )
        for kind in KINDS
        for shard in item_shards(folder.capability_items(split), kind)
    ]


def figures_of(
    config: CapabilityConfig,
    folder: RunFolder,
    split: HeldOut,
    policy: PolicyRef,
    judged: pa.Table | None,
    seed: int,
) -> Capability:
    """One policy's figures from its scores on disk and its judged answers, if it has any."""
    scores = {
        kind: read_folder(_scores(folder, split, policy, kind))
        for kind in KINDS
        if item_shards(folder.capability_items(split), kind)
    }
    return Capability(
        policy=policy.version,
        choices=choice_figures(scores["choices"], config.normalised_by, seed) if "choices" in scores else None,
        perplexity=reference_figures(scores["references"], seed) if "references" in scores else None,
        helpful=helpful_share(judged, seed) if judged is not None else None,
        bias=_bias(scores["bias"], config, folder, split, seed) if "bias" in scores else None,
    )


def _bias(scores: pa.Table, config: CapabilityConfig, folder: RunFolder, split: HeldOut, seed: int) -> Bias:
    known = read_shard(bias_questions(folder.capability_items(split)), BIAS_SCHEMA)
    return bias_figures(scores, known, config.normalised_by, seed)


def check_asked(recipe: Recipe) -> CapabilityConfig:
    """The recipe's section; raises `SalusError` where it asks for no given answers."""
    config = recipe.capability
    if config is None or (
        config.source == "files" and config.choices is None and config.references is None and config.bias is None
    ):
        raise SalusError(
            f"Recipe {recipe.name} names no questions to measure capability by; add --set capability.choices=FILE or"
            " --set capability.references=FILE, or --set capability.bias.path=FILE, or give --tasks of the evaluation"
            " harness."
        )
    return config


def measure_local(
    recipe: Recipe, policy: PolicyRef, start_engine: Callable[[], Engine], reporter: Reporter
) -> Capability:
    """The figures a run's final report has, but for benign helpfulness and continuations, which take a judge.

    Args:
        start_engine: called once the questions are known to be good.

    Raises:
        SalusError: the recipe asks for no given answers, or they are missing, bad or too long for the engine.
    """
    config = check_asked(recipe)
    # Scores are kept nowhere: another model under the same name would find them done.
    with tempfile.TemporaryDirectory(prefix="salus-capability-") as place:
        folder = RunFolder(Path(place))
        write_questions(recipe, config, folder, ("test",))
        tasks = likelihood_tasks(config, folder, "test", policy)
        generator = Generator(start_engine())
        bar = reporter.bar("scoring given answers", len(tasks), "shards")
        try:
            for task in tasks:
                generator.log_likelihoods(task)
                bar.advance(1)
        finally:
            bar.close()
        seed = derive_seed(recipe.seed, "capability figures")
        return figures_of(config, folder, "test", policy, None, seed)


def _scored(run: Run, split: HeldOut, tasks: Sequence[LikelihoodTask]) -> list[Span]:
    bar = run.reporter.bar(f"{split}: scoring given answers", len(tasks), "shards")
    try:
        return spread(
            run.pools.generators, lambda actor, task: actor.log_likelihoods.remote(task), tasks, lambda: bar.advance(1)
        )
    finally:
        bar.close()


def _scores(folder: RunFolder, split: HeldOut, policy: PolicyRef, kind: Kind) -> Path:
    return folder.evaluation_capability(split, policy.version) / kind
