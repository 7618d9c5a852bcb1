"""The final test's scores as a run makes them: who is asked, where the shards go, what is left, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import ray

from actors.contract.records import ROLLOUT_SCHEMA, PolicyRef
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import write_table
from actors.judges.harmfulness import HarmfulnessRater, RatingJudge, rater_of
from actors.judges.regimens import scorers
from actors.judges.remote.scorer import RemoteScorer
from actors.judges.rules import RuleScorer, refusal_label
from pipelines.alignment.measurements.harmfulness import (
    check_rater,
    harmfulness_tasks,
    measure_harmfulness,
    read_harmfulness,
)
from pipelines.alignment.run import Run
from pipelines.cluster.pools import Pools
from pipelines.config.load import load_recipe, save_recipe
from pipelines.config.recipe import Recipe
from pipelines.runs.materials import Materials
from tests.fixed_scores import FixedScores
from tests.pipelines.judged import judged
from tests.quiet_reporter import QuietReporter
from tests.tiny_model import make_tiny_model

BIG = "llama-3.1-8b"
ON = "harmfulness={}"
SERVER = ["judge.remote.base_url=http://127.0.0.1:1/v1", "judge.remote.model=m"]
REMOTE = ["judge.regimen=REMOTE", "judge.path=null", *SERVER]
BASE = PolicyRef(version="c0-base", path="/models/base")
CHAMPION = PolicyRef(version="c2-dpo", path="/models/c2-dpo")
EXT = PolicyRef(version="ext-judge", path="/models/judge")
SCORES = {"Sure": 5, "cannot": 1}


class FixedJudge(RatingJudge):
    """A judge whose scores follow the answer's first words, built in its own process as the real one's is."""

    def __init__(self) -> None:
        super().__init__(RuleScorer("rules", refusal_label), 0.0, HarmfulnessRater(FixedScores(SCORES), 0.5))


def run_of(recipe: Recipe, root: Path, judge: PolicyRef | None = EXT, judges: tuple[Any, ...] = ()) -> Run:
    materials = Materials(policy=BASE, judge=judge)
    return Run(recipe, RunFolder(root), materials, Pools((), judges), None, QuietReporter())


def write_answers(run: Run, policy: PolicyRef, *shards: str) -> None:
    """Shards of four answers each, half of them to harmful prompts."""
    for number, answer in enumerate(shards):
        table = judged([0, 1, 0, 3], [None] * 4, policy=policy.version, answers=[answer] * 4)
        path = run.folder.evaluation_rollouts("test", policy.version) / f"part-{number:05d}.parquet"
        write_table(table.select(ROLLOUT_SCHEMA.names), path)


@pytest.mark.parametrize(
    ("overrides", "judge", "name", "weights"),
    [
        ([], EXT, "ext-judge", None),
        (["judge.regimen=LMA"], EXT, "ext-judge", None),
        (REMOTE, None, "remote-m", None),
        (["judge.regimen=SELF", "judge.path=null"], None, "c2-dpo", CHAMPION),
        # Of several, the first alone scores.
        (["judge.ensemble.also=[RULES, REMOTE]", *SERVER], EXT, "ext-judge", None),
        ([*REMOTE, "judge.ensemble.also=[RULES]"], None, "remote-m", None),
    ],
)
def test_a_task_for_each_shard_of_answers_names_the_judge(
    tmp_path: Path, overrides: list[str], judge: PolicyRef | None, name: str, weights: PolicyRef | None
) -> None:
    run = run_of(load_recipe(BIG, [ON, *overrides]), tmp_path, judge)
    write_answers(run, BASE, "Sure.", "Sure.")
    first, second = harmfulness_tasks(run, BASE, CHAMPION)
    assert first.rollouts == str(tmp_path / "evaluations/test/c0-base/rollouts/part-00000.parquet")
    assert first.output == str(tmp_path / f"evaluations/test/c0-base/harmfulness/{name}/part-00000.parquet")
    assert second.output.endswith("part-00001.parquet")
    assert first.weights == second.weights == weights


def test_from_answers_on_disk_to_the_figure(tmp_path: Path) -> None:
    run = run_of(load_recipe(BIG, [ON]), tmp_path)
    write_answers(run, BASE, "Sure, like this.", "I cannot help.", "Hm.")
    rater = HarmfulnessRater(FixedScores(SCORES), 0.5)
    for task in harmfulness_tasks(run, BASE, CHAMPION):
        rater.rate(task)
    found = read_harmfulness(run, BASE, CHAMPION)
    assert found.counts == (2, 0, 0, 0, 2) and found.mean is not None and found.mean.value == 3
    # Half of the twelve prompts are harmful, and two of their answers have no score.
    assert (found.n, found.rows) == (4, 6) and found.coverage == pytest.approx(4 / 6)
    assert run.folder.rated() == [run.folder.evaluation_harmfulness("test", "c0-base", "ext-judge")]
    # They are no judgments.
    assert run.folder.judged() == []


def test_a_figure_without_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SalusError, match=r"No Parquet files in .*harmfulness/ext-judge"):
        read_harmfulness(run_of(load_recipe(BIG, [ON]), tmp_path), BASE, CHAMPION)


def test_a_recipe_that_asks_for_none_leaves_no_trace(tmp_path: Path) -> None:
    run = run_of(load_recipe(BIG), tmp_path)
    write_answers(run, BASE, "Sure.")
    measure_harmfulness(run, [BASE], CHAMPION)
    check_rater(run.recipe, run.materials)
    assert run.folder.rated() == []


def test_shards_that_are_there_need_no_judge(tmp_path: Path) -> None:
    run = run_of(load_recipe(BIG, [ON]), tmp_path)
    write_answers(run, BASE, "Sure.")
    (task,) = harmfulness_tasks(run, BASE, CHAMPION)
    HarmfulnessRater(FixedScores(SCORES), 0.5).rate(task)
    # There is no judge actor here at all.
    measure_harmfulness(run, [BASE], CHAMPION)


def test_the_servers_limit_is_shared_by_the_actors_for_scores_too() -> None:
    recipe = load_recipe(BIG, [ON, *REMOTE, "judge.actors=4", "judge.remote.requests_per_minute=60"])
    (server,) = scorers(recipe.judge, None)
    rater = rater_of(server, recipe.harmfulness)
    assert rater is not None and isinstance(rater._scorer, RemoteScorer)
    assert rater._scorer._config.requests_per_minute == 15
    assert rater._scorer.prompt_version == "harmfulness-v1"
    assert rater_of(server, load_recipe(BIG, REMOTE).harmfulness) is None


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["judge.regimen=GUARD", "judge.prompt=guard-v1"],
            "harmfulness needs a judge that gives a number (of several, the first), and GUARD does not. Set"
            " judge.regimen to EXT",
        ),
        (
            ["judge.regimen=GUARD", "judge.prompt=guard-v1", "judge.ensemble.also=[REMOTE]", *SERVER],
            "and GUARD does not. Set judge.regimen to EXT",
        ),
        (["harmfulness.prompt=cares-v2"], "no judge prompt of this name asks for a score from 1 to 5; take harmful"),
        (["harmfulness.min_coverage=1.5"], "harmfulness.min_coverage"),
        (["harmfulness.promt=x"], "unknown key 'harmfulness.promt', did you mean 'prompt'"),
        (["judge.prompt=harmfulness-v1"], "harmfulness-v1 asks for a score from 1 to 5; name it as harmfulness.prompt"),
        (["judge.ensemble={also: [RULES], prompt: harmfulness-v1}"], "name it as harmfulness.prompt"),
    ],
)
def test_what_does_not_fit_is_said(overrides: list[str], sentence: str) -> None:
    with pytest.raises(SalusError) as caught:
        load_recipe(BIG, [ON, *overrides])
    assert sentence in caught.value.sentence


def test_it_is_off_by_default_and_comes_back_from_its_file(tmp_path: Path) -> None:
    assert load_recipe(BIG).harmfulness is None
    recipe = load_recipe(BIG, [ON, "harmfulness.min_coverage=0.2"])
    save_recipe(recipe, tmp_path / "recipe.yaml")
    again = load_recipe(str(tmp_path / "recipe.yaml"))
    assert again == recipe and again.harmfulness is not None and again.harmfulness.min_coverage == 0.2


def test_a_judge_too_short_for_the_prompt_stops_the_run_before_it_begins(tmp_path: Path) -> None:
    path = str(make_tiny_model(tmp_path / "judge", positions=2048))
    materials = Materials(policy=BASE, judge=PolicyRef(version="ext", path=path))
    with pytest.raises(SalusError, match=r"harmfulness-v1 leaves -\d+ tokens .* raise judge\.engine\.max_model_len"):
        check_rater(load_recipe("demo", [ON]), materials)
    check_rater(load_recipe("demo", [ON, "judge.engine.max_model_len=2048"]), materials)
    # Under SELF it is the policy that must have room; a server's tokenizer is its own affair.
    own = ["judge.regimen=SELF", "judge.source=folder"]
    with pytest.raises(SalusError, match="raise judge"):
        check_rater(
            load_recipe("demo", [ON, *own]), Materials(policy=BASE.model_copy(update={"path": path}), judge=None)
        )
    check_rater(load_recipe(BIG, [ON, *REMOTE]), Materials(policy=BASE, judge=None))


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_has_each_shard_scored_once_by_its_judges(tmp_path: Path, ray_session: None) -> None:
    remote: Any = ray.remote(num_cpus=0)(FixedJudge)
    judges = tuple(remote.remote() for _ in range(2))
    run = run_of(load_recipe(BIG, [ON]), tmp_path, judges=judges)
    write_answers(run, BASE, "Sure.", "Sure.", "I cannot help.")
    write_answers(run, CHAMPION, "I cannot help.", "I cannot help.", "I cannot help.")
    try:
        measure_harmfulness(run, [BASE, CHAMPION], CHAMPION)
        shards = [shard for folder in run.folder.rated() for shard in sorted(folder.glob("*.parquet"))]
        assert len(shards) == 6
        written = {shard: shard.stat().st_mtime_ns for shard in shards}
        # One is lost: it alone is made again.
        shards[0].unlink()
        measure_harmfulness(run, [BASE, CHAMPION], CHAMPION)
    finally:
        for judge in judges:
            ray.kill(judge)
    assert pq.read_metadata(shards[0]).num_rows == 2
    assert [shard.stat().st_mtime_ns == written[shard] for shard in shards] == [False] + [True] * 5
    before, after = (read_harmfulness(run, policy, CHAMPION) for policy in (BASE, CHAMPION))
    assert before.counts == (2, 0, 0, 0, 4) and after.counts == (6, 0, 0, 0, 0)
