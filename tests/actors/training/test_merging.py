"""Policies merged into one, on a real tiny Llama: adapters through PEFT, whole weights by its formulas."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from actors.contract.records import PolicyRef, TrainReport
from actors.contract.run_folder import MERGE, RunFolder
from actors.contract.run_names import read_report
from actors.errors import SalusError
from actors.files.sums import file_sum
from actors.training.adapter import ADAPTER_WEIGHTS, merge, rms_change_on_disk
from actors.training.made_from import MadeFrom, write_finished
from actors.training.merging.config import MergeConfig, MergeMethod, MergeSettings, WeightedMerge, default_weights
from actors.training.merging.merged import merge_challengers, merged_policy
from actors.training.merging.weights import merge_weights
from tests.tiny_adapter import make_tiny_adapter
from tests.tiny_model import make_tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")

METHODS: tuple[MergeMethod, ...] = ("linear", "ties", "dare_linear", "dare_ties")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("merging") / "base")


@pytest.fixture(scope="module")
def adapters(base: Path) -> list[Path]:
    return [make_tiny_adapter(base, base.parent / f"adapter-{seed}", seed, r=4) for seed in (0, 1)]


@pytest.fixture(scope="module")
def policies(base: Path, adapters: list[Path]) -> list[Path]:
    for number, adapter in enumerate(adapters):
        merge(base, adapter, base.parent / f"policy-{number}")
    return [base.parent / f"policy-{number}" for number in range(2)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    return state


def merged(method: MergeMethod, base: Path, of: list[Path], out: Path, seed: int = 0, **changes: object) -> Path:
    settings = MergeSettings.model_validate({"method": method} | changes)
    assert merged_policy(settings, base, of, (), seed, out) > 0
    return out / "merged"


def model_of(folder: Path, **tensors: torch.Tensor) -> Path:
    """A folder with these weights alone; enough for what reads tensors and no model."""
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    return folder


# -- formulas


def test_the_methods_are_those_of_their_papers(tmp_path: Path) -> None:
    base = model_of(tmp_path / "base", w=torch.ones(5), ids=torch.tensor([1, 2]))
    one = model_of(tmp_path / "one", w=1 + torch.tensor([4.0, 3.0, -2.0, 0.1, 0.0]), ids=torch.tensor([1, 2]))
    two = model_of(tmp_path / "two", w=1 + torch.tensor([2.0, -5.0, -4.0, 0.2, 0.0]), ids=torch.tensor([1, 2]))

    def update(method: MergeMethod, density: float = 0.6) -> list[float]:
        how = WeightedMerge(MergeSettings(method=method, density=density), default_weights(method, 2), seed=3)
        out = tmp_path / f"{method}-{density}"
        merge_weights(base, [one, two], out, how)
        found = load_file(out / "model.safetensors")
        assert torch.equal(found["ids"], torch.tensor([1, 2]))
        return [round(each, 4) for each in (found["w"] - 1).tolist()]

    assert update("linear") == [3.0, -1.0, -3.0, 0.15, 0.0]
    # Of each update the three largest; in the second element the sign of -5 wins over that of 3.
    assert update("ties") == [3.0, -5.0, -3.0, 0.0, 0.0]
    # Nothing is dropped: the mean, and the mean of those with the winning sign.
    assert update("dare_linear", 1.0) == [3.0, -1.0, -3.0, 0.15, 0.0]
    dropped = update("dare_linear", 0.5)
    # What is kept counts twice, so that its expectation stays.
    for value, first, second in zip(dropped, [4, 3, -2, 0.1, 0], [2, -5, -4, 0.2, 0], strict=True):
        assert any(value == pytest.approx(x * first + y * second) for x in (0, 1) for y in (0, 1))


@pytest.mark.parametrize("method", METHODS)
def test_a_merged_adapter_and_its_merged_weights_are_one_policy(
    method: MergeMethod, base: Path, adapters: list[Path], tmp_path: Path
) -> None:
    out = merged(method, base, adapters, tmp_path)
    merge(base, tmp_path / "adapter", tmp_path / "again")
    assert file_sum(out / "model.safetensors") == file_sum(tmp_path / "again" / "model.safetensors")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["r"] == 8 and len(load_file(tmp_path / "adapter" / ADAPTER_WEIGHTS)) == 28
    assert (out / "chat_template.jinja").is_file()


def test_linear_is_the_same_of_adapters_and_of_weights(
    base: Path, adapters: list[Path], policies: list[Path], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    by_adapter = weights(merged("linear", base, adapters, tmp_path / "a"))
    by_weights = weights(merged("linear", base, policies, tmp_path / "b"))
    one, two, own = weights(policies[0]), weights(policies[1]), weights(base)
    for name, tensor in by_weights.items():
        assert torch.allclose(tensor, (one[name] + two[name]) / 2, atol=1e-6)
        assert torch.allclose(tensor, by_adapter[name], atol=1e-5)
    assert any(not torch.equal(tensor, own[name]) for name, tensor in by_weights.items())


@pytest.mark.parametrize("method", ["ties", "dare_ties"])
def test_ties_of_adapters_is_that_of_their_updates_as_far_as_the_rank_reaches(
    method: MergeMethod, base: Path, adapters: list[Path], policies: list[Path], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    # At full rank nothing is cut off, and with nothing dropped both are the same sum.
    by_adapter = weights(merged(method, base, adapters, tmp_path / "a", density=1.0, rank=32))
    by_weights = weights(merged(method, base, policies, tmp_path / "b", density=1.0))
    own = weights(base)
    for name, tensor in by_weights.items():
        assert torch.allclose(tensor - own[name], by_adapter[name] - own[name], atol=1e-4), name


# -- determinism and layout


def test_the_seed_decides_what_is_dropped_and_the_cut_into_files_does_not(
    base: Path, policies: list[Path], tmp_path: Path
) -> None:
    sharded = []
    for number, policy in enumerate((base, *policies)):
        model = AutoModelForCausalLM.from_pretrained(policy)
        model.save_pretrained(tmp_path / f"sharded-{number}", max_shard_size="40KB")
        shutil.copyfile(base / "tokenizer.json", tmp_path / f"sharded-{number}" / "tokenizer.json")
        for name in ("tokenizer_config.json", "chat_template.jinja"):
            shutil.copyfile(base / name, tmp_path / f"sharded-{number}" / name)
        sharded.append(tmp_path / f"sharded-{number}")
    assert len(list(sharded[0].glob("*.safetensors"))) > 1
    found = {}
    for name, (own, of, seed) in {
        "whole": (base, policies, 5), "again": (base, policies, 5), "cut": (sharded[0], sharded[1:], 5),
        "other": (base, policies, 6),
    }.items():  # fmt: skip
        (tmp_path / name).mkdir()
        found[name] = weights(merged("dare_ties", own, of, tmp_path / name, seed=seed))
    assert all(torch.equal(found["whole"][name], found["again"][name]) for name in found["whole"])
    assert all(torch.equal(found["whole"][name], found["cut"][name]) for name in found["whole"])
    assert not all(torch.equal(found["whole"][name], found["other"][name]) for name in found["whole"])


def test_what_does_not_fit_is_refused(base: Path, policies: list[Path], tmp_path: Path) -> None:
    other = make_tiny_model(tmp_path / "other", hidden=64)
    fewer = make_tiny_model(tmp_path / "fewer", layers=1)
    settings = MergeSettings()
    for of, sentence in (
        ([policies[0]], "one policy to merge where two"),
        ([policies[0], other], "in the shape"),
        ([policies[0], fewer], "other tensors than"),
        ([base, base], "changed the weights of .* by 0"),
    ):
        (out := tmp_path / "out").mkdir()
        with pytest.raises(SalusError, match=sentence):
            merged_policy(settings, base, of, (), 0, out)
        shutil.rmtree(out)
    with pytest.raises(SalusError, match="1 weights for 2 policies"):
        merged_policy(settings, base, policies, (1.0,), 0, tmp_path)


# -- the challenger of a cycle


def run_with(root: Path, adapters: list[Path], names: tuple[str, ...]) -> RunFolder:
    """A run of which these challengers of the first cycle were trained."""
    folder = RunFolder(root)
    for name, adapter in zip(names, adapters, strict=False):
        output = folder.training(1, name)
        shutil.copytree(adapter, output / "adapter")
        report = TrainReport(
            rows=1, steps=1, train_s=1, wall_s=1, workers=1, trainable_parameters=1, adapter_change=1, metrics={},
            algorithm="kto", cycle=1, challenger=folder.challenger(1, name), adapter=str(output / "adapter"),
        )  # fmt: skip
        write_finished(output / "report.json", MadeFrom(assignment={"name": name}, settings={}), report)
    return folder


def test_a_cycles_challengers_are_merged_once_and_leave_what_a_trained_one_leaves(
    base: Path, adapters: list[Path], tmp_path: Path
) -> None:
    folder = run_with(tmp_path, adapters, ("kto", "dpo"))
    champion, config = PolicyRef(version="c0-base", path=str(base)), MergeConfig(weights={"kto": 0.75, "dpo": 0.25})
    report = merge_challengers(config, folder, 1, champion, ("kto", "dpo"), 7)
    assert report is not None and report == read_report(folder, 1, MERGE)
    assert (report.name, report.algorithm, report.challenger) == (MERGE, MERGE, folder.challenger(1, MERGE))
    output = folder.training(1, MERGE)
    assert {path.name for path in output.iterdir()} == {"adapter", "report.json", "assignment.json"}
    assert str(tmp_path) not in (output / "report.json").read_text() + (output / "assignment.json").read_text()
    written = (output / "report.json").stat().st_mtime_ns
    assert merge_challengers(config, folder, 1, champion, ("kto", "dpo"), 7) == report
    assert (output / "report.json").stat().st_mtime_ns == written
    other = config.model_copy(update={"method": "ties"})
    assert merge_challengers(other, folder, 1, champion, ("kto", "dpo"), 7) != report


def test_one_trained_challenger_is_nothing_to_merge(base: Path, adapters: list[Path], tmp_path: Path) -> None:
    folder = run_with(tmp_path, adapters, ("kto",))
    champion = PolicyRef(version="c0-base", path=str(base))
    assert merge_challengers(MergeConfig(), folder, 1, champion, ("kto", "dpo"), 7) is None
    assert not folder.training(1, MERGE).exists()


def test_whole_weights_are_merged_of_challengers_that_have_adapters_alone(
    base: Path, adapters: list[Path], tmp_path: Path
) -> None:
    folder = run_with(tmp_path, adapters, ("kto", "dpo"))
    champion = PolicyRef(version="c0-base", path=str(base))
    report = merge_challengers(MergeConfig(of="weights"), folder, 1, champion, ("kto", "dpo"), 7)
    output = folder.training(1, MERGE)
    assert report is not None and report.adapter == str(output / "merged")
    assert {path.name for path in output.iterdir()} == {"merged", "report.json", "assignment.json"}
    assert rms_change_on_disk(base, output / "merged") > 0
