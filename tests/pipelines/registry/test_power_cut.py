"""A registry whose machine loses its power: whole at every file-system call, with every change that was told."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.contract.run_folder import RunFolder
from actors.serve.audit_log import AuditLog
from actors.serve.publication_audit import entry_of
from pipelines.registry.register import RegisterOptions, register_run
from pipelines.registry.store import AUDIT, CARD, Registry
from tests.pipelines.registry.published import VERSIONS
from tests.power_cut import recorded


def test_every_policy_and_every_change_that_was_told_is_there(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    registry = Registry(root / "registry")
    with recorded(root, monkeypatch) as tape:
        versions = {}
        for name in VERSIONS:
            (done,) = register_run(run.root, registry, RegisterOptions(version=name))
            versions[name] = done.version or ""
            tape.acknowledge(("registered", versions[name]))
        for name in VERSIONS[:2]:
            tape.acknowledge(("current", registry.promote(versions[name], "better").version))
        tape.acknowledge(("current", registry.rollback("worse").version))
        # Its weights by reference until now.
        (done,) = register_run(run.root, registry, RegisterOptions(version=VERSIONS[1], copy=True))
        assert done.state == "refreshed"
        tape.acknowledge(("registered", versions[VERSIONS[1]]))
    changes = registry.history.changes()
    states = 0
    for told in tape.crashes():
        states += 1
        if not registry.root.exists():
            assert not told
            continue
        entries = {entry.version: entry for entry in registry.entries()}
        assert entries.keys() >= {version for what, version in told if what == "registered"}
        for entry in entries.values():
            registry.intact(entry)
            assert (registry.folder(entry) / CARD).read_text().startswith("---")
        made = len([what for what, _ in told if what == "current"])
        assert registry.history.changes() in (changes[:made], changes[: made + 1])
        log = AuditLog(registry.root / AUDIT)
        log.verify()
        outcomes = [deed for entry in log.readable()[0] if (deed := entry_of(entry)) and deed.outcome == "done"]
        assert made <= len(outcomes) <= len(registry.history.changes())
        assert [d.version for d in outcomes] == [change.version for change in changes[: len(outcomes)]]
        if versions[VERSIONS[2]] in entries:
            former = registry.history.current()
            registry.promote(versions[VERSIONS[2]], "")
            assert former is None or registry.rollback("").version == former
    assert states > 200
