"""Model folders of other layouts in vLLM: the tokens of transformers, and one sentence where it cannot start."""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from openai import OpenAI
from safetensors.torch import load_file, save_file

from actors.contract.records import PolicyRef
from actors.engine.chat import chat_tokens
from actors.engine.chat_format import ChatFormat, write_deployed
from actors.engine.config import EngineConfig
from actors.engine.port import Sampling
from actors.engine.tokenizer import hugging_face_tokenizer
from actors.engine.vllm import VllmEngine
from actors.errors import SalusError
from actors.serve.config import PublisherConfig
from actors.serve.gateway.config import GatewayConfig
from actors.serve.publisher.publisher import Publisher
from pipelines.cluster.session import embedded_ray
from pipelines.config.cluster import ClusterConfig
from tests.e2e.conftest import TINY
from tests.free_port import free_port
from tests.model_cases import broken_models, families, needs_cases, vision_model
from tests.root import ROOT
from tests.tiny_model import make_tiny_model
from tests.transformers_engine import TransformersEngine

pytestmark = [pytest.mark.e2e, pytest.mark.slow, needs_cases]

CONFIG = EngineConfig(max_model_len=128, kv_cache_gib=0.0625)
GREEDY = Sampling(k=1, temperature=0.0, max_tokens=12)
MISTRALS = {
    "q_proj": "wq",
    "k_proj": "wk",
    "v_proj": "wv",
    "o_proj": "wo",
    "self_attn": "attention",
    "mlp": "feed_forward",
    "gate_proj": "w1",
    "down_proj": "w2",
    "up_proj": "w3",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "embed_tokens": "tok_embeddings",
    "lm_head": "output",
}
PROMPTS = ("How do I store insulin?", "[INST] Take it with food. [/INST]", "你好 😀")


def chat(**settings: Any) -> ChatFormat:
    return ChatFormat(date=datetime.date(2024, 7, 26), **settings)


def same_as_transformers(engine: VllmEngine, plain: PolicyRef) -> None:
    """Ids and greedy answers of an engine are those of transformers on the same model without other files."""
    expected = TransformersEngine(plain)
    prompts = [chat_tokens(expected.tokenizer, prompt) for prompt in PROMPTS]
    own = engine._llm.get_tokenizer()
    assert [chat_tokens(engine.tokenizer, prompt) for prompt in PROMPTS] == prompts
    assert [chat_tokens(own, prompt) for prompt in PROMPTS] == prompts
    seeds = [0] * len(prompts)
    # Decoded at once, a text loses the space that its first token begins with in some families.
    answers = [[[c.text.rstrip("\ufffd").lstrip(" ") for c in group] for group in each.generate(prompts, GREEDY, seeds)]
               for each in (engine, expected)]  # fmt: skip
    assert answers[0] == answers[1]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families(tmp_path_factory.mktemp("models"), "mistral", "qwen2", "llama")


@pytest.mark.parametrize(
    ("family", "asked"),
    [
        ("qwen2", chat()),
        ("qwen3", chat(template_kwargs={"enable_thinking": True})),
        ("qwen3", chat(template_kwargs={"enable_thinking": False})),
        ("gemma2", chat()),
        ("gemma3", chat()),
        ("mistral", chat()),
        ("phi3", chat()),
        ("neox", chat()),
        ("llama", chat(system_prompt="You are a nurse.")),
        ("dated", chat()),
        ("needssystem", chat(system_prompt="You are a nurse.")),
    ],
)
def test_every_family_answers_as_in_transformers(family: str, asked: ChatFormat, tmp_path: Path) -> None:
    deployed = tmp_path / "deployed"
    deployed.mkdir()
    write_deployed(families(tmp_path, family) / family, asked, deployed)
    policy = PolicyRef(version=family, path=str(deployed))
    same_as_transformers(VllmEngine(CONFIG, policy), policy)


