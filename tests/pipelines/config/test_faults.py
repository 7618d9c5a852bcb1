"""All faults of a recipe at once, unknown keys first, in plain words; and what `--set` takes as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.errors import SalusError
from pipelines.config.catalog import takes_text
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe

FAULTY = """\
name: Not A Name
cycles: 0
model: {source: folder}
data: {source: clinic, train_per_cyle: 3}
judge: {regimen: GPT}
generate: {sampling: {k: many, temperture: 1}}
publish: {port: 99999, enabled: perhaps}
train: {challengers: {kto: {betta: 1}, dpo: {beta: -1}}}
decide: [1]
"""


def lines(path: Path, text: str) -> list[str]:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SalusError) as refused:
        load_recipe(str(path))
    return refused.value.sentence.split("\n  ")


def test_every_fault_is_said_at_once(tmp_path: Path) -> None:
    head, *found = lines(tmp_path / "faulty.yaml", FAULTY)
    assert head == f"{tmp_path / 'faulty.yaml'} has {len(found)} faults."
    assert [line.split(",")[0] for line in found[:3]] == [
        "unknown key 'data.train_per_cyle'",
        "unknown key 'generate.sampling.temperture'",
        "unknown key 'train.challengers.kto.betta'",
    ]
    assert "did you mean 'train_per_cycle'" in found[0]
    rest = "\n".join(found[3:])
    for words in (
        "name: must be text of the pattern",
        "cycles: must be at least 1 (given 0).",
        "model: source 'folder' needs path",
        "judge.regimen: must be 'SELF', 'LMA'",
        "generate.sampling.k: must be a whole number (given 'many').",
        "publish.port: must be at most 65535 (given 99999).",
        "publish.enabled: must be true or false (given 'perhaps').",
        "train.challengers.dpo.beta: must be greater than 0",
        "decide: must be a section of settings",
    ):
        assert words in rest
    assert len(found) == 12 and all(line.endswith(".") and "\n" not in line for line in found)


def test_what_must_agree_is_said_beside_an_unknown_key(tmp_path: Path) -> None:
    text = "name: x\nmodel: {source: clinic}\ndata: {source: tabular, pth: x}\njudge: {regimen: RULES}\n"
    _, unknown, agrees = lines(tmp_path / "x.yaml", text)
    assert "unknown key 'data.pth'" in unknown and "source 'tabular' needs path and columns" in agrees


def test_what_follows_from_another_fault_is_not_said(tmp_path: Path) -> None:
    text = "extends: demo\njudge: {ensemble: {also: [GPT]}}\n"
    (said,) = lines(tmp_path / "x.yaml", text)
    assert "judge.ensemble.also.0: must be 'RULES', 'REMOTE' or 'PYTHON' (given 'GPT')." in said


def test_one_fault_is_one_sentence(tmp_path: Path) -> None:
    assert lines(tmp_path / "x.yaml", "model: {source: clinic}\ndata: {}\njudge: {regimen: RULES}\n") == [
        f"{tmp_path / 'x.yaml'}: name: is missing; it has no default."
    ]


@pytest.mark.parametrize("text", ["2024-01-01", "a #2", "[x", "1e3", "yes", "07", "a: b", "'quoted'", " x", "*"])
def test_text_is_taken_as_it_is(text: str) -> None:
    recipe = load_recipe("demo", [f"data.path={text}", f"preference.reviews={text}"])
    assert recipe.data.path == text and recipe.preference.reviews == Path(text)


def test_other_settings_are_read_as_yaml() -> None:
    changes = [
        "data.path=null",
        "cycles=5",
        "publish.enabled=no",
        "decide.gate.err_strict_max=[0.2, 0.1]",
        "judge.truth=null",
    ]
    recipe = load_recipe("demo", changes)
    assert (recipe.data.path, recipe.cycles, recipe.publish.enabled, recipe.judge.truth) == (None, 5, False, None)
    assert recipe.decide.gate.err_strict_max == (0.2, 0.1)


def test_a_date_in_a_file_is_text(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("extends: demo\ndata: {path: 2024-01-01}\n", encoding="utf-8")
    assert load_recipe(str(tmp_path / "x.yaml")).data.path == "2024-01-01"


@pytest.mark.parametrize(
    ("path", "text", "nothing"),
    [
        ("data.path", True, True),
        ("name", True, False),
        ("judge.remote.base_url", True, False),
        ("judge.regimen", False, False),
        ("cycles", False, False),
        ("train.lora.target_modules", False, False),
        ("train.challengers.kto-b.beta", False, False),
        ("no.such.setting", False, False),
    ],
)
def test_which_settings_take_text(path: str, text: bool, nothing: bool) -> None:
    assert takes_text(Recipe, path.split("."))[0] is text
    assert not text or takes_text(Recipe, path.split("."))[1] is nothing
