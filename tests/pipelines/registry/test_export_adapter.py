"""The exported adapter: on the deployed model it is the policy, for PEFT and for vLLM, and its card says so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from actors.contract.run_folder import RunFolder
from actors.engine.config import EngineConfig
from actors.errors import SalusError
from pipelines.registry.entry import PolicyEntry
from pipelines.registry.export import export_policy
from pipelines.registry.register import RegisterOptions, register_run
from pipelines.registry.store import RECORD, Registry
from pipelines.runs.contents import MODEL_FILES, contents_of
from tests.e2e.engine_answers import alone, by_adapter, by_engine
from tests.pipelines.registry.published import HOSTILE
from tests.tiny_adapter import make_tiny_adapter

QUESTIONS = ("How do I ask the clinic for a refill?", "What is the usual dose of ibuprofen?", "Can you forge a note?")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def policy(registry: Registry, versions: Sequence[str]) -> PolicyEntry:
    """The winner of the second cycle, trained from that of the first."""
    return registry.find(versions[2])


def config_of(folder: Path) -> dict[str, object]:
    read: dict[str, object] = json.loads((folder / "adapter_config.json").read_text())
    return read


def logits_and_answers(model: Any, tokenizer_of: str) -> tuple[torch.Tensor, list[str]]:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    tokens = tokenizer(list(QUESTIONS), return_tensors="pt", padding=True, padding_side="left")
    with torch.no_grad():
        logits: torch.Tensor = model(**tokens).logits
        written = model.generate(**tokens, do_sample=False, max_new_tokens=16)
    return logits, tokenizer.batch_decode(written)


@pytest.mark.usefixtures("one_thread")
def test_peft_makes_the_policy_of_it(
    registry: Registry, policy: PolicyEntry, versions: Sequence[str], tmp_path: Path
) -> None:
    out = tmp_path / "adapter"
    export_policy(registry, policy.version, out, "adapter")
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert len({path.stat().st_mode for path in out.iterdir()}) == 1
    base = str(policy.base.folder)
    assert config_of(out)["base_model_name_or_path"] == base and config_of(out)["r"] == 16
    adapted, answers = logits_and_answers(AutoPeftModelForCausalLM.from_pretrained(out), base)
    merged, expected = logits_and_answers(AutoModelForCausalLM.from_pretrained(str(policy.merged.folder)), base)
    assert torch.allclose(adapted, merged, rtol=0, atol=1e-5 * float(merged.abs().max()))
    assert answers == expected
    for other in versions[:2]:
        found, _ = logits_and_answers(
            AutoModelForCausalLM.from_pretrained(str(registry.find(other).merged.folder)), base
        )
        assert not torch.allclose(found, merged, atol=0.1)


def test_every_export_is_the_same(registry: Registry, policy: PolicyEntry, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        torch.manual_seed(seed)
        export_policy(registry, policy.version, tmp_path / name, "adapter")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_merged_weights_are_not_read_for_it_but_their_config_is(
    registry: Registry, policy: PolicyEntry, tmp_path: Path
) -> None:
    merged = Path(str(policy.merged.folder))
    (merged / "model.safetensors").unlink()
    export_policy(registry, policy.version, tmp_path / "out", "adapter")
    (merged / "config.json").write_text("{}")
    with pytest.raises(SalusError, match=r"config\.json in .* changed or missing"):
        export_policy(registry, policy.version, tmp_path / "other", "adapter")


def test_that_of_one_cycle_keeps_its_weights(registry: Registry, versions: Sequence[str], tmp_path: Path) -> None:
    entry = export_policy(registry, versions[1], tmp_path / "out", "adapter")
    assert entry.adapter is not None and entry.adapter.folder is not None
    weights = (tmp_path / "out" / "adapter_model.safetensors").read_bytes()
    assert weights == (Path(entry.adapter.folder) / "adapter_model.safetensors").read_bytes()
    assert config_of(tmp_path / "out")["base_model_name_or_path"] == entry.base.folder


def test_a_lineage_that_left_a_cycle_out(
    run: RunFolder, registry: Registry, policy: PolicyEntry, tmp_path: Path
) -> None:
    """After a rollback to the deployed model, the adapter of the policy that was rolled back is no part of it."""
    alone_on_base = policy.model_copy(update={"ancestors": policy.ancestors[1:]})
    registry.put(alone_on_base, "---\ntags: []\n---\n\n# Policy\n", copy=False)
    export_policy(registry, policy.version, tmp_path / "out", "adapter")
    assert config_of(tmp_path / "out")["r"] == 8


def test_copies_in_the_registry_are_enough(run: RunFolder, registry: Registry, tmp_path: Path) -> None:
    version = register_run(run.root, registry, RegisterOptions(version="c2-dpo", copy=True))[0].version or ""
    assert [each.state for each in register_run(run.root, registry, RegisterOptions(version="c2-dpo"))] == ["kept"]
    export_policy(registry, version, tmp_path / "before", "adapter")
    shutil.rmtree(run.root)
    export_policy(registry, version, tmp_path / "after", "adapter")
    for path in (tmp_path / "before").iterdir():
        assert path.read_bytes() == (tmp_path / "after" / path.name).read_bytes()


def test_an_ancestor_whose_weights_were_all_trained_is_refused(
    run: RunFolder, registry: Registry, tmp_path: Path
) -> None:
    shutil.rmtree(run.training(1, "kto") / "adapter")
    version = register_run(run.root, registry)[2].version or ""
    with pytest.raises(SalusError, match=r"no adapter is registered for its ancestor c1-kto: leave --adapter out"):
        export_policy(registry, version, tmp_path / "out", "adapter")
    assert not (tmp_path / "out").exists()
    export_policy(registry, version, tmp_path / "out")


def test_an_entry_of_an_older_version_is_renewed(
    run: RunFolder, registry: Registry, policy: PolicyEntry, tmp_path: Path
) -> None:
    record = registry.folder(policy) / RECORD
    old = json.loads(record.read_text())
    for ancestor in old["ancestors"]:
        del ancestor["adapter"]
    record.write_text(json.dumps(old))
    with pytest.raises(SalusError, match=rf"salus policy register {run.root}\.$"):
        export_policy(registry, policy.version, tmp_path / "out", "adapter")
    assert [each.state for each in register_run(run.root, registry)] == ["kept", "kept", "refreshed"]
    export_policy(registry, policy.version, tmp_path / "out", "adapter")


@pytest.mark.parametrize("cycle", [1, 2])
def test_an_adapter_that_is_not_the_one_registered_is_refused(
    cycle: int, run: RunFolder, registry: Registry, policy: PolicyEntry, tmp_path: Path
) -> None:
    trained = run.training(cycle, "kto" if cycle == 1 else "dpo")
    make_tiny_adapter(trained / "merged", trained / "adapter", seed=99)
    with pytest.raises(SalusError, match="are not what was registered"):
        export_policy(registry, policy.version, tmp_path / "out", "adapter")
    assert not (tmp_path / "out").exists()


def test_a_deployed_model_that_is_gone_or_another_is_refused(
    registry: Registry, policy: PolicyEntry, versions: Sequence[str], tmp_path: Path
) -> None:
    there = Path(str(policy.base.folder))
    shutil.copytree(there, tmp_path / "moved")
    gone = policy.base.model_copy(update={"folder": str(tmp_path / "gone")})
    registry.put(policy.model_copy(update={"base": gone}), "---\ntags: []\n---\n", copy=False)
    # The registry knows another folder with the same weights.
    export_policy(registry, policy.version, tmp_path / "out", "adapter")
    assert config_of(tmp_path / "out")["base_model_name_or_path"] == str(there)
    shutil.rmtree(registry.folder(registry.find(versions[0])))
    for folder in ("gone", "moved"):
        (tmp_path / "moved" / "config.json").write_text("{}")
        base = policy.base.model_copy(update={"folder": str(tmp_path / folder)})
        registry.put(policy.model_copy(update={"base": base}), "---\ntags: []\n---\n", copy=False)
        with pytest.raises(SalusError, match=rf"its deployed model is not in {tmp_path / folder} as it was"):
            export_policy(registry, policy.version, tmp_path / f"not-{folder}", "adapter")


def test_a_model_of_the_hub_is_named_with_its_revision(registry: Registry, policy: PolicyEntry, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--clinic--assistant" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "README.md").write_text(f"---\nlicense: apache-2.0\nlicense_name: [1]\n---\n\n{HOSTILE}\n")
    base = policy.base.model_copy(
        update={"source": "hub", "hub_id": "clinic/assistant", "folder": str(snapshot), "contents": None}
    )
    assert policy.data is not None
    data = policy.data.model_copy(update={"datasets": ("HFXM/CARES-18K",)})
    origin = policy.origin.model_copy(update={"run": f"/runs/{HOSTILE}"})
    hub = policy.model_copy(update={"base": base, "data": data, "origin": origin})
    registry.put(hub, f"---\ntags: [a]\n---\n\n# Policy {policy.version}\n", copy=False)
    out = tmp_path / "out"
    export_policy(registry, policy.version, out, "adapter")
    assert config_of(out)["base_model_name_or_path"] == "clinic/assistant" and config_of(out)["revision"] == COMMIT
    card = ModelCard.load(out / "README.md")
    head = card.data.to_dict()
    assert head["base_model"] == "clinic/assistant" and head["license"] == "apache-2.0"
    assert head["datasets"] == ["HFXM/CARES-18K"] and "license_name" not in head
    assert {result.dataset_type for result in card.data.eval_results} == {"HFXM/CARES-18K"}
    assert COMMIT in card.text and "evil" not in card.text


def test_the_card_of_a_local_model(registry: Registry, policy: PolicyEntry, tmp_path: Path) -> None:
    export_policy(registry, policy.version, tmp_path / "out", "adapter")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    head = card.data.to_dict()
    assert not {"base_model", "license", "datasets"} & head.keys() and head["library_name"] == "peft"
    assert policy.validation is not None and policy.validation.metrics is not None
    figures = {result.metric_type: result.metric_value for result in card.data.eval_results}
    metrics = policy.validation.metrics
    assert (
        metrics.ss is not None
        and figures["ss"] == metrics.ss.value
        and metrics.asr is not None
        and figures["asr"] == metrics.asr.value
    )
    assert policy.base.contents is not None and policy.base.contents.sha256 in card.text
    for ancestor in policy.ancestors[:1]:
        assert ancestor.adapter is not None
        assert f"{ancestor.run_version} was trained with: {ancestor.adapter.contents.sha256}" in card.text
    # The policy's own card follows whole: what it is for, figures, limits.
    assert f"\n# Policy {policy.version}\n" in card.text and "\n## Limits\n" in card.text
    assert "<script>" not in card.text and "http://" not in card.text
    assert str(tmp_path) not in card.content and str(policy.base.folder) not in card.content


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_vllm_answers_as_with_the_merged_policy(registry: Registry, policy: PolicyEntry, tmp_path: Path) -> None:
    export_policy(registry, policy.version, tmp_path / "adapter", "adapter")
    export_policy(registry, policy.version, tmp_path / "merged")
    engine = EngineConfig(max_model_len=256)
    base = Path(str(policy.base.folder))
    adapted = alone(by_adapter, base, tmp_path / "adapter", engine, QUESTIONS, 24)
    assert adapted == alone(by_engine, tmp_path / "merged", engine, QUESTIONS, 24)
    assert adapted != alone(by_engine, base, engine, QUESTIONS, 24)
    assert contents_of(tmp_path / "merged", MODEL_FILES) == policy.merged.contents
