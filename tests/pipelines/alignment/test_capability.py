"""Capability measured with a real tiny model: from questions to figures on disk, once, and what the decision reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from actors.contract.records import LABELS, PolicyRef
from actors.contract.run_folder import RunFolder
from actors.engine.likelihood import SCORE_SCHEMA
from actors.errors import SalusError
from actors.files.shards import write_table
from actors.generator import Generator
from actors.judges.judge import Judge, Scores
from actors.judges.rules import RULES_JUDGE
from pipelines.alignment.capability import (
    figures_of,
    likelihood_tasks,
    measure_capability,
    measure_local,
    prepare_capability,
    write_questions,
)
from pipelines.alignment.measurements.toxicity import check_toxicity, toxicity_tasks
from pipelines.alignment.run import Run
from pipelines.cluster.pools import Pools
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.config.scores import ScoreTable
from pipelines.decision.capability import figures_path, read_evidence, read_figures, write_figures
from pipelines.decision.of_run import DecisionOfRun
from pipelines.measures.capability.figures import Capability, helpful_share
from pipelines.measures.capability.questions import HELD_OUT
from pipelines.runs.materials import Materials
from tests.pipelines.judged import judged
from tests.pipelines.measures.capability.asked import QUESTIONS, asking, social_settings
from tests.quiet_reporter import QuietReporter
from tests.tiny_model import make_tiny_model
from tests.transformers_engine import TransformersEngine


class TinyGenerator(Generator):
    """A generator whose engine is built in its own process, as the real one's is."""

    def __init__(self, policy: PolicyRef) -> None:
        super().__init__(TransformersEngine(policy))


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> tuple[PolicyRef, PolicyRef]:
    root = tmp_path_factory.mktemp("policies")
    base, other = (
        PolicyRef(version=version, path=str(make_tiny_model(root / version, seed)))
        for seed, version in enumerate(("c0-base", "c1-kto"))
    )
    return base, other


def figures(recipe: Recipe, folder: RunFolder, policy: PolicyRef, judgments: pa.Table | None = None) -> Capability:
    """As a run makes them, with the generator in this process."""
    assert recipe.capability is not None
    generator = Generator(TransformersEngine(policy))
    for task in likelihood_tasks(recipe.capability, folder, "validation", policy):
        generator.log_likelihoods(task)
    return figures_of(recipe.capability, folder, "validation", policy, judgments, 0)


def test_from_questions_to_figures(tmp_path: Path, policies: tuple[PolicyRef, PolicyRef]) -> None:
    recipe, folder = asking(tmp_path / "files"), RunFolder(tmp_path / "run")
    prepare_capability(recipe, folder, policies[0])
    labels = ["Accept", "Refuse"] * 5
    found = [figures(recipe, folder, policy, judged([0] * 10, labels)) for policy in policies]
    for policy, of in zip(policies, found, strict=True):
        assert of.policy == policy.version
        assert of.choices is not None and of.choices.chance == pytest.approx(1 / 3)
        # An untrained model finds every token about as likely as any other.
        assert of.perplexity is not None and 200 < of.perplexity.per_token.value < 800
        assert of.helpful is not None and of.helpful.value == 0.5
        scores = folder.evaluation_capability("validation", policy.version) / "choices"
        assert all(pq.read_schema(shard).equals(SCORE_SCHEMA) for shard in scores.glob("*.parquet"))
    first, second = found[0].perplexity, found[1].perplexity
    assert first is not None and second is not None and first.per_token.value != second.per_token.value


def test_the_splits_share_no_question(tmp_path: Path, policies: tuple[PolicyRef, PolicyRef]) -> None:
    folder = RunFolder(tmp_path / "run")
    prepare_capability(asking(tmp_path / "files"), folder, policies[0])
    prompts = [
        {str(p) for shard in folder.capability_items(split).rglob("*.parquet") for p in pq.read_table(shard)["prompt"]}
        for split in HELD_OUT
    ]
    assert not prompts[0] & prompts[1]
    assert sum(map(len, prompts)) == 2 * QUESTIONS


def test_a_question_that_cannot_fit_stops_the_run_before_it_begins(
    tmp_path: Path, policies: tuple[PolicyRef, PolicyRef]
) -> None:
    short = asking(
        tmp_path / "files",
        "generate.engine.max_model_len=16",
        "generate.sampling.max_tokens=4",
        "generate.evaluation_max_tokens=4",
    )
    with pytest.raises(SalusError, match=r"tokens with its option .* but only 15 fit; raise generate.engine"):
        prepare_capability(short, RunFolder(tmp_path / "run"), policies[0])


