"""Recipes from YAML: overrides, and one clear sentence for each thing that can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.errors import SalusError
from pipelines.config.load import load_recipe, load_run_recipe, recipe_names, save_recipe
from pipelines.serving.settings import load_settings

CLINIC = """\
name: small
model: {source: clinic}
data: {source: clinic}
judge: {regimen: EXT, source: clinic, truth: clinic}
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(CLINIC, encoding="utf-8")
    return str(path)


def sentence(name: str, *overrides: str) -> str:
    with pytest.raises(SalusError) as caught:
        load_recipe(name, overrides)
    return caught.value.sentence


def test_overrides_reach_nested_settings(recipe_file: str) -> None:
    recipe = load_recipe(recipe_file, ["train.challengers.kto.beta=0.2", "cycles=5", "publish.enabled=false"])
    assert recipe.train.challengers["kto"].model_dump()["beta"] == 0.2
    # The other one stays as it was.
    assert recipe.train.challengers["dpo"] == load_recipe(recipe_file).train.challengers["dpo"]
    assert recipe.cycles == 5
    assert recipe.publish.enabled is False


def test_override_makes_a_section_the_file_lacks(recipe_file: str) -> None:
    assert load_recipe(recipe_file, ["generate.sampling.k=2"]).generate.sampling.k == 2


def test_later_override_wins(recipe_file: str) -> None:
    assert load_recipe(recipe_file, ["cycles=2", "cycles=4"]).cycles == 4


def test_a_run_of_an_earlier_version_is_read(recipe_file: str, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file)
    saved = tmp_path / "saved.yaml"
    save_recipe(recipe, saved)
    saved.write_text(saved.read_text().replace("publish:\n", "publish:\n  engine_in_process: true\n"))
    with pytest.raises(SalusError, match="engine_in_process"):
        load_recipe(str(saved))
    saved.write_text(saved.read_text().replace("  feedback:\n", "  feedback:\n    compact_files: 256\n", 1))
    assert load_run_recipe(saved) == recipe


def test_a_settings_file_that_is_a_list_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("- 1\n")
    with pytest.raises(SalusError, match="must hold a mapping"):
        load_settings(tmp_path / "settings.yaml")


def test_saved_recipe_loads_as_the_same(recipe_file: str, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file, ["train.challengers.dpo.beta=0.3", "decide.gate.err_strict_max=[0.2]"])
    saved = tmp_path / "resolved.yaml"
    save_recipe(recipe, saved)
    assert load_recipe(str(saved)) == recipe


@pytest.mark.parametrize(
    ("override", "wrong", "nearest"),
    [
        ("train.challengers.kto.betta=0.2", "train.challengers.kto.betta", "'beta'"),
        ("generat.actors=2", "generat", "'generate'"),
        ("generate.sampling.temprature=1", "generate.sampling.temprature", "'temperature'"),
        ("cluster.adress=auto", "cluster.adress", "'address'"),
    ],
)
def test_unknown_key_names_the_nearest(recipe_file: str, override: str, wrong: str, nearest: str) -> None:
    said = sentence(recipe_file, override)
    assert f"unknown key '{wrong}'" in said
    assert f"did you mean {nearest}" in said


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(recipe_file: str, k: int) -> None:
    said = sentence(recipe_file, f"generate.sampling.k={k}")
    assert "generate.sampling.k" in said
    assert "must be at least 1" in said
    assert f"given {k}" in said


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("cycles", "section.key=value"),
        ("=3", "section.key=value"),
        ("cycles=many", "cycles"),
        ("cycles=[1", "not a YAML value"),
        ("generate.actors=0", "generate.actors"),
        ("train.challengers.kto.batch_size=1", "kto.batch_size must be at least 2"),
        ("train.algorithms=[kto, kto]", "twice"),
        ("judge.truth=nobody", "judge.truth"),
        ("generate.engine.max_model_len=32", "max_model_len"),
        ("publish.port=99999", "publish.port"),
        ("name=Not A Name", "name"),
    ],
)
def test_wrong_override_is_one_sentence(recipe_file: str, override: str, says: str) -> None:
    said = sentence(recipe_file, override)
    assert says in said
    assert "\n" not in said
    assert said.endswith(".")


def test_unknown_recipe_names_the_nearest_and_all() -> None:
    said = sentence("llama-3.1-8")
    assert "did you mean 'llama-3.1-8b'" in said
    assert all(name in said for name in recipe_names())


def test_missing_file_is_named() -> None:
    assert "nowhere.yaml does not exist" in sentence("nowhere.yaml")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"name: [", "not valid YAML"),
        (b"- a list", "must hold a mapping"),
        (b"", "must hold a mapping"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"name: x", "model"),
    ],
)
def test_bad_file_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    said = sentence(str(path))
    assert "bad.yaml" in said
    assert says in said


@pytest.mark.parametrize("section", ["model", "judge"])
def test_a_path_that_is_no_hub_id_is_a_folder(section: str) -> None:
    for path in ("/models/mine", "./mine", "../models/mine", "~/mine"):
        of_hub = load_recipe("llama-3.1-8b", [f"{section}.source=hub", f"{section}.path={path}"])
        assert getattr(of_hub, section).source == "folder"
    kept = load_recipe("llama-3.1-8b", [f"{section}.source=hub", f"{section}.path=org/model"])
    assert getattr(kept, section).source == "hub"


@pytest.mark.parametrize("section", ["model", "judge"])
def test_a_revision_goes_with_the_hub(section: str) -> None:
    hub = load_recipe("llama-3.1-8b", [f"{section}.source=hub", f"{section}.path=org/model", f"{section}.revision=v2"])
    assert getattr(hub, section).revision == "v2"
    said = sentence("llama-3.1-8b", f"{section}.source=folder", f"{section}.path=models/x", f"{section}.revision=v2")
    assert "revision 'v2' goes with source hub" in said


def test_a_model_judge_must_mean_a_label_by_default() -> None:
    assert load_recipe("medsafety", ["judge.regimen=LMA", "judge.path=models/x"]).judge.min_coverage == 0.5
    # Its judge, and those of the study, are tiny.
    assert load_recipe("demo").judge.min_coverage == 0


def test_sampling_settings_reach_the_generators_and_leave_greedy_answers_to_the_model() -> None:
    names = ("top_k", "min_p", "repetition_penalty")
    shaped = [f"generate.sampling.{name}={value}" for name, value in zip(names, (20, 0.05, 1.1), strict=True)]
    generate = load_recipe("demo", [*shaped, "generate.sampling.stop=[User]"]).generate
    assert [getattr(generate.sampling, name) for name in names] == [20, 0.05, 1.1]
    assert generate.sampling.stop == ("User",)
    greedy = generate.greedy()
    assert [getattr(greedy, name) for name in (*names, "top_p")] == [None] * 4 and greedy.stop == ()


def test_a_run_has_no_router() -> None:
    assert "publish.router is for salus serve" in sentence("demo", "publish.router=true")
