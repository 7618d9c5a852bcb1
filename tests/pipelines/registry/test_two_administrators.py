"""Several administrators at once: the audit log tells what each of them did, in the order in which it was done."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from actors.serve.audit_log import AuditLog
from actors.serve.publication_audit import entry_of
from pipelines.registry.store import AUDIT, Registry
from tests.root import ROOT

# Each tries the one it is given, goes back, and takes what is refused as an answer.
ADMINISTRATOR = """
import sys
from pathlib import Path
from actors.errors import SalusError
from pipelines.registry.store import Registry

registry, version = Registry(Path(sys.argv[1])), sys.argv[2]
print(flush=True)
sys.stdin.readline()
for turn in range(int(sys.argv[3])):
    try:
        registry.rollback(f"turn {turn}") if turn % 3 == 2 else registry.promote(version, f"turn {turn}")
    except SalusError:
        pass
"""
TURNS = 9


def test_every_entry_names_what_became_current(registry: Registry, versions: Sequence[str]) -> None:
    for version in versions:
        registry.promote(version, "first")
    began = len(registry.history.changes())
    command = [sys.executable, "-c", ADMINISTRATOR, str(registry.root)]
    administrators = [
        subprocess.Popen(
            [*command, versions[number], str(TURNS)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for each in administrators:
        assert each.stdout is not None and each.stdout.readline() == "\n"
    for each in administrators:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    for each in administrators:
        each.communicate()
        assert each.returncode == 0
    log = AuditLog(registry.root / AUDIT)
    log.verify()
    deeds = [(entry.action, deed) for entry in log.readable()[0] if (deed := entry_of(entry)) is not None]
    done = [(action, deed.previous, deed.version) for action, deed in deeds if deed.outcome == "done"]
    changes = registry.history.changes()
    assert done == [(change.action, change.previous, change.version) for change in changes]
    assert len(changes) - began >= TURNS
    ended = {deed.entry for _, deed in deeds if deed.outcome != "intended"}
    assert {deed.entry for _, deed in deeds} == ended