def test_bias_and_beginnings_are_of_the_test_split_alone_without_a_limit(
    tmp_path: Path, policies: tuple[PolicyRef, PolicyRef]
) -> None:
    social = social_settings(tmp_path / "files")
    limits = ["capability.max_bias_rise=0.1", "capability.max_toxicity_rise=0.1"]
    for more, splits in (([], {"test"}), (limits, {"validation", "test"})):
        recipe, folder = asking(tmp_path / "files", *social, *more), RunFolder(tmp_path / f"run{len(more)}")
        prepare_capability(recipe, folder, policies[0])
        for kind in ("bias", "toxicity"):
            found = {split for split in HELD_OUT if (folder.capability_items(split) / kind).is_dir()}
            assert found == splits


def test_bias_is_scored_as_multiple_choice(tmp_path: Path, policies: tuple[PolicyRef, PolicyRef]) -> None:
    recipe = asking(tmp_path / "files", *social_settings(tmp_path / "files"))
    found = measure_local(recipe, policies[1], lambda: TransformersEngine(policies[1]), QuietReporter())
    assert found.bias is not None and found.accuracy is not None and found.toxicity is None
    sizes = {condition: of.n for condition, of in found.bias.by_condition.items()}
    assert sum(sizes.values()) and set(found.bias.by_category) == {"Gender"}
    alone = load_recipe("demo", social_settings(tmp_path / "files"))
    only = measure_local(alone, policies[1], lambda: TransformersEngine(policies[1]), QuietReporter())
    # Its own questions are the same, whatever else is asked.
    assert only.bias == found.bias and only.choices is None


def test_a_beginning_that_leaves_no_room_is_named_before_the_run(
    tmp_path: Path, policies: tuple[PolicyRef, PolicyRef]
) -> None:
    social = social_settings(tmp_path / "files")
    asked = ["generate.engine.max_model_len=60", "generate.sampling.max_tokens=4", "generate.evaluation_max_tokens=4"]
    long = load_recipe("demo", [*social, *asked, "capability.toxicity.max_tokens=58"])
    with pytest.raises(SalusError, match=r"of .*beginnings.jsonl have up to \d+ tokens, and 2 fit"):
        check_toxicity_of(long, tmp_path / "run", policies[0])


def check_toxicity_of(recipe: Recipe, root: Path, policy: PolicyRef) -> None:
    """The check alone: questions of bias do not fit that engine either."""
    assert recipe.capability is not None
    write_questions(recipe, recipe.capability, RunFolder(root), ["test"])
    check_toxicity(recipe, RunFolder(root), "test", policy)


def test_a_recipe_that_measures_none_leaves_no_trace(tmp_path: Path, policies: tuple[PolicyRef, PolicyRef]) -> None:
    prepare_capability(load_recipe("demo"), RunFolder(tmp_path / "run"), policies[0])
    assert not (tmp_path / "run").exists()


def test_one_engine_without_a_run_gives_the_same_figures(tmp_path: Path, policies: tuple[PolicyRef, PolicyRef]) -> None:
    recipe = asking(tmp_path / "files")
    engine = TransformersEngine(policies[1])
    first, again = (measure_local(recipe, policies[1], lambda: engine, QuietReporter()) for _ in range(2))
    assert first == again and first.policy == "c1-kto" and first.helpful is None
    assert first.accuracy is not None and first.perplexity is not None


def test_a_recipe_without_questions_is_told_how_to_name_some(policies: tuple[PolicyRef, PolicyRef]) -> None:
    for recipe in (load_recipe("demo"), load_recipe("demo", ["capability={}"])):
        with pytest.raises(SalusError, match="names no questions to measure capability by; add --set"):
            measure_local(recipe, policies[0], lambda: TransformersEngine(policies[0]), QuietReporter())


def test_the_decision_of_a_run_reads_the_figures_of_those_it_compares(tmp_path: Path) -> None:
    recipe, folder = load_recipe("demo", ["capability={}", "decide.gate.min_n=1"]), RunFolder(tmp_path)
    rule = DecisionOfRun(
        table=ScoreTable(),
        config=recipe.decide,
        seed=0,
        capability=recipe.capability,
        root=str(tmp_path),
        base="c0-base",
    )
    levels = [0, 3] * 30
    champion = judged(levels, ["Accept"] * 60, policy="c0-base")
    # It hedges at every second harmless prompt as well.
    careful = judged(levels, ["Accept", "Refuse", "Caution", "Refuse"] * 15, policy="c1-kto")
    with pytest.raises(SalusError, match="Policy c0-base has no capability figures at"):
        rule(1, champion, {"kto": careful}, {})
    for version, table in (("c0-base", champion), ("c1-kto", careful)):
        write_figures(Capability(policy=version, helpful=helpful_share(table, 0)), folder, "validation")
    decision = rule(1, champion, {"kto": careful}, {})
    assert (decision.chosen, decision.publish) == ("kto", False)
    assert "Share of harmless prompts accepted 0.5" in decision.publish_sentence
    assert decision.capability is not None and decision.capability.base.policy == "c0-base"


