"""A policy that must be approved by a person: registered, waiting, approved by name, and served only then."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from actors.contract.records import PolicyRef
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import write_text
from actors.serve.audit_log import AuditLog
from actors.serve.config import PublisherConfig
from actors.serve.publication_audit import outcomes
from pipelines.cli.main import main
from pipelines.cli.serve import _last_champion
from pipelines.decision.published import last_published, live_before
from pipelines.decision.record import read_decision
from pipelines.registry.register import record_live, register_awaiting, register_run
from pipelines.registry.store import AUDIT, CARD, Registry
from pipelines.report.decision_page.from_run import write_pages
from pipelines.runs.finished.audit import audit_cycle
from pipelines.runs.finished.shape import recipe_of_run
from pipelines.runs.outcomes import live_policy, past_outcomes
from pipelines.serving.follower import Follower
from tests.pipelines.cli.refused import refused
from tests.pipelines.runs.finished.made import RunMaker
from tests.pipelines.serving.test_following import Recorder
from tests.quiet_reporter import SaidReporter

BASE = PolicyRef(version="c0-base", path="")


@pytest.fixture
def waiting(run: RunFolder, registry: Registry) -> str:
    """The version of cycle 2's winner, which its run holds for approval."""
    held = read_decision(run.decision(2)).held_for_approval()
    write_text(held.model_dump_json(), run.decision(2))
    lines = run.publications.read_text().splitlines()
    write_text("\n".join(lines[:2]) + "\n", run.publications)
    done = register_run(run.root, registry)
    assert [each.run_version for each in done] == ["c0-base", "c1-kto", "c2-dpo"]
    assert [each.needs_approval for each in done] == [False, False, True]
    return done[-1].version or ""


def test_what_is_live_stays_live_meanwhile(run: RunFolder, waiting: str) -> None:
    second = read_decision(run.decision(2))
    assert (second.chosen, second.publish, second.let_live) == ("dpo", False, False)
    assert "awaits approval" in second.publication_sentence
    decisions = [read_decision(run.decision(cycle)) for cycle in (1, 2)]
    assert last_published(decisions, "c0-base") == "c1-kto"
    last = past_outcomes(run, BASE, 2)[-1]
    assert last.champion.version == "c2-dpo" and last.published is not None and last.published.version == "c1-kto"
    with pytest.raises(SalusError, match="needs a person's approval"):
        _last_champion(recipe_of_run(run), run)


def test_the_next_cycle_is_compared_with_what_was_approved_meanwhile(
    run: RunFolder, registry: Registry, waiting: str
) -> None:
    recipe = recipe_of_run(run)
    approving = recipe.publish.model_copy(update={"approval": "required", "registry": registry.root})
    recipe = recipe.model_copy(update={"publish": approving})
    record_live(recipe, run, 3)
    assert live_before(run, 3, "c0-base") == "c1-kto"
    registry.approve(waiting, "Dr Weber", "read")
    # A run whose policies go live at once does not ask the registry.
    record_live(recipe_of_run(run), run, 3)
    assert not run.live(3).exists()
    record_live(recipe, run, 3)
    assert live_before(run, 3, "c0-base") == live_policy(run, BASE, 3).version == "c2-dpo"
    # What a decision was made on does not change afterwards, and another run's policy is no measure.
    registry.promote(registry.entries()[0].version, "too strict")
    record_live(recipe, run, 3)
    assert live_before(run, 3, "c0-base") == "c2-dpo"
    elsewhere = RunFolder(run.root.with_name("elsewhere"))
    record_live(recipe, elsewhere, 3)
    assert not elsewhere.live(3).exists()


def test_a_champion_that_stays_needs_no_approval(run: RunFolder) -> None:
    stays = read_decision(run.decision(1)).model_copy(update={"chosen": "champion", "publish": False})
    assert stays.held_for_approval() == stays


def test_it_is_not_promoted_or_served_before(registry: Registry, waiting: str) -> None:
    with pytest.raises(SalusError, match=f"{waiting} awaits approval"):
        registry.promote(waiting, "in a hurry")
    with pytest.raises(SalusError, match="awaits approval"):
        registry.servable(registry.find(waiting))
    assert registry.history.changes() == ()
    assert "before a named person approves it" in (registry.folder(registry.find(waiting)) / CARD).read_text()


