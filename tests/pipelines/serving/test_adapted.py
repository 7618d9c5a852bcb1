"""Policies with `lora: true`: their adapters on disk, and which of them share an engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from actors.contract.records import PolicyRef
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.serve.audit_log import AuditLog
from actors.serve.publication_audit import outcomes
from pipelines.registry.store import AUDIT, Registry
from pipelines.serving.adapted import AdaptedPolicies, adapted_groups
from pipelines.serving.routed import routed_cpus
from pipelines.serving.settings import ServeSettings, load_settings


def settings_of(versions: Sequence[str], *more: str) -> ServeSettings:
    clinic, ward = versions[1:]
    named = [f"policies.clinic={{policy: {clinic}, lora: true}}", f"policies.ward={{policy: {ward}, lora: true}}"]
    return load_settings(None, ["publish.replicas=1", *named, *more])


def test_those_of_one_base_share_an_engine_and_leave_nothing(registry: Registry, versions: Sequence[str]) -> None:
    settings = settings_of(versions, f"policies.other={{policy: {versions[0]}}}")
    base = registry.find(versions[0])
    with adapted_groups(settings, registry.root) as (group,):
        assert group.base == registry.weights(base)[0]
        assert {name: (each.entry.version, each.rank) for name, each in group.policies.items()} == {
            "clinic": (versions[1], 8),
            # Its own and that of the policy it was trained from.
            "ward": (versions[2], 16),
        }
        for each in group.policies.values():
            config = json.loads((each.folder / "adapter_config.json").read_text())
            assert config["base_model_name_or_path"] == str(group.base)
        # The other's twice, and one engine for both.
        assert routed_cpus(settings, [group]) == 3
        places = [each.folder.parent for each in group.policies.values()]
        assert all(place.parent == registry.root for place in places)
    assert not any(place.exists() for place in places)


def test_a_policy_without_an_adapter_is_refused_before_anything_starts(
    registry: Registry, versions: Sequence[str]
) -> None:
    settings = load_settings(None, [f"policies.clinic={{policy: {versions[0]}, lora: true}}"])
    with (
        pytest.raises(SalusError, match=r"policies\.clinic\.lora=true does not go with this policy: .*no adapter"),
        adapted_groups(settings, registry.root),
    ):
        pass
    assert not list(registry.root.glob(".adapters-*"))


def test_an_adapter_that_vllm_would_not_serve_whole_is_refused(
    run: RunFolder, registry: Registry, versions: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(None, [f"policies.clinic={{policy: {versions[1]}, lora: true}}"])

    def with_modules(registry: Registry, version: str, out: Path, kind: str) -> None:
        out.mkdir(parents=True)
        (out / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "modules_to_save": ["lm_head"]}))

    monkeypatch.setattr("pipelines.serving.adapted.export_policy", with_modules)
    with (
        pytest.raises(SalusError, match=r"policies\.clinic\.lora=true .*modules_to_save"),
        adapted_groups(settings, registry.root),
    ):
        pass


class Engine:
    """Takes a base, or refuses it."""

    def __init__(self, fault: str | None = None) -> None:
        self.fault = fault
        self.up: list[str] = []

    def start(self, base: PolicyRef) -> None:
        if self.fault is not None:
            raise SalusError(self.fault)
        self.up.append(base.path)

    def stop(self) -> None:
        self.up.clear()


@pytest.mark.parametrize("fault", [None, "too few CPUs"])
def test_each_start_is_in_the_audit_log_with_what_came_of_it(
    registry: Registry, versions: Sequence[str], fault: str | None
) -> None:
    said: list[str] = []
    with adapted_groups(settings_of(versions), registry.root) as (group,):
        policies = AdaptedPolicies(group, Engine(fault), "http://here", said.append)  # type: ignore[arg-type]
        up = policies.start()
        policies.end()
    assert up == ({} if fault else {"clinic": versions[1], "ward": versions[2]})
    assert said == ([f"{name}: it is not up: too few CPUs" for name in ("clinic", "ward")] if fault else [])
    log = outcomes(AuditLog(registry.root / AUDIT).readable()[0])
    deeds = [each.entry for each in log if each.entry is not None]
    expected = "refused" if fault else "done"
    told = {(deed.version, deed.outcome, deed.endpoint) for deed in deeds}
    assert told == {
        (version, expected, f"http://here (model {name})")
        for name, version in zip(("clinic", "ward"), versions[1:], strict=True)
    }
