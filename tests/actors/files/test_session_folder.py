"""The private folder of a session, and what becomes of it and its processes however the session ends."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from actors.errors import SalusError
from actors.files.leftovers import MARKER, end_processes, processes_of, session_of
from actors.files.private import private_files, share
from actors.files.session_folder import LONGEST_FOLDER, end_left_sessions, private_folder, session_folder
from actors.serve.address import check_port_free
from tests.free_port import free_port

# Ignores SIGTERM and listens on a port, as HAProxy does.
CHILD = """
import signal, socket, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("up", flush=True)
time.sleep(600)
"""
# A session with that child; it says the child's id and the folder.
SESSION = f"""
import os, subprocess, sys
from actors.files.leftovers import MARKER
from actors.files.session_folder import session_folder
with session_folder() as folder:
    environment = os.environ | {{MARKER: str(folder.root)}}
    command = [sys.executable, "-c", {CHILD!r}, sys.argv[1]]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, start_new_session=True)
    child.stdout.readline()
    print(child.pid, folder.root, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder of its own, with a short name."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t") as name:
        monkeypatch.setattr(tempfile, "tempdir", name)
        monkeypatch.setenv("TMPDIR", name)
        yield Path(name)


def started(port: int) -> tuple[psutil.Popen, psutil.Process, Path]:
    command = [sys.executable, "-c", SESSION, str(port)]
    session = psutil.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    pid, folder = session.stdout.readline().split()
    return session, psutil.Process(int(pid)), Path(folder)


def gone(process: psutil.Process, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_a_session_has_a_folder_that_is_closed_to_others_and_short_enough_for_sockets(place: Path) -> None:
    with session_folder() as folder:
        for each in (folder.root.parent, folder.root, folder.ray, folder.haproxy, folder.temporary):
            assert stat.S_IMODE(each.stat().st_mode) == 0o700
        assert len(os.fsencode(folder.root)) <= LONGEST_FOLDER
        longest = folder.ray / "session_2026-11-29_01-18-14_123456_4194304" / "sockets" / "plasma_store"
        longest.parent.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(str(longest))
    assert not folder.root.exists()
    assert [each.name for each in (place / f"salus-{os.geteuid()}").iterdir()] == ["lock"]


@pytest.mark.parametrize("told", [signal.SIGKILL, signal.SIGTERM, None])
def test_nothing_of_a_session_outlives_it(place: Path, told: signal.Signals | None) -> None:
    session, child, folder = started(free_port())
    assert session_of(child.pid) == folder and processes_of(folder) == [child.pid]
    if told is not None:
        session.send_signal(told)
    else:
        session.stdin.close()
    assert gone(child, 30)
    deadline = time.monotonic() + 10
    while folder.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    session.wait()
    session.stdout.close()


def test_a_start_ends_what_a_dead_session_left_and_takes_its_port(place: Path) -> None:
    port = free_port()
    session, child, folder = started(port)
    living, other, kept = started(free_port())
    (watcher,) = [each for each in session.children() if each.pid != child.pid]
    # As by a kill of all but the one that ignores it.
    watcher.kill()
    session.kill()
    session.wait()
    assert child.is_running() and folder.is_dir()
    check_port_free("127.0.0.1", port)
    assert gone(child, 10) and not folder.exists()
    # Another session that lives is let alone.
    assert end_left_sessions() == [] and other.is_running() and kept.is_dir()
    living.communicate()
    session.stdout.close()


def test_another_programs_server_is_named_and_let_alone(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        named = rf"in use by process {os.getpid()} \(.+\); free the port or set another one with publish.port"
        with pytest.raises(SalusError, match=named):
            check_port_free("127.0.0.1", port)
    session, child, _ = started(port := free_port())
    with pytest.raises(SalusError, match=rf"process {child.pid} \(.+, of a Salus endpoint that still runs\)"):
        check_port_free("127.0.0.1", port)
    assert child.is_running()
    session.communicate()


def test_processes_are_known_by_their_mark_alone(place: Path) -> None:
    other = psutil.Popen(["/bin/sleep", "600"], env={"NOT_" + MARKER: str(place), "A": f"{MARKER}={place}/b"})
    marked = psutil.Popen(["/bin/sleep", "600"], env={MARKER: str(place)})
    # As Ray's agents, which write over their environment.
    log = place / "agent.out"
    with log.open("w") as out:
        logging = psutil.Popen(["/bin/sleep", "600"], env={}, stdout=out)
    # As a person who reads a log, and a driver that joined.
    with log.open() as text:
        reader = psutil.Popen(["/bin/sleep", "600"], env={}, stdin=text)
    with (place / "python-core-driver-1.log").open("w") as out:
        driver = psutil.Popen(["/bin/sleep", "600"], env={}, stdout=out)
    assert set(processes_of(place)) == {marked.pid, logging.pid}
    assert set(end_processes(place, grace_s=0.0)) == {marked.pid, logging.pid}
    marked.wait(10)
    logging.wait(10)
    for each in (other, reader, driver):
        assert each.is_running()
        each.kill()
        each.wait()


def test_a_folder_that_others_could_have_made_is_refused(place: Path) -> None:
    mine = place / "mine"
    assert private_folder(mine) == mine and private_folder(mine) == mine
    mine.chmod(0o755)
    with pytest.raises(SalusError, match=rf"open to other users \(mode 755\).*chmod 700 {mine}"):
        private_folder(mine)
    (place / "link").symlink_to(mine)
    with pytest.raises(SalusError, match="is not a folder"):
        private_folder(place / "link")
    with pytest.raises(SalusError, match="cannot be made"):
        private_folder(place / "no" / "parent")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_refused(place: Path) -> None:
    theirs = place / f"salus-{os.geteuid()}"
    theirs.mkdir(0o700)
    os.chown(theirs, 12345, -1)
    refused = r"belongs to another user \(uid 12345\).*Set TMPDIR to a folder of your own"
    with pytest.raises(SalusError, match=refused), session_folder():
        pass


def test_a_long_temporary_folder_is_passed_by(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = place / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with session_folder() as folder:
        assert folder.root.parent == Path("/tmp") / f"salus-{os.geteuid()}"
    assert list(long.iterdir()) == []


@pytest.mark.parametrize(("mode", "file", "folder"), [(0o750, 0o600, 0o700), (0o2770, 0o660, 0o2770)])
def test_what_is_written_is_private_unless_its_folder_is_the_groups(
    place: Path, mode: int, file: int, folder: int
) -> None:
    former = os.umask(0o002)
    try:
        place.chmod(mode)
        inner = place / "inner"
        with private_files():
            inner.mkdir()
            (inner / "text").write_text("what a patient said")
            share(inner, place)
        assert stat.S_IMODE((inner / "text").stat().st_mode) == file
        assert stat.S_IMODE(inner.stat().st_mode) == folder
        (place / "after").write_text("")
        assert stat.S_IMODE((place / "after").stat().st_mode) == 0o664
    finally:
        os.umask(former)
