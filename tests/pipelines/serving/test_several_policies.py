"""Several policies behind one endpoint: what settings say of them, and how each is started and followed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pydantic import BaseModel

from actors.contract.records import PolicyRef
from actors.errors import SalusError
from actors.serve.audit_log import AuditLog
from actors.serve.publication_audit import outcomes
from pipelines.registry.store import AUDIT, Registry
from pipelines.serving.named import NamedPolicy, PoliciesTogether
from pipelines.serving.routed import check_registries, fit_of, routed_cpus
from pipelines.serving.settings import ServeSettings, chosen_settings, load_settings
from pipelines.serving.status import endpoints
from tests.pipelines.serving.test_following import Recorder

YAML = """
publish: {replicas: 1, cpus_per_replica: 2, feedback: {folder: feedback}}
policies:
  clinic:
    registry: clinics
    publish: {max_model_len: 256}
    engines:
      "big-*": {replicas: 3, max_model_len: 64}
  ward: {policy: demo-s7-c1}
"""


class NamedRecorder(Recorder):
    """A recorder that can be asked and ended."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:8000 (model clinic)")
        self.ended = False

    def served_version(self) -> str:
        return self.live[-1]

    def stop(self) -> None:
        self.ended = True


def settings_in(folder: Path, text: str = YAML) -> tuple[ServeSettings, Path]:
    file = folder / "serve.yaml"
    file.write_text(text)
    return load_settings(file), file


class TestSettings:
    def test_each_policy_has_the_engine_it_needs(self, tmp_path: Path) -> None:
        settings, _ = settings_in(tmp_path)
        assert settings.routed and settings.publish.proxy == "haproxy"
        clinic = settings.fit("clinic", "demo-s7-c2")
        assert (clinic.model_id, clinic.max_model_len, clinic.replicas, clinic.router) == ("clinic", 256, 1, True)
        big = settings.fit("clinic", "big-1")
        assert (big.max_model_len, big.replicas) == (64, 3)
        assert settings.fit("ward", "big-1").replicas == 1

    def test_feedback_of_one_model_is_kept_from_that_of_others(self, tmp_path: Path) -> None:
        settings, _ = settings_in(tmp_path)
        assert settings.fit("ward", "v").feedback.folder == Path("feedback/ward")
        alone = load_settings(None, ["publish.router=true", "publish.feedback.folder=feedback"])
        assert alone.fit("salus", "v").feedback.folder == Path("feedback")

    def test_one_policy_may_have_a_router_and_engines_too(self) -> None:
        settings = load_settings(None, ["publish.router=true", "engines={wide-*: {max_model_len: 64}}"])
        assert settings.fit("salus", "wide-1").max_model_len == 64
        assert settings.fit("salus", "narrow-1").engine.longest == 512
        assert not load_settings(None).routed

    @pytest.mark.parametrize(
        ("override", "sentence"),
        [
            ("engines={a: {replicas: 2}}", r"set publish\.router=true as well"),
            ("policies.clinic.registy=x", r"unknown key 'policies\.clinic\.registy', did you mean 'registry'"),
            ("policies.clinic.publish.port=1", r"unknown key 'policies\.clinic\.publish\.port'"),
            ("policies={a/b: {}}", r"policies"),
            ("policies.clinic.lora=true", r"policies\.clinic\.lora=true needs a version for good"),
            ("policies.clinic={policy: v, lora: true, publish: {replicas: 2}}", r"shares an engine with others"),
            ("policies.clinic={policy: v, lora: true, engines: {a: {replicas: 2}}}", r"shares an engine with others"),
        ],
    )
    def test_what_does_not_fit_is_said(self, override: str, sentence: str) -> None:
        with pytest.raises(SalusError, match=sentence):
            load_settings(None, [override])

    def test_there_is_room_for_one_application_more(self, tmp_path: Path) -> None:
        settings, _ = settings_in(tmp_path)
        # The clinic's largest, the ward's, and the largest once more.
        assert routed_cpus(settings) == 3 * 2 + 2 + 3 * 2
        assert routed_cpus(load_settings(None, ["publish.router=true", "publish.replicas=2"])) == 4

    def test_what_a_version_needs_is_read_again_and_nothing_else(self, tmp_path: Path) -> None:
        settings, file = settings_in(tmp_path)
        fit = fit_of(settings, lambda: load_settings(file), "clinic")
        new = PolicyRef(version="new-1", path="")
        assert fit(new).replicas == 1
        file.write_text(
            YAML.replace("publish: {replicas: 1,", "publish: {port: 1234, replicas: 2,").replace("big-", "new-")
        )
        again = fit(new)
        assert (again.replicas, again.max_model_len, again.port) == (3, 64, settings.publish.port)
        assert fit(PolicyRef(version="old-1", path="")).replicas == 2
        file.write_text("publish: {replica: 1}")
        with pytest.raises(SalusError, match="unknown key"):
            fit(new)

    def test_two_that_follow_one_registry_are_refused(self, tmp_path: Path) -> None:
        one, other = Registry(tmp_path / "one"), Registry(tmp_path / "other")
        settings = load_settings(None, ["policies={a: {}, b: {}, c: {policy: x}}"])
        with pytest.raises(SalusError, match=r"a and b follow the same registry .*policies\.NAME\.policy"):
            check_registries(settings, {"a": one, "b": one, "c": one})
        check_registries(settings, {"a": one, "b": other, "c": one})

    def test_policies_of_the_command_line(self) -> None:
        settings, first = chosen_settings(None, [], ["clinic=demo-1", "ward=demo-2"])
        assert first is None and {name: each.policy for name, each in settings.policies.items()} == {
            "clinic": "demo-1",
            "ward": "demo-2",
        }
        settings, first = chosen_settings(None, [], ["demo-1"])
        assert (settings.routed, first) == (False, "demo-1")
        for wrong in (["demo-1", "demo-2"], ["demo-1", "ward=demo-2"]):
            with pytest.raises(SalusError, match="want names"):
                chosen_settings(None, [], wrong)
        with pytest.raises(SalusError, match=r"--policy NAME=demo-1"):
            chosen_settings(None, ["policies.ward.policy=x"], ["demo-1"])


