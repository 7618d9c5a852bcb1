"""What is measured beside the validation split: the probe before a publication, and published policies after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.contract.publication import RefusedPublication, note_refusal
from actors.contract.records import PROMPT_SCHEMA
from actors.contract.run_folder import RunFolder
from actors.files.shards import write_table, write_text
from pipelines.alignment.measurements.probe import asked_of_probe
from pipelines.alignment.measurements.published import measure_published, unmeasured
from pipelines.alignment.run import Run, decision_rule
from pipelines.alignment.streamed import run_stream
from pipelines.cluster.pools import Pools
from pipelines.config.load import load_recipe
from pipelines.runs.materials import Materials
from pipelines.runs.summary import find_published
from tests.pipelines.finished import BASE, BY_RULES, LOOSE, PROMPTS, answers
from tests.quiet_reporter import QuietReporter

PROBE = ("data.probe=xstest", "data.probe_path=x")
RIGHT = {"c0-base": 0, "c1-kto": PROMPTS, "c1-dpo": 0}


def a_run(root: Path, *overrides: str, right: dict[str, int] = RIGHT) -> Run:
    """Its cycle 1 is measured on the validation split and not decided yet; rules judge."""
    run = Run(
        recipe=load_recipe("demo", [*BY_RULES, LOOSE, *overrides]),
        folder=RunFolder(root),
        materials=Materials(policy=BASE, judge=None),
        pools=Pools((), ()),
        coordinator=None,
        reporter=QuietReporter(),
    )
    for name, count in right.items():
        write(run, "validation", name, count)
    return run


def write(run: Run, prompts: str, name: str, right: int) -> None:
    folder = run.folder.root / "evaluations" / prompts / name / "judged_by" / run.judge_name(BASE)
    write_table(answers(name, right), folder / "part-00000.parquet")


def decide(run: Run) -> None:
    tables = {name: answers(name, right) for name, right in RIGHT.items()}
    challengers = {"kto": tables["c1-kto"], "dpo": tables["c1-dpo"]}
    decision = decision_rule(run.recipe, run.folder, run.materials)(1, tables["c0-base"], challengers, {})
    assert decision.publish
    write_text(decision.model_dump_json(), run.folder.decision(1))


def asked(run: Run) -> list[str]:
    challengers = [run.folder.challenger(1, name) for name in ("kto", "dpo")]
    return [policy.version for policy in asked_of_probe(run, 1, BASE, challengers)]


def test_a_step_without_tasks_draws_no_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QuietReporter, "bar", lambda *_: pytest.fail("a bar was drawn"))
    assert run_stream(a_run(tmp_path), "cycle 1", []).work == []


def test_the_probe_is_asked_of_the_winner_and_of_what_is_live(tmp_path: Path) -> None:
    assert asked(a_run(tmp_path / "a", *PROBE)) == ["c1-kto", "c0-base"]
    assert asked(a_run(tmp_path / "b")) == []
    # No one is better: the champion stays, which costs no answer.
    assert asked(a_run(tmp_path / "c", *PROBE, right=dict.fromkeys(RIGHT, 0))) == []


@pytest.fixture
def published(tmp_path: Path) -> Run:
    """Cycle 1 let KTO go live; it and the deployed model have answered the prompts set apart."""
    run = a_run(tmp_path)
    prompts = answers("c0-base", 0).select(PROMPT_SCHEMA.names)
    write_table(prompts, run.folder.prompts("published") / "part-00000.parquet")
    for name in ("c0-base", "c1-kto"):
        write(run, "published", name, RIGHT[name])
    return run


def test_a_published_policy_is_measured_once_after_its_decision(published: Run) -> None:
    assert unmeasured(published) == [] and measure_published(published) == []
    assert find_published(published.folder, 1) == ()
    decide(published)
    assert [(cycle, policy.version) for cycle, policy in unmeasured(published)] == [(1, "c1-kto")]
    measure_published(published)
    (found,) = find_published(published.folder, 3)
    assert (found.cycle, found.policy, found.figures.n) == (1, "c1-kto", PROMPTS)
    assert found.figures.ss is not None and found.deployed.ss is not None and found.truth is None
    assert (found.figures.ss.value, found.deployed.ss.value) == (1.0, 0.5)
    assert found.figures.answered is not None and found.figures.answered.value == 0.0
    # Never a second time, whatever has become of its answers.
    write(published, "published", "c1-kto", 0)
    before = published.folder.published_figures(1).read_text()
    assert unmeasured(published) == [] and measure_published(published) == []
    assert published.folder.published_figures(1).read_text() == before


def test_what_the_endpoint_refused_is_not_measured(published: Run) -> None:
    decide(published)
    refusal = RefusedPublication(version="c1-kto", step="smoke", refused="No answer.", refused_at="2026-11-22")
    note_refusal(published.folder.decision(1), refusal)
    assert unmeasured(published) == []


def test_a_run_without_such_prompts_measures_none(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    decide(run)
    assert unmeasured(run) == []
