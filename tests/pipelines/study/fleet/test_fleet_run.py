"""A fleet's folder and commands: complete policies are not started, and each child is told what it shares. No Ray."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipelines.cli.main import main
from pipelines.config.load import load_recipe, save_recipe
from pipelines.runs.finished.find import find_runs
from pipelines.runs.several import FleetFolder
from pipelines.study.fleet.config import load_fleet
from pipelines.study.fleet.member import Failure, failed_sentence, member_job
from pipelines.study.fleet.pools import shared_pools
from pipelines.study.fleet.run import FleetReport, members_of
from pipelines.study.fleet.tables import next_lines
from pipelines.study.fleet.together import SharedCost
from tests.pipelines.cli.refused import refused
from tests.pipelines.finished import BY_RULES, LOOSE, finish
from tests.pipelines.study.fleet.members import LAPTOP, member


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Two policies of one cycle each, judged by rules."""
    path = tmp_path / "wards.yaml"
    fleet = {
        "name": "wards",
        "recipe": "demo",
        "set": [*BY_RULES, LOOSE, "cycles=1", "judge.accept_unreliable=true"],
        "registries": None,
        "policies": [{"name": "north"}, {"name": "south", "seed": 3}],
    }
    path.write_text(yaml.safe_dump(fleet), encoding="utf-8")
    return str(path)


def test_complete_policies_are_not_started_again(tmp_path: Path, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = FleetFolder(tmp_path / "run")
    fleet = load_fleet(file)
    for each in members_of(fleet, folder):
        finish(each.recipe, each.run.root, {})
        save_recipe(each.recipe, each.run.recipe)
    save_recipe(fleet, folder.settings)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["fleet", file, "--run", str(folder.root)])
    assert ended.value.code == 0
    printed = capsys.readouterr()
    assert "policy north is complete" in printed.err and "c1-kto" in printed.out
    assert not folder.serving.exists()
    # Each is an ordinary run.
    assert find_runs(folder.root) == [folder.run("north").root, folder.run("south").root]
    # More cycles go on; other settings do not.
    assert "holds a run made with other settings" in refused(
        capsys, "fleet", file, "--run", str(folder.root), "--set", "set=[judge.regimen=RULES,cycles=1]"
    )


def test_the_plan_says_what_runs_when(tmp_path: Path, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fleet", file, "--plan", "--run", str(tmp_path / "run"), "--set", "cluster.memory_gib=30"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0 and printed.rstrip().endswith("It fits.")
    assert "judges of north, south" in printed and "shared" not in printed
    with pytest.raises(SystemExit):
        same = ("--set", "share=[generators,trainers]", "--set", "policies=[{name: north},{name: south}]")
        main(["fleet", file, "--plan", "--run", str(tmp_path / "run"), *same])
    printed = capsys.readouterr().out
    assert "generators of north, south" in printed and "trainers of north, south" in printed
    assert "judges of" not in printed and printed.count("shared") == 2
    assert not (tmp_path / "run").exists()


def test_a_child_is_told_where_it_runs_and_what_it_shares(tmp_path: Path) -> None:
    members = member("a"), member("b", weight=2)
    folder = FleetFolder(tmp_path)
    (pool,) = shared_pools(members, "here", ["judges"])
    save_recipe(members[1].recipe, folder.recipe("b"))
    job = member_job(members[1], folder, "127.0.0.1:6379", LAPTOP, {"shared_judges": pool.settings(members[1])})
    assert job.command[3:7] == ("align", str(folder.recipe("b")), "--run", str(members[1].run.root))
    assert job.log == folder.log("b")
    recipe = load_recipe(job.command[4], job.command[8::2])
    assert recipe.cluster.shared_judges == pool.settings(members[1])
    assert (recipe.cluster.address, recipe.cluster.memory_gib) == ("127.0.0.1:6379", 32)
    assert recipe.model_copy(update={"cluster": members[1].recipe.cluster}) == members[1].recipe


def test_failures_are_told_together() -> None:
    failures = {"a": Failure(sentence="The judge is bad.", log="a.log"), "b": Failure(sentence="No data", log="b.log")}
    each = "a: The judge is bad (log: a.log); b: No data (log: b.log)"
    told = failed_sentence(failures, 3, "policies")
    assert told == f"2 of 3 policies failed: {each}; the same command goes on with them."


def test_nothing_is_served_where_nothing_is_registered(tmp_path: Path) -> None:
    report = FleetReport((member("a"),), {}, (), SharedCost())
    assert list(next_lines(report, FleetFolder(tmp_path))) == []
