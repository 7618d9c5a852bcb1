"""Inference schemes measured in a run: base and last champion on the test split, asked in each of the recipe's ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from actors.contract.records import LABELS, LEVELS, PROMPT_SCHEMA, ROLLOUT_SCHEMA, PolicyRef
from actors.contract.run_folder import RunFolder
from actors.contract.seeds import derive_seed
from actors.engine.port import Sampling
from actors.files.records import find_record
from actors.files.shards import read_folder, read_shard, strings, write_table, write_text
from actors.generator import RolloutTask
from actors.judges.judge import JudgmentTask
from actors.serve.replica.scheme.asked import SCHEME_FILE, Example, ServedScheme
from actors.serve.replica.scheme.nearest import all_similarities
from pipelines.alignment import promise
from pipelines.alignment.rows.egida_pairs import draw_pairs
from pipelines.alignment.run import Run
from pipelines.alignment.streamed import run_stream
from pipelines.cluster.stream import ShardTask, stream
from pipelines.cluster.times import Work
from pipelines.config.model import SchemeConfig
from pipelines.config.recipe import Recipe
from pipelines.data.shards import write_prompt_shards
from pipelines.data.split import drawn
from pipelines.measures.metrics import measure
from pipelines.measures.schemes import (
    SchemeFigures,
    as_asked,
    as_they_were,
    good_examples,
    voted,
    written_tokens,
)
from pipelines.runs.prompts.lengths import asked_lengths

# Examples are looked for among so many train prompts: every request is compared with each.
_MOST_EXAMPLES = 2000


def check_schemes(recipe: Recipe, folder: RunFolder, policy: PolicyRef) -> None:
    """Refuse, before anything costly, schemes that leave a test prompt no room for an answer.

    Raises:
        SalusError: names the scheme, how many prompts there are, and both numbers.
    """
    if recipe.schemes:
        prompts = read_folder(folder.prompts("test")).select(PROMPT_SCHEMA.names)
        room = recipe.generate.engine.length(Path(policy.path), "generate.engine")
        promise.refuse(promise.schemes_too_long(recipe, prompts, policy, room), f"Recipe {recipe.name}")


def measure_schemes(run: Run, champion: PolicyRef) -> list[Work]:
    """Write the figures of each scheme for base and champion; returns when each engine worked.

    A scheme without an example to show is left out (`without_examples`).

    Raises:
        SalusError: too many answers got no usable label.
    """
    policies = {policy.version: policy for policy in (run.materials.policy, champion)}
    left_out = without_examples(run.recipe, run.folder)
    work: list[Work] = []
    for name, scheme in run.recipe.schemes.items():
        for policy in policies.values() if name not in left_out else ():
            done = run.folder.scheme(name, policy.version) / "figures.json"
            if find_record(SchemeFigures, done, "a scheme's figures", "delete its folder") is None:
                work += _measured(run, name, scheme, policy, champion)
    return work


def without_examples(recipe: Recipe, folder: RunFolder) -> tuple[str, ...]:
    """The schemes that ask for examples, where the run has none to show."""
    asking = tuple(name for name, scheme in recipe.schemes.items() if scheme.few_shot)
    return asking if asking and not scheme_examples(recipe, folder) else ()


def read_schemes(run: Run, champion: PolicyRef) -> tuple[SchemeFigures, ...]:
    """The figures on disk, by scheme; first those of the policies as they are deployed. Empty where there are none."""
    if not run.recipe.schemes:
        return ()
    found = [_plain(run, policy, champion) for policy in (run.materials.policy, champion)]
    for name in run.recipe.schemes:
        for policy in (run.materials.policy, champion):
            path = run.folder.scheme(name, policy.version) / "figures.json"
            if (figures := find_record(SchemeFigures, path, "a scheme's figures")) is not None:
                found.append(figures)
    return tuple(dict.fromkeys(found))


def _plain(run: Run, policy: PolicyRef, champion: PolicyRef) -> SchemeFigures:
    judged = read_folder(run.folder.evaluation_judgments("test", policy.version, run.judge_name(champion)))
    lengths = asked_lengths(judged, policy)
    return _figures(run, None, policy, judged, float(np.mean(lengths)), written_tokens(judged))


def _measured(run: Run, name: str, scheme: SchemeConfig, policy: PolicyRef, champion: PolicyRef) -> list[Work]:
    folder, engine = run.folder.scheme(name, policy.version), run.recipe.generate.engine
    prompts = read_folder(run.folder.prompts("test")).select(PROMPT_SCHEMA.names)
    greedy = run.recipe.generate.greedy()
    asked = _asked(run, scheme, policy, prompts)
    room = engine.length(Path(policy.path), "generate.engine") - greedy.max_tokens
    lengths = np.array(asked_lengths(asked, policy))
    if (lengths > room).any():
        # A request without room for examples is asked without any.
        bare = as_asked(prompts, scheme.model_copy(update={"few_shot": 0}))
        asked = pa.concat_tables([(bare if long else asked).slice(row, 1) for row, long in enumerate(lengths > room)])
        lengths = np.array(asked_lengths(asked, policy))
    write_prompt_shards(iter(asked.to_batches()), folder / "asked", run.recipe.data.prompts_per_shard)
    sampling = greedy if scheme.samples == 1 else _sampling(scheme, greedy.max_tokens)
    tasks = [
        RolloutTask(
            policy=policy,
            prompts=str(shard),
            output=str(folder / "drafts" / shard.name),
            sampling=sampling,
            seed=derive_seed(run.recipe.seed, "scheme", name),
        )
        for shard in sorted((folder / "asked").glob("*.parquet"))
    ]
    work = _generated(run, tasks)
    judging = list(_to_judge(run, tasks, folder, prompts, champion))
    work += run_stream(run, f"scheme {name}, {policy.version}", judging).work
    judged = read_folder(folder / "judgments")
    found = _figures(run, name, policy, voted(judged), float(lengths.mean()), written_tokens(judged))
    if scheme.samples == 1:
        write_text(_served(run, name, scheme).model_dump_json(), folder / SCHEME_FILE)
    write_text(found.model_dump_json(indent=2), folder / "figures.json")
    return work


def _served(run: Run, name: str, scheme: SchemeConfig) -> ServedScheme:
    """The scheme as an endpoint applies it, with the examples that it was measured with."""
    return ServedScheme(
        name=name,
        system_prompt=scheme.system_prompt,
        suffix=scheme.suffix,
        few_shot=scheme.few_shot,
        examples=tuple(scheme_examples(run.recipe, run.folder)) if scheme.few_shot else (),
        answer_tokens=run.recipe.generate.greedy().max_tokens,
    )


def _sampling(scheme: SchemeConfig, max_tokens: int) -> Sampling:
    return Sampling(k=scheme.samples, temperature=scheme.temperature, max_tokens=max_tokens)


def _asked(run: Run, scheme: SchemeConfig, policy: PolicyRef, prompts: pa.Table) -> pa.Table:
    if not scheme.few_shot:
        return as_asked(prompts, scheme)
    examples = scheme_examples(run.recipe, run.folder)
    requests = strings(prompts, "prompt")
    near = all_similarities(requests, [request for request, _ in examples], Path(policy.path))
    return as_asked(prompts, scheme, examples, near)


def scheme_examples(recipe: Recipe, folder: RunFolder) -> list[Example]:
    """Good answers to train prompts of the first cycle; where a run answers none, the better ones of its pairs."""
    if not recipe.preference.judged:
        found: dict[str, Example] = {}
        for pair in draw_pairs(folder.pairs, _MOST_EXAMPLES, recipe.seed):
            found.setdefault(pair["prompt"], (pair["prompt"], pair["chosen"]))
        return list(found.values())
    best = {level: [label for label, mark in zip(LABELS, marks, strict=True) if mark == marks.max()]
            for level, marks in zip(LEVELS, recipe.scores.marks(), strict=True)}  # fmt: skip
    judgments = folder.judgments(1)
    if not any(judgments.glob("*.parquet")):
        return []
    return good_examples(drawn(read_folder(judgments), _MOST_EXAMPLES, recipe.seed), best)


def _generated(run: Run, tasks: Sequence[RolloutTask]) -> list[Work]:
    waiting = [task for task in tasks if not Path(task.output).is_file()]
    unjudged = [
        ShardTask(rollout=task, judgment=JudgmentTask(rollouts=task.output, output=f"{task.output}.judged"))
        for task in waiting
    ]
    work: list[Work] = []
    for generators, _ in run.pools.passes() if waiting else ():
        if generators:
            work += stream(unjudged, generators, ()).work
            run.check_lease()
    return work


def _to_judge(
    run: Run, tasks: Sequence[RolloutTask], folder: Path, prompts: pa.Table, champion: PolicyRef
) -> Iterator[ShardTask]:
    """The answers beside the requests themselves, in files that a generator finds already there."""
    for task in tasks:
        drafts = Path(task.output)
        answers = folder / "rollouts" / drafts.name
        if not answers.is_file():
            write_table(as_they_were(read_shard(drafts, ROLLOUT_SCHEMA), prompts), answers)
        judgment = JudgmentTask(
            rollouts=str(answers),
            output=str(folder / "judgments" / drafts.name),
            weights=run.judge_weights(champion),
            system=run.recipe.shown_system_prompt,
        )
        yield ShardTask(rollout=task.model_copy(update={"output": str(answers)}), judgment=judgment)


def _figures(
    run: Run, scheme: str | None, policy: PolicyRef, judged: pa.Table, read: float, written: float
) -> SchemeFigures:
    metrics = measure(judged, run.recipe.scores, derive_seed(run.recipe.seed, "report"))
    return SchemeFigures.of(scheme, policy.version, metrics, read, written)
