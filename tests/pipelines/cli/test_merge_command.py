"""`salus merge`, as it is typed: adapters and whole models into one folder, or a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.engine.model_folder import check_model_folder
from actors.files.sums import file_sum
from actors.training.adapter import check_adapter, merge
from pipelines.cli.main import app
from tests.pipelines.cli.refused import refused
from tests.tiny_adapter import make_tiny_adapter
from tests.tiny_model import make_tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("merge")
    make_tiny_model(root / "base")
    for name, seed in (("a", 0), ("b", 1)):
        make_tiny_adapter(root / "base", root / name, seed, r=4)
        merge(root / "base", root / name, root / f"{name}-whole")
    return root


def typed(place: Path, out: str, *arguments: str) -> Path:
    result = CliRunner().invoke(app, ["merge", str(place / out), "--base", str(place / "base"), *arguments])
    assert result.exit_code == 0, result.output
    return place / out


def test_adapters_give_a_model_and_an_adapter(place: Path) -> None:
    out = typed(place, "one", "--policy", f"{place / 'a'}=0.75", "--policy", f"{place / 'b'}=0.25")
    check_model_folder(out)
    check_adapter(out / "adapter")
    record = json.loads((out / "merge.json").read_text())
    assert [each["weight"] for each in record["policies"]] == [0.75, 0.25] and record["change"] > 0
    assert record["settings"]["method"] == "linear" and len(record["base_sha256"]) == 64


def test_whole_models_give_a_model_and_the_seed_decides_what_dare_drops(place: Path) -> None:
    policies = ("--policy", str(place / "a-whole"), "--policy", str(place / "b-whole"), "--method", "dare_ties")
    first, again, other = (
        file_sum(typed(place, f"dare-{name}", *policies, "--seed", seed) / "model.safetensors")
        for name, seed in (("a", "1"), ("b", "1"), ("c", "2"))
    )
    assert first == again != other
    assert not (place / "dare-a" / "adapter").exists()


@pytest.mark.parametrize(
    ("policies", "more", "sentence"),
    [
        (("a",), (), "one policy to merge where two"),
        (("a", "b-whole"), (), "adapters and others whole models"),
        (("a", "gone"), (), "There is no folder"),
        (("a=0.5", "b"), (), "1 of 2 policies have a weight"),
        (("a=much", "b"), (), "is 'much'; give a number"),
        (("a", "b"), ("--density", "1.5"), "density: must be at most 1"),
        (("a", "b"), ("--method", "slerp"), "method: must be"),
    ],
)
def test_what_cannot_be_merged_gets_a_sentence_and_leaves_nothing(
    policies: tuple[str, ...], more: tuple[str, ...], sentence: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word for each in policies for word in ("--policy", str(place / each))]
    said = refused(capsys, "merge", str(place / "refused"), "--base", str(place / "base"), *given, *more)
    assert sentence in said and not (place / "refused").exists()