def test_damaged_figures_are_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    path = figures_path(folder, "test", "c0-base")
    path.parent.mkdir(parents=True)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(SalusError, match=r"figures.json is not a record of capability figures .*; delete it"):
        read_figures(folder, "test", "c0-base")


class EveryOther:
    """A scorer that accepts every second answer."""

    name, prompt_version = "ext", "test"

    def load(self, policy: PolicyRef) -> None:
        raise AssertionError("a judge with weights of its own keeps them")

    def score(self, requests: list[str], answers: list[str]) -> Scores:
        p = np.eye(3)[[LABELS.index(("Accept", "Refuse")[i % 2]) for i in range(len(answers))]]
        return p, np.ones(len(answers))


def test_continuations_are_sampled_judged_and_in_the_policys_figures(
    tmp_path: Path, policies: tuple[PolicyRef, PolicyRef]
) -> None:
    toxicity = [each for each in social_settings(tmp_path / "files") if "toxicity" in each]
    recipe, folder = load_recipe("demo", toxicity), RunFolder(tmp_path / "run")
    prepare_capability(recipe, folder, policies[0])
    judge = PolicyRef(version="ext", path="unused")
    run = Run(recipe, folder, Materials(policy=policies[0], judge=judge), Pools((), ()), None, QuietReporter())
    generator = Generator(TransformersEngine(policies[1]))
    for task in toxicity_tasks(run, "test", policies[1], policies[1]):
        rollouts, _ = generator.generate(task.rollout)
        Judge(EveryOther(), min_coverage=0.5).label(rollouts, task.judgment)
    assert toxicity_tasks(run, "validation", policies[1], policies[1]) == []
    table = judged([0, 3] * 10, ["Accept", "Refuse"] * 10, policy=policies[1].version)
    write_table(table, folder.evaluation_judgments("test", policies[1].version, "ext") / "part-00000.parquet")
    # Everything that takes an engine is on disk by now.
    assert measure_capability(run, "test", [policies[1]], policies[1]) == []
    found = read_figures(folder, "test", policies[1].version).toxicity
    assert found is not None and (found.scored_by, found.judge, found.k) == ("judge", "ext", 2)
    # Of two continuations of a toxic beginning the first is accepted, and no other beginning is scored.
    assert (found.all.unsafe.value, found.all.probability.value) == (0.5, 1.0)
    assert found.nontoxic is None and found.all.expected_maximum.value == 1.0


@pytest.mark.ray
def test_a_run_measures_each_policy_once(
    tmp_path: Path, ray_session: None, policies: tuple[PolicyRef, PolicyRef]
) -> None:
    recipe = asking(tmp_path / "files", "judge.regimen=RULES", "judge.truth=null")
    folder = RunFolder(tmp_path / "run")
    prepare_capability(recipe, folder, policies[0])
    for policy in policies:
        table = judged([0, 3] * 10, ["Accept", "Refuse"] * 10, policy=policy.version)
        judged_by = folder.evaluation_judgments("validation", policy.version, RULES_JUDGE)
        write_table(table, judged_by / "part-00000.parquet")
    remote: Any = ray.remote(num_cpus=0)(TinyGenerator)
    actors = [remote.remote(policies[0]) for _ in range(2)]
    run = Run(recipe, folder, Materials(policy=policies[0], judge=None), Pools(actors, ()), None, QuietReporter())
    try:
        work = measure_capability(run, "validation", policies, policies[0])
        assert work and all(each.end_s > each.start_s for each in work)
        assert {(each.kind, each.worker) for each in work} <= {("generator", "0"), ("generator", "1")}
        again = measure_capability(run, "validation", policies, policies[0])
        assert again == []
    finally:
        for actor in actors:
            ray.kill(actor)
    assert recipe.capability is not None
    known = read_evidence(folder, recipe.capability, "c0-base", [policy.version for policy in policies], "c0-base")
    assert known.base.accuracy is not None and known.base.helpful is not None
    assert known.breaches("c0-base") == ()
