"""`salus runs diff`: where two runs part."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.contract.run_folder import RunFolder
from pipelines.cli.main import app
from pipelines.config.difference import Difference, differences, first_difference
from pipelines.runs.finished.diff import diff_runs, merged_order
from pipelines.runs.finished.gc import collect, gc_plan
from pipelines.runs.finished.lineage import Node
from pipelines.runs.finished.manifest import seal_run
from pipelines.runs.open import ModelNote, note_model
from tests.pipelines.cli.refused import refused
from tests.pipelines.runs.finished.made import LOST, RunMaker, lines, put, recipe


def test_every_setting_that_differs_and_the_first_in_words() -> None:
    a, b = {"x": {"y": 1, "z": 2}, "same": 0}, {"x": {"y": 3}, "same": 0, "new": None, "w": {"v": 1}}
    assert list(differences(a, b)) == [
        Difference("w", None, {"v": 1}),
        Difference("x.y", 1, 3),
        Difference("x.z", 2, None),
    ]
    assert first_difference(a, b) == "w: None there, {'v': 1} now"
    assert first_difference(a, a) is None


def test_the_same_run_made_twice_differs_in_circumstances_alone(tmp_path: Path, made_run: RunMaker) -> None:
    made_run(tmp_path / "a")
    made_run(tmp_path / "b")
    found = diff_runs(RunFolder(tmp_path / "a"), RunFolder(tmp_path / "b"))
    assert found.parting is None and not found.differs
    assert {each.way for each in found.artefacts} == {"circumstances"}
    assert "cycles/01/dpo/adapter" in {each.path for each in found.artefacts}
    said = CliRunner().invoke(app, ["runs", "diff", str(tmp_path / "a"), str(tmp_path / "b"), "--exit-code"])
    assert said.exit_code == 0
    assert "The runs made the same." in said.output
    assert "champion ss 1.000 1.000 +0.000" in lines(said.output)


def test_the_first_artefact_that_differs_is_where_they_part(tmp_path: Path, made_run: RunMaker) -> None:
    a, b = made_run(tmp_path / "a"), made_run(tmp_path / "b", "train.challengers.dpo.beta=0.3")
    put(b.root / LOST / "model.safetensors", b"other")
    put(b.cycle(1) / "dpo" / "adapter" / "adapter_model.safetensors", b"other")
    put(b.pairs / "x", b"B alone has this")
    record = b.run_record.read_text()
    b.run_record.write_text(record.replace('"python": "', '"python": "x'))
    b.sums.unlink()
    found = diff_runs(a, b)
    telling = [(each.path, each.way) for each in found.artefacts if each.way != "circumstances"]
    assert telling == [("pairs", "only in B"), ("cycles/01/dpo/adapter", "content"), (LOST, "content")]
    assert [each.name for each in found.settings] == ["train.challengers.dpo.beta"]
    assert [each.name for each in found.versions] == ["python"]
    command = ["runs", "diff", str(a.root), str(b.root)]
    said = CliRunner().invoke(app, command)
    assert said.exit_code == 0
    assert "The runs part at pairs (pairs, only in B)." in lines(said.output)
    assert CliRunner().invoke(app, [*command, "--exit-code"]).exit_code == 1


def test_another_model_from_outside_shows(tmp_path: Path, made_run: RunMaker) -> None:
    folders = []
    for name in ("a", "b"):
        folder = made_run(tmp_path / name)
        note_model(folder, "policy", ModelNote(path="/models/base", sha256=name * 64))
        seal_run(recipe(), folder)
        folders.append(folder)
    assert [each.name for each in diff_runs(*folders).versions] == ["model:policy"]


def test_what_was_removed_is_compared_by_what_it_was(tmp_path: Path, made_run: RunMaker) -> None:
    a = made_run(tmp_path / "a")
    shutil.copytree(a.root, tmp_path / "b")
    collect(gc_plan(a))
    found = diff_runs(a, RunFolder(tmp_path / "b"))
    assert found.artefacts == () and not found.differs


def test_both_orders_are_kept() -> None:
    def of(text: str) -> list[Node]:
        return [Node(path, "other") for path in text]

    assert "".join(node.path for node in merged_order(of("abdf"), of("acdeg"))) == "abcdfeg"
    assert "".join(node.path for node in merged_order(of(""), of("ab"))) == "ab"


def test_something_else_is_no_run(tmp_path: Path, made_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    made_run(tmp_path / "a")
    said = refused(capsys, "runs", "diff", str(tmp_path / "a"), str(tmp_path / "nothing"))
    assert "nothing is not a run folder: it has no recipe.yaml." in said
