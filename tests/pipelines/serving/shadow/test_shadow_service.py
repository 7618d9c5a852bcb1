"""Which challenger `salus serve` is told of, what its engine is like, and what is refused; the real one: e2e."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.serve.config import PublisherConfig
from actors.serve.shadow.config import ShadowConfig
from pipelines.registry.store import Registry
from pipelines.serving.settings import load_settings
from pipelines.serving.shadow.service import ShadowService, find_challenger, shadow_engine


def test_a_challenger_is_a_version_a_folder_or_one_of_a_run(
    registry: Registry, versions: Sequence[str], run: RunFolder
) -> None:
    base, _, dpo = versions
    assert find_challenger(dpo, registry).version == dpo
    assert (Path(find_challenger(dpo, registry).path) / "model.safetensors").is_file()
    of_run = find_challenger(str(run.root / "c1-kto"), registry)
    assert of_run == run.challenger(1, "kto")
    by_folder = find_challenger(of_run.path, registry)
    assert (by_folder.version, by_folder.path) == ("merged", of_run.path)
    assert find_challenger(base, registry).version == base


def test_a_challenger_that_is_none_is_refused(registry: Registry, versions: Sequence[str], run: RunFolder) -> None:
    with pytest.raises(SalusError, match="has no policy 'c9-nothing'"):
        find_challenger("c9-nothing", registry)
    with pytest.raises(SalusError, match="does not exist"):
        find_challenger(str(run.root / "c2-kto"), registry)
    with pytest.raises(SalusError, match=r"has no config\.json"):
        find_challenger(str(run.root), registry)
    dpo_of_run = Path(run.challenger(2, "dpo").path)
    dpo_of_run.rename(dpo_of_run.with_name("away"))
    with pytest.raises(SalusError, match=r"c2-dpo did not win its cycle, .* its adapter alone, /.*/adapter"):
        find_challenger(str(run.root / "c2-dpo"), registry)
    dpo_of_run.with_name("away").rename(dpo_of_run)
    weights = Path(find_challenger(versions[1], registry).path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\1\2\3")
    with pytest.raises(SalusError, match="are not what was registered"):
        find_challenger(versions[1], registry)


def test_its_engine_is_like_a_replicas() -> None:
    publish = PublisherConfig(dtype="bfloat16", max_model_len=1024, enforce_eager=False)
    engine = shadow_engine(ShadowConfig(policy="x", batch=8, cpus=2), publish)
    assert (engine.dtype, engine.max_model_len, engine.enforce_eager) == ("bfloat16", 1024, False)
    assert (engine.device, engine.max_num_seqs, engine.threads, engine.tensor_parallel) == ("cpu", 8, 2, 1)
    four = shadow_engine(ShadowConfig(policy="x", gpus=4), publish)
    shared = shadow_engine(ShadowConfig(policy="x", gpus=0.5, gpu_memory_utilization=0.4), publish)
    assert (four.device, four.tensor_parallel) == ("cuda", 4)
    assert (shared.device, shared.tensor_parallel, shared.gpu_memory_utilization) == ("cuda", 1, 0.4)


def test_settings_turn_it_on_and_it_is_off_without() -> None:
    assert load_settings(None).shadow is None
    shadow = load_settings(None, ["shadow.policy=demo-s7-c2", "shadow.share=.2"]).shadow
    assert shadow is not None and (shadow.policy, shadow.share, shadow.consent) == ("demo-s7-c2", 0.2, "opt_in")
    with pytest.raises(SalusError, match=r"shadow\.policy"):
        load_settings(None, ["shadow.share=.2"])
    with pytest.raises(SalusError, match=r"unknown key 'shadow\.sahre', did you mean 'share'"):
        load_settings(None, ["shadow.policy=x", "shadow.sahre=.2"])


def test_without_a_section_there_is_no_shadow(registry: Registry) -> None:
    said: list[str] = []
    service = ShadowService(None, registry, PublisherConfig(), "namespace", said.append)
    assert service.start() is None
    service.step()
    service.stop()
    assert said == []


def test_a_folder_that_cannot_be_made_is_a_sentence(
    registry: Registry, versions: Sequence[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    config = ShadowConfig(policy=versions[2], folder=tmp_path / "file" / "shadow")
    service = ShadowService(config, registry, PublisherConfig(), "namespace", lambda line: None)
    with pytest.raises(SalusError, match=r"shadow\.folder .* cannot be made"):
        service.start()


def test_a_damaged_generation_config_is_told_before_anything_starts(
    registry: Registry, versions: Sequence[str], run: RunFolder
) -> None:
    challenger = Path(run.challenger(2, "dpo").path)
    (challenger / "generation_config.json").write_text("[]")
    with pytest.raises(SalusError, match=r"generation_config\.json is no generation config"):
        ShadowService(ShadowConfig(policy=str(challenger)), registry, PublisherConfig(), "namespace", lambda line: None)