def mistrals_names(folder: Path) -> dict[str, torch.Tensor]:
    """The weights as Mistral stores them: under its own names, its heads in another order."""
    config = json.loads((folder / "config.json").read_text())
    heads = {"wq": config["num_attention_heads"], "wk": config["num_key_value_heads"]}
    found: dict[str, torch.Tensor] = {}
    for name, weight in load_file(folder / "model.safetensors").items():
        parts = [MISTRALS.get(part, part) for part in name.removeprefix("model.").split(".")]
        for kind, count in heads.items():
            if kind in parts:
                wide, deep = weight.shape
                weight = weight.view(count, 2, wide // count // 2, deep).transpose(1, 2).reshape(wide, deep)
        found[".".join(parts)] = weight.contiguous()
    return found


def full_download(of: Path, folder: Path, tokenizer: str) -> Path:
    """A model's folder as it is on the hub, with Mistral's own weights, settings and tokenizer beside the others."""
    shutil.copytree(of, folder)
    save_file(mistrals_names(folder), folder / "consolidated.safetensors")
    (folder / tokenizer).write_text("{}")
    (folder / "params.json").write_text("{}")
    return folder


@pytest.mark.parametrize("tokenizer", ["tekken.json", "tokenizer.model.v3"])
def test_mistrals_own_layout_beside_is_not_read(root: Path, tokenizer: str, tmp_path: Path) -> None:
    folder = full_download(root / "mistral", tmp_path / "full", tokenizer)
    policy = PolicyRef(version="full", path=str(folder))
    plain = PolicyRef(version="plain", path=str(root / "mistral"))
    engine = VllmEngine(CONFIG, policy)
    assert engine._llm.get_tokenizer().encode("[INST] a") == hugging_face_tokenizer(folder).encode("[INST] a")
    same_as_transformers(engine, plain)
    engine.load(plain)
    engine.load(policy)
    same_as_transformers(engine, plain)


def test_a_vision_language_model_answers_texts(tmp_path: Path) -> None:
    pytest.importorskip("torchvision", reason="vLLM loads models that read images with it")
    policy = PolicyRef(version="vision", path=str(vision_model(tmp_path / "model")))
    engine = VllmEngine(CONFIG, policy)
    same_as_transformers(engine, policy)
    engine.load(policy.model_copy(update={"version": "again"}))
    same_as_transformers(engine, policy)


def test_a_template_that_only_processors_read_is_used(root: Path, tmp_path: Path) -> None:
    folder = broken_models(root, tmp_path) / "template_json"
    plain = PolicyRef(version="plain", path=str(root / "qwen2"))
    same_as_transformers(VllmEngine(CONFIG, PolicyRef(version="json", path=str(folder))), plain)


def test_an_engine_of_a_run_that_cannot_start_is_one_sentence_and_nothing_else(
    settings: list[str], tmp_path: Path
) -> None:
    folder = odd_model(tmp_path / "model")
    command = [sys.executable, "-m", "pipelines.cli.main", "align", str(TINY), "--run", str(tmp_path / "run")]
    changes = [*settings, f"model.path={folder}", "publish.enabled=false", "judge.regimen=RULES", "judge.truth=null"]
    sets = [part for each in changes for part in ("--set", each)]
    ended = subprocess.run([*command, *sets], cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert ended.returncode == 2, ended.stderr
    said = ended.stderr.splitlines()[-1]
    assert said.startswith("salus: An engine could not start: vLLM cannot start an engine with the model in")
    assert str(folder) in said
    for words in ("retries remaining", "Traceback"):
        assert words not in ended.stdout + ended.stderr


def odd_model(folder: Path) -> Path:
    """A model of a class that neither library has."""
    make_tiny_model(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["NobodysForCausalLM"]}))
    return folder


def test_what_vllm_cannot_start_is_one_sentence(tmp_path: Path) -> None:
    folder = odd_model(tmp_path / "model")
    with pytest.raises(SalusError, match="vLLM cannot start an engine with the model in") as caught:
        VllmEngine(CONFIG, PolicyRef(version="odd", path=str(folder)))
    assert str(folder) in caught.value.sentence and "\n" not in caught.value.sentence


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["tekken.json", "vision", "template_json"])
def test_the_endpoint_reads_the_same_tokens(root: Path, layout: str, tmp_path: Path) -> None:
    plain = PolicyRef(version="plain", path=str(root / {"tekken.json": "mistral"}.get(layout, "qwen2")))
    if layout == "vision":
        pytest.importorskip("torchvision", reason="vLLM loads models that read images with it")
        plain = policy = PolicyRef(version="vision", path=str(vision_model(tmp_path / "model")))
    elif layout == "template_json":
        policy = PolicyRef(version="json", path=str(broken_models(root, tmp_path) / layout))
    else:
        policy = PolicyRef(version="full", path=str(full_download(root / "mistral", tmp_path / "full", layout)))
    config = PublisherConfig(
        port=free_port(),
        cpus_per_replica=0.5,
        kv_cache_gib=0.0625,
        max_model_len=128,
        gateway=GatewayConfig(open=True, requests_per_minute=None),
    )
    expected = TransformersEngine(plain)
    prompts = [chat_tokens(expected.tokenizer, prompt) for prompt in PROMPTS]
    answers = [group[0].text for group in expected.generate(prompts, GREEDY, [0] * len(prompts))]
    with embedded_ray(ClusterConfig(logical_cpus=2), "models-test", 2, config):
        publisher = Publisher(config)
        publisher.start(policy)
        client = OpenAI(base_url=f"{publisher.url}/v1", api_key="none")
        try:
            for again in (False, True):
                if again:
                    publisher.publish(policy.model_copy(update={"version": "again"}), cycle=1)
                for prompt, ids, answer in zip(PROMPTS, prompts, answers, strict=True):
                    reply = client.chat.completions.create(
                        model="salus",
                        messages=[{"role": "user", "content": prompt}],
                        temperature=0,
                        max_tokens=GREEDY.max_tokens,
                        extra_body={"return_token_ids": True},
                    )
                    assert reply.model_dump()["prompt_token_ids"] == ids
                    assert (reply.choices[0].message.content or "").rstrip("\ufffd") == answer.rstrip("\ufffd")
        finally:
            publisher.stop()
