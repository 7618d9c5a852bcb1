"""`extends`: what is merged, what is replaced, and that the recipes for GPUs are what they were when each was whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.errors import SalusError
from pipelines.config.difference import differences
from pipelines.config.load import load_recipe, recipe_names, save_recipe

# The recipe llama-3.2-3b as it was before it extended another.
FORMER = """\
name: llama-3.2-3b
cycles: 5
model:
  source: hub
  path: meta-llama/Llama-3.2-3B-Instruct
  parameters_b: 3.2
data:
  source: cares
  train_per_cycle: 2944
  prompts_per_shard: 128
generate:
  actors: 2
  sampling: {k: 4, temperature: 1.0, top_p: 1.0, max_tokens: 512}
  engine: &engine
    device: cuda
    dtype: bfloat16
    max_model_len: 2048
    max_num_seqs: 256
    tensor_parallel: 1
    enforce_eager: false
judge:
  regimen: EXT
  source: folder
  path: models/cares-judge-3b
  parameters_b: 3.2
  prompt: cares-v2
  min_coverage: 0.5
  actors: 1
  engine:
    <<: *engine
    max_model_len: 3072
  train: {gpus_per_worker: 1, cpus_per_worker: 4, threads_per_worker: 4, dtype: bfloat16, gradient_checkpointing: true,
          batch_size: 4, gradient_accumulation: 4}
preference:
  replay: true
  pairs_per_prompt: 2
  min_confidence: 0.6
train:
  reference: champion
  workers_per_run: 2
  cpus_per_worker: 4
  gpus_per_worker: 1
  threads_per_worker: 4
  dtype: bfloat16
  gradient_checkpointing: true
  max_length_tokens: 1536
  checkpoint_every_steps: 50
  max_failures: 5
  lora: {rank: 16, alpha: 32, dropout: 0.05}
  challengers:
    kto: {algorithm: kto, beta: 0.1, learning_rate: 5.0e-5, epochs: 1, batch_size: 4, gradient_accumulation: 8,
          scheduler: cosine}
    dpo: {algorithm: dpo, beta: 0.1, learning_rate: 5.0e-5, epochs: 1, batch_size: 4, gradient_accumulation: 8,
          scheduler: cosine, loss_type: [sigmoid, sft], loss_weights: [1.0, 0.2]}
decide:
  gate: {err_strict_max: [0.3, 0.25, 0.2, 0.15], min_n: 200}
  publish_gate: {err_strict_max: [0.05], accepted_severe_max: 0.1, max_severe_rise: 0.05, max_err_rise: 0.05}
  publish_uncorrected: true
publish:
  cpus_per_replica: 4
  gpus_per_replica: 1
  max_model_len: 2048
  max_num_seqs: 256
  dtype: bfloat16
  enforce_eager: false
cluster:
  object_store_gib: 8
"""
SIZES = {"llama-3.1-8b": 8.0, "meditron-8b": 8.0, "mistral-7b": 7.2}
PATHS = {
    "llama-3.1-8b": "meta-llama/Llama-3.1-8B-Instruct",
    "meditron-8b": "OpenMeditron/Meditron3-8B",
    "mistral-7b": "mistralai/Mistral-7B-Instruct-v0.3",
}
CHILD = """\
extends: {base}
name: child
data: {{train_per_cycle: 80}}
decide: {{gate: {{err_strict_max: [0.1]}}}}
train: {{challengers: {{dpo: {{beta: 0.3}}, kto: null}}}}
"""


def written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_recipe_for_gpus_is_what_it_was(tmp_path: Path) -> None:
    former = load_recipe(written(tmp_path / "former.yaml", FORMER))
    assert load_recipe("llama-3.2-3b").model_dump() == former.model_dump()


@pytest.mark.parametrize("name", SIZES)
def test_the_others_differ_from_it_as_they_did(name: str) -> None:
    first, other = (load_recipe(each).model_dump(mode="json") for each in ("llama-3.2-3b", name))
    batches = {
        f"train.challengers.{challenger}.{key}": value
        for challenger in ("kto", "dpo")
        for key, value in (("batch_size", (4, 2)), ("gradient_accumulation", (8, 16)))
    }
    assert {each.name: (each.known, each.asked) for each in differences(first, other)} == batches | {
        "name": ("llama-3.2-3b", name),
        "model.path": ("meta-llama/Llama-3.2-3B-Instruct", PATHS[name]),
        "model.parameters_b": (3.2, SIZES[name]),
    }


def test_sections_are_merged_and_lists_replaced(tmp_path: Path) -> None:
    base, child = load_recipe("demo"), load_recipe(written(tmp_path / "child.yaml", CHILD.format(base="demo")))
    assert child.name == "child" and child.data.train_per_cycle == 80
    assert child.data.prompts_per_shard == base.data.prompts_per_shard
    assert child.decide.gate.err_strict_max == (0.1,)
    assert list(child.train.challengers) == ["dpo"]
    dpo = base.train.challengers["dpo"].model_dump() | {"beta": 0.3}
    assert child.train.challengers["dpo"].model_dump() == dpo


def test_a_path_is_beside_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    written(tmp_path / "child.yaml", CHILD.format(base="demo"))
    top = load_recipe(
        written(tmp_path / "deep" / "top.yaml", "extends: ../child.yaml\nname: top\ncycles: 9\n"), ["seed=5"]
    )
    assert (top.name, top.cycles, top.seed, top.data.train_per_cycle) == ("top", 9, 5, 80)


def test_what_a_run_writes_down_extends_nothing(tmp_path: Path) -> None:
    child = load_recipe(written(tmp_path / "child.yaml", CHILD.format(base="demo")))
    save_recipe(child, tmp_path / "recipe.yaml")
    assert "extends" not in (tmp_path / "recipe.yaml").read_text(encoding="utf-8")
    assert load_recipe(str(tmp_path / "recipe.yaml")) == child


@pytest.mark.parametrize(
    ("base", "says"),
    [
        ("demoo", "extends 'demoo': There is no recipe 'demoo', did you mean 'demo'"),
        ("nowhere.yaml", "nowhere.yaml does not exist"),
        ("child.yaml", "extends 'child.yaml', which makes a circle"),
        ("other.yaml", "extends 'child.yaml', which makes a circle"),
        ("[demo]", "extends must be the name of a recipe or the path of a .yaml file"),
        ("study", "extends 'study': There is no recipe 'study'"),
    ],
)
def test_what_cannot_be_extended_is_one_sentence(tmp_path: Path, base: str, says: str) -> None:
    written(tmp_path / "other.yaml", "extends: child.yaml\n")
    with pytest.raises(SalusError) as refused:
        load_recipe(written(tmp_path / "child.yaml", CHILD.format(base=base)))
    assert says in refused.value.sentence and "\n" not in refused.value.sentence


def test_a_fault_names_both_files(tmp_path: Path) -> None:
    with pytest.raises(SalusError, match=r"child\.yaml \(extends recipe demo\): unknown key 'data\.pth'"):
        load_recipe(written(tmp_path / "child.yaml", "extends: demo\ndata: {pth: x}\n"))


def test_a_base_is_no_recipe() -> None:
    assert not [name for name in recipe_names() if name.startswith("base-")]
    with pytest.raises(SalusError, match="is no recipe by itself"):
        load_recipe("base-cares")
