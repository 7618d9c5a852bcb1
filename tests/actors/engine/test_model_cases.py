"""Model folders as users have them: each that cannot be used is refused in one sentence, each that can be is taken."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from actors.engine.model_files import engine_folder, weight_files
from actors.engine.model_folder import check_model_folder, check_trainable
from actors.engine.tokenizer import check_asked_model, check_chat_model, check_chat_template, load_tokenizer
from actors.errors import SalusError
from tests.model_cases import broken_models, families, needs_cases, vision_model
from tests.tiny_model import make_tiny_model

pytestmark = needs_cases

USABLE = (
    "sharded",
    "consolidated",
    "gen_invalid",
    "template_list",
    "template_additional",
    "template_json",
    "short_context",
    "bf16",
    "a b #1 (ä) 50%",
    "link",
)
REFUSED = {
    "truncated": r"model\.safetensors is not a whole safetensors file .* copy or fetch it again",
    "missing_shard": r"lacks model-00002-of-00002\.safetensors, which model\.safetensors\.index\.json names",
    "lfs_pointer": r"model\.safetensors is a Git LFS pointer.*git lfs pull",
    "no_tokenizer": r"has no tokenizer; copy tokenizer\.json",
    "template_null": r"has no chat template; add chat_template\.jinja",
    "template_broken": r"cannot render a user's message \(Encountered unknown tag 'endfro'",
    "remote_code": r"brings its own code \(auto_map in its config\.json\)",
    "quantized": r"is quantized \(bitsandbytes\) and cannot be trained",
    "gptq": r"is quantized \(gptq\) and cannot be trained",
    "no_eos": r"writes nothing after an assistant's answer.*let it write one of </s> there",
    "config_bom": r"config\.json cannot be read \(Unexpected UTF-8 BOM",
}
FAMILIES = ("qwen2", "qwen3", "gemma2", "gemma3", "mistral", "phi3", "neox", "llama")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families(tmp_path_factory.mktemp("families"), *FAMILIES, "alpaca", "nogenprompt", "needssystem")


@pytest.fixture(scope="module")
def brought(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return broken_models(base, tmp_path_factory.mktemp("brought"))


@pytest.mark.parametrize("name", USABLE)
def test_a_folder_that_can_be_used_is_taken(brought: Path, name: str) -> None:
    check_chat_model(brought / name)


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_that_cannot_be_used_is_refused_with_the_cure(brought: Path, name: str) -> None:
    with pytest.raises(SalusError, match=REFUSED[name]) as caught:
        check_chat_model(brought / name)
    assert str(brought / name) in caught.value.sentence and "\n" not in caught.value.sentence


def test_every_case_is_told_of(brought: Path) -> None:
    assert {path.name for path in brought.iterdir()} == {*USABLE, *REFUSED}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_taken(base: Path, family: str) -> None:
    check_chat_model(base / family)


def test_a_template_without_an_end_is_refused(base: Path) -> None:
    with pytest.raises(SalusError, match=r"writes only '\\n\\n' after .* never stop; let it write one of <\|e"):
        check_chat_model(base / "alpaca")
    # A judge says one word, and needs no end.
    check_asked_model(base / "alpaca")


def test_a_template_that_never_begins_an_answer_is_refused(base: Path) -> None:
    with pytest.raises(SalusError, match=r"ignores add_generation_prompt.*<\|im_start\|>assistant"):
        check_chat_model(base / "nogenprompt")


def test_a_template_may_need_a_system_message_and_another_may_take_none(base: Path) -> None:
    with pytest.raises(SalusError, match=r"needs a system message; set model\.system_prompt"):
        check_chat_model(base / "needssystem")
    check_chat_model(base / "needssystem", system="You work for a clinic.")
    with pytest.raises(SalusError, match=r"cannot render a system message \(System role not supported\); leave"):
        check_chat_model(base / "gemma2", system="You work for a clinic.")


def test_a_quantized_model_may_judge(brought: Path) -> None:
    check_asked_model(brought / "gptq")
    with pytest.raises(SalusError, match="cannot be trained; give the folder of the 16-bit model"):
        check_trainable(brought / "gptq")


def test_a_template_is_the_same_in_every_place(base: Path, brought: Path) -> None:
    expected = load_tokenizer(base / "qwen2").chat_template
    for name in ("template_list", "template_additional", "template_json"):
        assert load_tokenizer(brought / name).chat_template == expected
        # As vLLM reads it.
        read = AutoTokenizer.from_pretrained(engine_folder(brought / name)).chat_template
        assert (read["default"] if isinstance(read, dict) else read) == expected


def test_mistrals_own_files_are_not_read(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mistral"
    shutil.copytree(base / "mistral", folder)
    expected = load_tokenizer(folder).encode("[INST] Hello [/INST]")
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    (folder / "tekken.json").write_text("{}")
    (folder / "tokenizer.model.v3").write_bytes(b"\n")
    check_chat_model(folder)
    assert weight_files(folder) == [folder / "model.safetensors"]
    assert load_tokenizer(folder).encode("[INST] Hello [/INST]") == expected
    seen = engine_folder(folder)
    assert {path.name for path in folder.iterdir()} - {path.name for path in seen.iterdir()} == {
        "consolidated.safetensors",
        "tekken.json",
        "tokenizer.model.v3",
    }
    assert engine_folder(base / "mistral") == base / "mistral"


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_tokens_outside_the_embedding_are_refused(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "model")
    rows = len(load_tokenizer(folder))
    check_chat_template(folder)
    edit(folder / "config.json", pad_token_id=rows)
    with pytest.raises(SalusError, match=rf"pad_token_id is {rows} in .*config\.json, but .* has {rows} rows"):
        check_model_folder(folder)
    edit(folder / "config.json", pad_token_id=-1)
    check_model_folder(folder)
    edit(folder / "generation_config.json", eos_token_id=[2, rows + 5])
    with pytest.raises(SalusError, match=rf"eos_token_id is {rows + 5} in .*generation_config\.json"):
        check_model_folder(folder)


def test_a_pad_token_that_was_added_without_an_embedding_is_refused(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "model")
    tokenizer = load_tokenizer(folder)
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "<new pad>"})
    tokenizer.save_pretrained(folder)
    check_model_folder(folder)
    with pytest.raises(SalusError, match=rf"has {rows} as pad_token, but the model's embedding has {rows} rows"):
        check_chat_template(folder)


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="vLLM can load a model that reads images")
def test_a_model_that_vllm_cannot_load_here_is_refused(tmp_path: Path) -> None:
    folder = vision_model(tmp_path / "model")
    # It can be trained; nothing could ask it.
    check_model_folder(folder)
    check_chat_template(folder)
    for check in (check_chat_model, check_asked_model):
        with pytest.raises(SalusError, match=r"also reads images, and vLLM loads it with torchvision, which is not"):
            check(folder)


def test_a_classifier_is_refused(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "model")
    edit(folder / "config.json", architectures=["LlamaForSequenceClassification"])
    with pytest.raises(SalusError, match=r"\(LlamaForSequenceClassification\) does not answer in a chat; give a dec"):
        check_model_folder(folder)


def test_code_beside_a_native_class_is_never_run(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "model")
    edit(folder / "config.json", auto_map={"AutoModelForCausalLM": "mine.Mine"})
    (folder / "mine.py").write_text("raise SystemExit('ran')")
    check_chat_model(folder)
    edit(folder / "config.json", architectures=["MineForCausalLM"])
    with pytest.raises(SalusError, match="brings its own code"):
        check_model_folder(folder)


def test_other_weights_beside_are_refused(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    save_file(weights, folder / "model.fp16.safetensors")
    with pytest.raises(SalusError, match=r"holds model\.fp16\.safetensors beside its weights"):
        check_model_folder(folder)
    (folder / "model.fp16.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    names = dict.fromkeys(weights, "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    with pytest.raises(SalusError, match=r"holds model\.safetensors beside its weights"):
        check_model_folder(folder)
    (folder / "model.safetensors").unlink()
    check_model_folder(folder)
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(SalusError, match=r"neither model\.safetensors nor model\.safetensors\.index\.json"):
        check_model_folder(folder)


def test_an_index_is_held_against_its_files(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "model")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"model.lost.weight": "model.safetensors"}}))
    with pytest.raises(SalusError, match=r"has no tensor model\.lost\.weight"):
        check_model_folder(folder)
    for bad in ("../model.safetensors", 1):
        index.write_text(json.dumps({"weight_map": {"model.norm.weight": bad}}))
        with pytest.raises(SalusError, match="does not name a file of this folder"):
            check_model_folder(folder)
