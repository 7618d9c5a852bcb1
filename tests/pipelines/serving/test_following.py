"""An endpoint that follows the registry, by a stand-in for the endpoint; the real one is in tests/e2e."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pydantic import BaseModel

from actors.contract.publication import PublicationRefusedError, RefusedPublication
from actors.contract.records import PolicyRef
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import write_text
from actors.serve.audit_log import AuditLog
from actors.serve.publication_audit import os_user, outcomes
from actors.serve.replica.scheme.asked import SCHEME_FILE, ServedScheme, read_scheme
from pipelines.config.load import load_recipe, save_recipe
from pipelines.registry.register import RegisterOptions, register_run
from pipelines.registry.store import AUDIT, SERVING, Registry
from pipelines.serving.follower import Follower
from pipelines.serving.rollback import roll_back
from pipelines.serving.settings import load_settings
from pipelines.serving.status import EndpointStatus, endpoints


class Recorder:
    """Keeps what it is told to serve; refuses versions that do not fit."""

    def __init__(self, url: str = "http://127.0.0.1:8000") -> None:
        self.url = url
        self.live: list[str] = []
        self.policies: list[PolicyRef] = []
        self.unfit: set[str] = set()
        # What does not pass a trial, and what was tried.
        self.unsound: set[str] = set()
        self.tried: list[str] = []
        self.in_canary: Callable[[], object] = lambda: None

    def start(self, policy: PolicyRef) -> BaseModel:
        return self.publish(policy, 0, trial=False)

    def publish(
        self, policy: PolicyRef, cycle: int, *, trial: bool = True, wanted: Callable[[], bool] = lambda: True
    ) -> BaseModel:
        if trial:
            self.tried.append(policy.version)
            self.in_canary()
            if not wanted():
                raise SalusError("another policy is wanted by now")
            if policy.version in self.unsound:
                why = f"{policy.version} loops."
                refusal = RefusedPublication(version=policy.version, step="smoke", refused=why, refused_at="2026")
                raise PublicationRefusedError(refusal)
        if policy.version in self.unfit:
            raise SalusError(f"{policy.version} does not fit.")
        assert (Path(policy.path) / "model.safetensors").is_file()
        self.live.append(policy.version)
        self.policies.append(policy)
        return policy


def following(registry: Registry, said: list[str]) -> tuple[Follower, Recorder]:
    recorder = Recorder()
    return Follower(registry, recorder, said.append, registry.clock), recorder


@pytest.fixture
def with_scheme(run: RunFolder, registry: Registry) -> list[str]:
    """Versions of a run whose recipe has two schemes, of which the last policy alone was measured with one."""
    recipe = load_recipe(str(run.recipe), ["schemes={careful: {system_prompt: Be careful.}, voted: {samples: 5}}"])
    save_recipe(recipe, run.recipe)
    scheme = ServedScheme(
        name="careful", system_prompt="Be careful.", suffix=None, few_shot=0, examples=(), answer_tokens=16
    )
    folder = run.scheme("careful", "c2-dpo")
    write_text(scheme.model_dump_json(), folder / SCHEME_FILE)
    write_text("{}", folder / "figures.json")
    return [each.version or "" for each in register_run(run.root, registry)]


def test_a_scheme_is_served_with_the_policies_it_was_measured_with_alone(
    registry: Registry, with_scheme: Sequence[str]
) -> None:
    base, _, dpo = with_scheme
    recorder, said = Recorder(), list[str]()
    registry.promote(dpo, "")
    follower = Follower(registry, recorder, said.append, registry.clock, scheme="careful")
    follower.start(None)
    (policy,) = recorder.policies
    assert policy.scheme is not None and read_scheme(Path(policy.scheme)).system_prompt == "Be careful."
    registry.promote(base, "")
    follower.step()
    assert recorder.live == [dpo]
    assert said == [
        f"{dpo} stays: The run of {base} did not measure it with scheme 'careful': it measured none that can be served."
        " Name another as publish.scheme, leave it out, or register the run again once it has ended."
    ]
    # Votes of several answers cannot be served, and are not there.
    with pytest.raises(SalusError, match="with scheme 'voted': it measured careful"):
        Follower(registry, recorder, said.append, registry.clock, scheme="voted").start(dpo)
    # Without the setting, every policy is asked as clients ask.
    Follower(registry, recorder, said.append, registry.clock).start(dpo)
    assert recorder.policies[-1].scheme is None


def test_a_scheme_that_changed_since_is_refused(registry: Registry, with_scheme: Sequence[str]) -> None:
    dpo = registry.find(with_scheme[2])
    write_text("{}", registry.scheme(dpo, "careful"))
    with pytest.raises(SalusError, match=r"are not what was registered \(scheme.json"):
        registry.scheme(dpo, "careful")


def test_a_scheme_is_copied_with_the_weights(run: RunFolder, registry: Registry, with_scheme: Sequence[str]) -> None:
    register_run(run.root, registry, RegisterOptions(version="c2-dpo", copy=True))
    found = registry.scheme(registry.find(with_scheme[2]), "careful")
    assert found.is_relative_to(registry.root)
    # Where nothing is new, nothing is written.
    (again,) = register_run(run.root, registry, RegisterOptions(version="c2-dpo", copy=True))
    assert again.state == "kept"


def test_schemes_that_do_not_fit_an_endpoint_are_refused() -> None:
    with pytest.raises(SalusError, match=r"publish\.scheme goes with a single policy, without a router"):
        load_settings(None, ["publish.scheme=careful", "publish.router=true"])
    with pytest.raises(SalusError, match=r"publish\.scheme is for salus serve: a run measures its schemes at its end"):
        load_recipe("demo", ["publish.scheme=careful"])


def status(registry: Registry) -> EndpointStatus:
    (found,) = endpoints(registry.root)
    return found


def test_promotions_and_rollbacks_go_live(registry: Registry, versions: Sequence[str]) -> None:
    base, kto, dpo = versions
    registry.promote(base, "")
    said: list[str] = []
    follower, recorder = following(registry, said)
    follower.start(None)
    assert recorder.live == [base] and status(registry).version == base
    follower.step()
    assert recorder.live == [base] and said == []
    registry.promote(kto, "")
    registry.promote(dpo, "")
    follower.step()
    # What was current in between has been overtaken.
    assert recorder.live == [base, dpo] and status(registry).version == dpo
    registry.rollback("")
    follower.step()
    assert recorder.live == [base, dpo, kto]
    assert said == [f"{dpo} is live at {recorder.url}", f"{kto} is live at {recorder.url}"]
    follower.end()
    assert endpoints(registry.root) == []


def test_a_pinned_version_stays_until_the_registry_changes(registry: Registry, versions: Sequence[str]) -> None:
    base, kto, dpo = versions
    registry.promote(base, "")
    follower, recorder = following(registry, [])
    follower.start(kto)
    follower.step()
    assert recorder.live == [kto]
    registry.promote(dpo, "")
    follower.step()
    assert recorder.live == [kto, dpo]


def test_what_cannot_go_live_is_told_once_and_the_former_one_stays(registry: Registry, versions: Sequence[str]) -> None:
    base, kto, dpo = versions
    registry.promote(base, "")
    said: list[str] = []
    follower, recorder = following(registry, said)
    follower.start(None)
    recorder.unfit.add(kto)
    registry.promote(kto, "")
    for _ in range(3):
        follower.step()
    assert said == [f"{base} stays: {kto} does not fit."]
    assert (status(registry).version, status(registry).fault) == (base, f"{kto} does not fit.")
    # Tried again, as the registry has changed; that it failed again is news.
    registry.rollback("")
    registry.promote(kto, "")
    follower.step()
    assert said == [f"{base} stays: {kto} does not fit."] * 2
    assert (status(registry).changes, status(registry).fault) == (4, f"{kto} does not fit.")
    registry.promote(dpo, "")
    follower.step()
    assert recorder.live == [base, dpo] and status(registry).fault is None


def test_a_damaged_history_changes_nothing(registry: Registry, versions: Sequence[str]) -> None:
    registry.promote(versions[0], "")
    said: list[str] = []
    follower, recorder = following(registry, said)
    follower.start(None)
    history = registry.root / "history.jsonl"
    whole = history.read_text()
    history.write_text(whole + "{\n")
    follower.step()
    (file,) = (registry.root / SERVING).iterdir()
    written = file.stat()
    follower.step()
    fault = status(registry).fault
    assert len(said) == 1 and fault is not None and "line 2" in fault and fault in said[0]
    # Outcome once, written once.
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
    history.write_text(whole)
    registry.promote(versions[1], "")
    follower.step()
    assert recorder.live == [versions[0], versions[1]]


def test_nothing_current_is_refused(registry: Registry, versions: Sequence[str]) -> None:
    follower, _ = following(registry, [])
    with pytest.raises(SalusError, match=r"No policy of the registry .* salus policy promote VERSION"):
        follower.start(None)
    with pytest.raises(SalusError, match="has no policy 'nonsense'"):
        follower.start("nonsense")


def test_a_rollback_returns_when_every_endpoint_has_followed(registry: Registry, versions: Sequence[str]) -> None:
    base, kto, _ = versions
    registry.promote(base, "")
    registry.promote(kto, "")
    follower, recorder = following(registry, [])
    follower.start(None)
    done = threading.Event()

    def follow() -> None:
        while not done.wait(0.02):
            follower.step()

    thread = threading.Thread(target=follow)
    thread.start()
    said: list[str] = []
    try:
        assert roll_back(registry, "too careful", 30, said.append).version == base
    finally:
        done.set()
        thread.join()
    assert recorder.live == [kto, base]
    assert len(said) == 1 and said[0].startswith(f"{base} is live again at {recorder.url} after ")


def test_a_rollback_that_nobody_follows_says_so(registry: Registry, versions: Sequence[str]) -> None:
    base, kto, _ = versions
    registry.promote(base, "")
    registry.promote(kto, "")
    follower, recorder = following(registry, [])
    follower.start(None)
    with pytest.raises(SalusError, match=r"did not follow within 0\.2 s"):
        roll_back(registry, "", 0.2, print)
    recorder.unfit.add(base)
    follower.step()
    (found,) = endpoints(registry.root)
    assert (found.version, found.fault) == (kto, f"{base} does not fit.")


def test_an_endpoint_whose_process_is_gone_is_none(registry: Registry, versions: Sequence[str]) -> None:
    registry.promote(versions[0], "")
    follower, _ = following(registry, [])
    follower.start(None)
    (file,) = (registry.root / SERVING).iterdir()
    there = status(registry)
    gone = there.model_copy(update={"holder": there.holder.model_copy(update={"started_s": 1.0})})
    file.write_text(gone.model_dump_json())
    assert endpoints(registry.root) == []


def test_settings_come_from_a_file_and_the_command_line(tmp_path: Path) -> None:
    assert load_settings(None, ["publish.port=8080"]).publish.proxy == "haproxy"
    file = tmp_path / "serve.yaml"
    file.write_text("publish: {replicas: 3}\n")
    settings = load_settings(file, ["poll_s=2"])
    assert (settings.publish.replicas, settings.publish.proxy, settings.poll_s) == (3, "haproxy", 2)
    with pytest.raises(SalusError, match=r"unknown key 'publish\.prot'.*did you mean 'port'"):
        load_settings(None, ["publish.prot=1"])


class TestTrials:
    def test_a_promotion_is_tried_and_a_rollback_is_not(self, registry: Registry, versions: Sequence[str]) -> None:
        base, kto, _ = versions
        registry.promote(base, "")
        follower, recorder = following(registry, [])
        follower.start(None)
        registry.promote(kto, "")
        follower.step()
        registry.rollback("")
        follower.step()
        assert (recorder.tried, recorder.live) == ([kto], [base, kto, base])

    def test_what_was_refused_stays_out_when_the_endpoint_comes_up_again(
        self, registry: Registry, versions: Sequence[str]
    ) -> None:
        base, kto, _ = versions
        registry.promote(base, "")
        said: list[str] = []
        follower, recorder = following(registry, said)
        follower.start(None)
        recorder.unsound.add(kto)
        registry.promote(kto, "")
        follower.step()
        follower.step()
        assert said == [f"{base} stays: {kto} loops."] and recorder.tried == [kto]
        again, after = following(registry, said)
        again.start(None)
        assert after.live == [base] and said == [f"{base} stays: {kto} loops."] * 2
        assert (status(registry).version, status(registry).fault) == (base, f"{kto} loops.")
        # Whoever names it gets it.
        named, told = following(registry, [])
        named.start(kto)
        assert told.live == [kto]

    def test_a_rollback_to_what_was_refused_is_tried_again(self, registry: Registry, versions: Sequence[str]) -> None:
        base, kto, dpo = versions
        registry.promote(base, "")
        follower, recorder = following(registry, [])
        follower.start(None)
        recorder.unsound.add(kto)
        for version in (kto, dpo):
            registry.promote(version, "")
            follower.step()
        registry.rollback("")
        follower.step()
        assert (recorder.tried, recorder.live) == ([kto, dpo, kto], [base, dpo])
        # Once it passes, a rollback takes it as any other.
        recorder.unsound.clear()
        registry.promote(dpo, "")
        registry.promote(kto, "")
        registry.promote(base, "")
        registry.rollback("")
        follower.step()
        registry.promote(base, "")
        follower.step()
        recorder.tried.clear()
        registry.rollback("")
        follower.step()
        assert (recorder.tried, recorder.live[-1]) == ([], kto)

    def test_a_rollback_ends_a_canary(self, registry: Registry, versions: Sequence[str]) -> None:
        base, kto, _ = versions
        registry.promote(base, "")
        said: list[str] = []
        follower, recorder = following(registry, said)
        follower.start(None)
        registry.promote(kto, "")
        recorder.in_canary = lambda: registry.rollback("too slow")
        follower.step()
        assert recorder.live == [base] and said == [f"{base} stays: another policy is wanted by now"]
        follower.step()
        assert (status(registry).version, status(registry).fault, status(registry).changes) == (base, None, 3)


def test_every_step_stands_in_the_registrys_audit_log(registry: Registry, versions: Sequence[str]) -> None:
    base, kto, dpo = versions
    registry.promote(base, "first")
    follower, recorder = following(registry, [])
    follower.start(None)
    registry.promote(kto, "")
    follower.step()
    registry.rollback("too many refusals")
    follower.step()
    recorder.unfit.add(dpo)
    registry.promote(dpo, "")
    follower.step()
    with pytest.raises(SalusError, match="current policy already"):
        registry.promote(dpo, "again")
    log = AuditLog(registry.root / AUDIT)
    assert log.verify().entries == 2 * 9
    deeds = outcomes(log.readable()[0])
    assert [
        (each.began.action, each.entry.version, each.entry.previous, each.entry.outcome) for each in deeds if each.entry
    ] == [
        ("promote", base, None, "done"),
        ("start", base, None, "done"),
        ("promote", kto, base, "done"),
        ("publish", kto, base, "done"),
        ("rollback", base, kto, "done"),
        ("rollback", base, kto, "done"),
        ("promote", dpo, base, "done"),
        ("publish", dpo, base, "refused"),
        ("promote", dpo, dpo, "refused"),
    ]
    live = deeds[5].entry
    assert live is not None and live.endpoint == recorder.url
    assert live.reason == f"rollback by {os_user()}: too many refusals"


def test_a_start_by_how_a_version_begins_names_the_version_that_went_live(
    registry: Registry, versions: Sequence[str]
) -> None:
    follower, recorder = following(registry, [])
    follower.start("demo-s7-c1")
    assert recorder.live == [versions[1]]
    (start,) = outcomes(AuditLog(registry.root / AUDIT).readable()[0])
    assert start.entry is not None and (start.entry.outcome, start.entry.version) == ("done", versions[1])


def test_an_endpoint_stays_where_nobody_could_write_down_that_it_goes(
    registry: Registry, versions: Sequence[str]
) -> None:
    base, kto, _ = versions
    registry.promote(base, "")
    said: list[str] = []
    follower, recorder = following(registry, said)
    follower.start(None)
    registry.promote(kto, "")
    (registry.root / AUDIT).unlink()
    (registry.root / AUDIT).mkdir()
    follower.step()
    assert recorder.live == [base]
    assert "audit log" in said[-1] and status(registry).fault is not None
    with pytest.raises(SalusError, match="audit log"):
        registry.rollback("back")
    assert registry.history.current() == kto