class TestNamedPolicy:
    def test_a_fixed_version_stays_and_no_rollback_waits_for_it(
        self, registry: Registry, versions: Sequence[str]
    ) -> None:
        base, kto, _ = versions
        registry.promote(base, "")
        recorder = NamedRecorder()
        policy = NamedPolicy("clinic", registry, recorder, print, fixed="demo-s7-c1")
        assert policy.start() == kto
        registry.promote(kto, "")
        policy.step()
        assert recorder.live == [kto] and endpoints(registry.root) == []
        deeds = [
            each.entry for each in outcomes(AuditLog(registry.root / AUDIT).readable()[0]) if each.entry is not None
        ]
        assert [(deed.version, deed.outcome, deed.endpoint) for deed in deeds[1:2]] == [(kto, "done", recorder.url)]
        policy.end()
        assert recorder.ended

    def test_one_that_does_not_start_is_tried_again_when_its_registry_changes(
        self, registry: Registry, versions: Sequence[str]
    ) -> None:
        base, kto, dpo = versions
        registry.promote(base, "")
        said: list[str] = []
        recorder = NamedRecorder()
        recorder.unfit = {base, kto}
        policy = NamedPolicy("clinic", registry, recorder, said.append)
        assert policy.start() is None
        policy.step()
        assert said == [f"clinic: it is not up: {base} does not fit."]
        registry.promote(kto, "")
        policy.step()
        registry.promote(dpo, "")
        policy.step()
        assert recorder.live == [dpo]
        assert said[1:] == [f"clinic: it is not up: {kto} does not fit.", f"clinic: {dpo} is live"]

    def test_it_follows_its_registry(self, registry: Registry, versions: Sequence[str]) -> None:
        base, kto, _ = versions
        registry.promote(base, "")
        recorder = NamedRecorder()
        policy = NamedPolicy("clinic", registry, recorder, print)
        policy.start()
        registry.promote(kto, "")
        policy.step()
        assert recorder.live == [base, kto]
        (status,) = endpoints(registry.root)
        assert (status.url, status.version) == (recorder.url, kto)
        policy.end()
        assert endpoints(registry.root) == []


class TestTogether:
    def test_one_that_fails_or_takes_long_keeps_no_other_back(
        self, registry: Registry, versions: Sequence[str], tmp_path: Path
    ) -> None:
        base, kto, _ = versions
        registry.promote(base, "")
        slow, quick, broken = Slow(), NamedRecorder(), NamedRecorder()
        broken.unfit = {base}
        policies = [
            NamedPolicy("slow", registry, slow, print),
            NamedPolicy("broken", registry, broken, print, fixed=base),
            NamedPolicy("quick", registry, quick, print),
        ]
        together = PoliciesTogether(policies, 0.01, print)
        assert together.start() == {"slow": base, "quick": base}
        together.follow()
        registry.promote(kto, "")
        deadline = time.monotonic() + 60
        while quick.live != [base, kto]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert slow.live == [base]
        slow.go.set()
        together.end()
        assert slow.live == [base, kto]
        assert slow.ended and quick.ended and broken.ended

    def test_none_at_all_ends_it(self, registry: Registry, versions: Sequence[str]) -> None:
        recorder = NamedRecorder()
        recorder.unfit = set(versions)
        said: list[str] = []
        together = PoliciesTogether([NamedPolicy("a", registry, recorder, said.append, fixed=versions[0])], 1, print)
        with pytest.raises(SalusError, match="None of the policies is up"):
            together.start()
        assert said == [f"a: it is not up: {versions[0]} does not fit."]


class Slow(NamedRecorder):
    """Its second publication takes until it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.url = "http://127.0.0.1:8000 (model slow)"
        self.go = threading.Event()

    def publish(
        self, policy: PolicyRef, cycle: int, *, trial: bool = True, wanted: Callable[[], bool] = lambda: True
    ) -> BaseModel:
        if self.live:
            assert self.go.wait(10)
        return super().publish(policy, cycle, trial=trial, wanted=wanted)
