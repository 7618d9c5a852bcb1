"""A registry in a store, from several machines: each sees the others' changes, and no two lose one another's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.serve.publication_audit import PublicationAudit, entry_of
from pipelines.alignment.ready import check_ready
from pipelines.cli.main import app
from pipelines.config.load import load_recipe
from pipelines.registry.export import export_policy
from pipelines.registry.register import register_run
from pipelines.registry.store import Registry
from pipelines.registry.stored import StoredRegistry, open_registry, run_audit
from pipelines.runs.store.connect import connect
from pipelines.runs.store.objects import Objects
from pipelines.runs.store.place import RemotePlace
from tests.pipelines.registry.test_two_administrators import ADMINISTRATOR
from tests.pipelines.runs.store.conftest import Move
from tests.quiet_reporter import QuietReporter
from tests.root import ROOT

TURNS = 4


def registered(run: RunFolder, place: RemotePlace) -> tuple[StoredRegistry, Sequence[str]]:
    registry = open_registry(str(place))
    assert isinstance(registry, StoredRegistry)
    return registry, [each.version or "" for each in register_run(run.root, registry)]


def test_another_machine_sees_and_changes_it(run: RunFolder, place: RemotePlace, move_to: Move, tmp_path: Path) -> None:
    here, versions = registered(run, place)
    here.promote(versions[1], "first")
    move_to("b")
    there = open_registry(Path(str(place)))
    assert [entry.version for entry in there.entries()] == list(versions)
    assert there.history.current() == versions[1]
    # Its records alone: weights come when they are asked for.
    assert not list(there.root.rglob("*.safetensors"))
    folder, contents = there.servable(there.find(versions[2]))
    assert {file.name for file in contents.files} <= {file.name for file in folder.iterdir()}
    export_policy(there, versions[2], tmp_path / "exported", "adapter")
    there.promote(versions[2], "second")
    assert here.history.current() == versions[2]
    assert here.rollback("worse").version == versions[1]
    assert [change.why for change in there.history.changes()] == ["first", "second", "worse"]
    assert isinstance(there, StoredRegistry) and there.log.verify().entries == here.log.verify().entries == 6
    # Registered again it is kept, and nothing of it is lost.
    assert {each.state for each in register_run(run.root, there)} == {"kept"}


def test_nothing_of_a_machine_alone_is_shared(run: RunFolder, place: RemotePlace, move_to: Move) -> None:
    here, versions = registered(run, place)
    (here.root / "serving").mkdir()
    (here.root / "serving" / "http_127.0.0.1.json").write_text("{}")
    here.promote(versions[0], "")
    assert (here.root / "serving" / "http_127.0.0.1.json").is_file()
    assert not any("serving" in name for name in connect(place).list())
    with pytest.raises(SalusError, match=r"is in a store, which keeps no labels; set pages\.labels to a folder"):
        here.beside("labels", "pages.labels")


def test_of_two_changes_at_once_one_is_told_to_try_again(
    run: RunFolder, place: RemotePlace, move_to: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, versions = registered(run, place)
    move_to("b")
    other = open_registry(str(place))
    upload: Callable[[Objects, Path, str, str], None] = Objects.upload

    def late(self: Objects, source: Path, name: str, sha256: str) -> None:
        # The other one is quicker, just before this one's upload.
        monkeypatch.setattr(Objects, "upload", upload)
        other.promote(versions[1], "the other")
        upload(self, source, name, sha256)

    monkeypatch.setattr(Objects, "upload", late)
    with pytest.raises(SalusError, match="changed by another process at the same moment, so nothing was changed by"):
        here.promote(versions[2], "mine")
    assert [change.why for change in here.history.changes()] == ["the other"]
    here.promote(versions[2], "mine")
    assert [change.why for change in other.history.changes()] == ["the other", "mine"]
    here.log.verify()
    named = {file for name in connect(place).list() if not name.startswith(".") for file in [name]}
    # Neither left an object that no index names.
    from pipelines.runs.store.index import read_index

    index = read_index(connect(place))
    assert index is not None and named == index.object_names()


def test_what_did_not_reach_the_store_was_not_done(
    run: RunFolder, place: RemotePlace, move_to: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, versions = registered(run, place)
    here.promote(versions[0], "")

    def down(self: Objects, source: Path, name: str, sha256: str) -> None:
        raise OSError("HTTP error: connection refused")

    with monkeypatch.context() as patched:
        patched.setattr(Objects, "upload", down)
        with pytest.raises(SalusError, match=r"Cannot change .*connection refused"):
            here.promote(versions[1], "lost")
    assert here.history.current() == versions[0]
    here.log.verify()
    assert here.promote(versions[1], "kept").previous == versions[0]


def test_several_administrators_lose_nothing(run: RunFolder, s3: RemotePlace, move_to: Move, tmp_path: Path) -> None:
    here, versions = registered(run, s3)
    program = ADMINISTRATOR.replace("registry.store import Registry", "registry.stored import open_registry")
    program = program.replace("Registry(Path(sys.argv[1]))", "open_registry(sys.argv[1])")
    administrators = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(s3), versions[number], str(TURNS)],
            cwd=ROOT,
            env=os.environ | {"SALUS_CACHE": str(tmp_path / f"administrator-{number}")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    for each in administrators:
        assert each.stdout is not None and each.stdout.readline() == "\n"
    for each in administrators:
        each.communicate("\n")
        assert each.returncode == 0
    here.log.verify()
    deeds = [(entry.action, deed) for entry in here.log.readable()[0] if (deed := entry_of(entry)) is not None]
    done = [(action, deed.previous, deed.version) for action, deed in deeds if deed.outcome == "done"]
    changes = here.history.changes()
    assert done == [(change.action, change.previous, change.version) for change in changes] and changes


def test_what_is_no_registry_is_refused(place: RemotePlace, move_to: Move) -> None:
    with pytest.raises(SalusError, match=f"There is no registry {place}; register a run first"):
        open_registry(str(place)).entries()
    with pytest.raises(SalusError, match="There is no store for addresses that begin with ftp"):
        open_registry(Path("ftp://host/registry"))
    assert type(open_registry(Path("registry"))) is Registry
    from pipelines.runs.store.index import NO_INDEX, StoredFile, add_index

    run = StoredFile(name="recipe.yaml", bytes=0, sha256="0" * 64)
    assert add_index(connect(place), NO_INDEX.followed_by((run,)))
    with pytest.raises(SalusError, match="holds no registry but something else, such as a run"):
        open_registry(str(place)).entries()


def test_commands_take_its_address(run: RunFolder, s3: RemotePlace, move_to: Move) -> None:
    where = ["--registry", str(s3)]
    for command in (["policy", "register", str(run.root), *where], ["policy", "promote", "demo-s7-c1", *where]):
        assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    assert "demo-s7-c1-kto" in CliRunner().invoke(app, ["policy", "list", *where], catch_exceptions=False).output
    audited = CliRunner().invoke(app, ["audit", str(s3)], catch_exceptions=False)
    assert "2 entries, each follows from the one before it" in audited.output


def test_a_plan_says_that_it_cannot_be_reached(s3: RemotePlace, move_to: Move, tmp_path: Path) -> None:
    recipe = load_recipe("demo", ["publish.registry=s3://no-such-bucket/registry"])
    with pytest.raises(SalusError, match="There is no bucket no-such-bucket"):
        check_ready(recipe, QuietReporter(), tmp_path / "run")
    with pytest.raises(SalusError, match=r"set decide\.control\.labels"):
        load_recipe("demo", ["publish.registry=s3://bucket/registry", "decide.control.reference=people"])


def test_what_serves_a_stored_run_is_in_a_log_below_it(place: RemotePlace, move_to: Move) -> None:
    for machine in ("a", "b"):
        move_to(machine)
        with PublicationAudit(run_audit(place)).entry("start", "c1-kto", reason="salus publish", endpoint=machine):
            pass
    entries, fault = run_audit(place).readable()
    assert fault is None and [entry.action for entry in entries] == ["start"] * 4
    assert run_audit(place).verify().entries == 4
    # Nothing of it is among the run's own objects.
    assert all(name.startswith("audit/") for name in connect(place).list())