def test_an_endpoint_is_not_started_with_it(registry: Registry, waiting: str) -> None:
    follower = Follower(registry, Recorder(), print, registry.clock)
    with pytest.raises(SalusError, match="awaits approval"):
        follower.start(waiting)
    registry.approve(waiting, "Dr Weber", "read")
    follower.start(None)


def test_it_is_registered_while_the_run_goes_on(run: RunFolder, registry: Registry, waiting: str) -> None:
    """The run's end adds its sums and its test; a fault of the registry does not end the run."""
    for late in (run.summary, run.sums, run.manifest):
        late.unlink(missing_ok=True)
    reporter = SaidReporter()
    register_awaiting(run.root, registry.root.with_name("another"), reporter)
    assert any(f"registered {waiting} in" in line and "it awaits approval" in line for line in reporter.said)
    run.recipe.unlink()
    register_awaiting(run.root, registry.root, reporter)
    assert reporter.said[-1].startswith("no policy could be registered yet: ")


def test_an_audit_makes_the_same_decision(tmp_path: Path, made_run: RunMaker) -> None:
    folder = made_run(tmp_path / "run")
    write_text(read_decision(folder.decision(1)).held_for_approval().model_dump_json(), folder.decision(1))
    first = audit_cycle(folder, 1)
    assert first.same_choice and first.now.approval == "awaiting" and first.differences == []
    write_pages(folder, recipe_of_run(folder))
    page = folder.decision_text(1).read_text()
    assert "awaits a person's approval. Until then patients are served as before" in page and "No one yet" in page


def test_an_approval_is_recorded_and_makes_it_current(run: RunFolder, registry: Registry, waiting: str) -> None:
    registry.promote("demo-s7-c1", "first")
    change = registry.approve("demo-s7-c2", " Dr Weber ", "read its page")
    assert (change.action, change.version, change.approved_by, change.why) == (
        "promote", waiting, "Dr Weber", "read its page",
    )  # fmt: skip
    assert registry.history.current() == waiting
    entries, _ = AuditLog(registry.root / AUDIT).readable()
    last = outcomes(entries)[-1]
    assert last.began.action == "approve" and last.entry is not None
    assert (last.entry.outcome, last.entry.reason) == ("done", "by Dr Weber: read its page")
    # It goes and comes as any other from now on, also where the run is registered again.
    registry.rollback("too many refusals")
    register_run(run.root, registry)
    assert registry.promote(waiting, "mended").version == waiting


def test_what_may_not_be_approved(registry: Registry, waiting: str, capsys: pytest.CaptureFixture[str]) -> None:
    def says(*arguments: str) -> str:
        return refused(capsys, "policy", "approve", *arguments, "--registry", str(registry.root))

    by = ("--by", "Dr Weber", "--reason", "read")
    assert "has no policy 'none'" in says("none", *by)
    assert "needs no approval" in says("demo-s7-c1", *by)
    assert "name of the person" in says(waiting, "--by", " ", "--reason", "read")
    assert "needs a reason" in says(waiting, "--by", "Dr Weber")
    assert "control character" in says(waiting, "--by", "Dr\nWeber", "--reason", "read")
    registry.approve(waiting, "Dr Weber", "read")
    assert "was approved already, by Dr Weber" in says(waiting, *by)


def test_lists_say_what_waits_and_who_approved(
    registry: Registry, waiting: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")

    def shown(*arguments: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--registry", str(registry.root)])
        assert ended.value.code == 0
        return " ".join(capsys.readouterr().out.split())

    assert "awaits approval" in shown("policy", "list") and "approval awaits approval" in shown(
        "policy", "show", waiting
    )
    assert "is approved by Dr Weber and current" in shown(
        "policy", "approve", waiting, "--by", "Dr Weber", "--reason", "read"
    )
    assert "awaits approval" not in shown("policy", "list")
    assert "approved by Dr Weber at 2" in shown("policy", "show", waiting)


def test_an_approval_needs_a_registry_to_be_kept_in(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"publish\.registry"):
        PublisherConfig(approval="required")
    assert PublisherConfig(approval="required", registry=tmp_path).approval == "required"
