"""Adapters: what is refused, and that merging writes a whole policy with the change in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from actors.errors import SalusError
from actors.training.adapter import check_adapter, copy_companions, merge, settle_config
from actors.training.merging.adapters import combine
from tests.tiny_adapter import make_tiny_adapter
from tests.tiny_model import make_tiny_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("adapter") / "base")


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    """An adapter on `base` whose update is not zero."""
    return make_tiny_adapter(base, tmp_path / "adapter", r=4, lora_alpha=8)


def edit_config(adapter: Path, **changes: object) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def add_pickle(adapter: Path) -> None:
    (adapter / "adapter_model.bin").write_bytes(b"\x80\x04.")


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "whole modules": (lambda a: edit_config(a, modules_to_save=["lm_head"]), r"\(lm_head, modules_to_save\)"),
    "biases": (lambda a: edit_config(a, bias="all"), r"bias=all"),
    "another kind": (lambda a: edit_config(a, peft_type="PREFIX_TUNING"), r"of type PREFIX_TUNING, not LORA"),
    "a pickle": (add_pickle, r"pickle files \(adapter_model\.bin\)"),
    "no config": (lambda a: (a / "adapter_config.json").unlink(), r"has no adapter_config\.json"),
    "a broken config": (lambda a: (a / "adapter_config.json").write_text("{"), r"is not valid JSON"),
    "a config that is a list": (lambda a: (a / "adapter_config.json").write_text("[]"), r"no JSON object"),
    "no weights": (
        lambda a: (a / "adapter_model.safetensors").unlink(),
        r"has no adapter_model\.safetensors",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_adapter_that_cannot_be_served_is_refused(adapter: Path, fault: str) -> None:
    spoil, sentence = FAULTS[fault]
    spoil(adapter)
    with pytest.raises(SalusError, match=sentence):
        check_adapter(adapter)


def test_a_good_adapter_passes(adapter: Path) -> None:
    check_adapter(adapter)


def test_a_config_is_the_same_wherever_it_was_written(adapter: Path) -> None:
    modules = ["self_attn.q_proj", "mlp.up_proj", "mlp.down_proj"]
    written = set()
    for order in (modules, modules[::-1]):
        edit_config(adapter, target_modules=order, base_model_name_or_path=f"/cache/of/{order[0]}")
        settle_config(adapter, "model:policy")
        written.add((adapter / "adapter_config.json").read_bytes())
    (config,) = (json.loads(text) for text in written)
    assert config["target_modules"] == sorted(modules)
    assert config["base_model_name_or_path"] == "model:policy"
    check_adapter(adapter)


def test_a_missing_adapter_is_named(tmp_path: Path) -> None:
    with pytest.raises(SalusError, match=rf"no adapter folder {tmp_path}/none"):
        check_adapter(tmp_path / "none")


def test_merging_writes_a_whole_policy_with_the_change(base: Path, adapter: Path, tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    merge(base, adapter, merged)
    before, after = (AutoModelForCausalLM.from_pretrained(folder) for folder in (base, merged))
    changed = [name for name, old in before.state_dict().items() if not torch.equal(old, after.state_dict()[name])]
    assert len(changed) == 14  # Seven linear layers in each of two blocks; head and embeddings stay.
    assert before.dtype == after.dtype
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        assert (merged / name).read_bytes() == (base / name).read_bytes()
    assert AutoTokenizer.from_pretrained(merged).chat_template
    assert not list(merged.glob("*.bin"))


def test_merging_keeps_the_stored_dtype(base: Path, adapter: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(half)
    copy_companions(base, half)
    merge(half, adapter, tmp_path / "merged")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto").dtype == torch.bfloat16


def test_an_adapter_of_another_model_does_not_merge(adapter: Path, tmp_path: Path) -> None:
    wider = make_tiny_model(tmp_path / "wider", hidden=64)
    with pytest.raises(SalusError, match="does not fit the model"):
        merge(wider, adapter, tmp_path / "merged")


CHAINS: dict[str, tuple[dict[str, Any], ...]] = {
    "ranks and scalings": ({"r": 8, "lora_alpha": 4}, {"r": 2, "lora_alpha": 16}, {"r": 4, "lora_alpha": 4}),
    "scaled by the rank's root": ({"use_rslora": True}, {"use_rslora": True, "r": 4}),
    "root first, plain after": ({"use_rslora": True}, {"use_rslora": False}),
    "a rank for one layer": ({"rank_pattern": {"v_proj": 12}, "alpha_pattern": {"v_proj": 3}}, {}),
    "other layers": ({"target_modules": ["q_proj", "down_proj"]}, {"target_modules": ["v_proj", "q_proj"]}),
    "embeddings": ({"target_modules": ["embed_tokens", "q_proj"]}, {"target_modules": ["embed_tokens"]}),
}


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("chain", CHAINS)
def test_a_combined_adapter_is_all_of_them_merged_in_turn(base: Path, tmp_path: Path, chain: str) -> None:
    model, adapters = base, []
    for number, settings in enumerate(CHAINS[chain]):
        adapters.append(make_tiny_adapter(model, tmp_path / f"adapter-{number}", number, **settings))
        merge(model, adapters[-1], tmp_path / f"merged-{number}")
        model = tmp_path / f"merged-{number}"
    # No weights of the model are at hand.
    (tmp_path / "config").mkdir()
    shutil.copyfile(base / "config.json", tmp_path / "config" / "config.json")
    combine(tmp_path / "config", adapters, tmp_path / "combined")
    check_adapter(tmp_path / "combined")
    ids = torch.arange(7, 60)[None]
    with torch.no_grad():
        adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "combined")(ids)
        merged = AutoModelForCausalLM.from_pretrained(model)(ids)
        before = AutoModelForCausalLM.from_pretrained(base)(ids)
    largest = float(merged.logits.abs().max())
    assert torch.allclose(adapted.logits, merged.logits, rtol=0, atol=1e-5 * largest)
    assert not torch.allclose(before.logits, merged.logits, rtol=0, atol=0.01 * largest)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"use_dora": True}, "has use_dora, which cannot be combined"),
        ({"modules_to_save": ["lm_head"]}, "carries whole modules"),
        ({"target_modules": ["c_attn"]}, r"cannot be combined \(.*c_attn.*\); use merged weights instead"),
    ],
)
def test_what_cannot_be_combined_is_refused(
    base: Path, adapter: Path, tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    other = make_tiny_adapter(base, tmp_path / "other", seed=1)
    edit_config(other, **changes)
    with pytest.raises(SalusError, match=sentence):
        combine(base, [adapter, other], tmp_path / "combined")
