"""Power cuts at every moment: file-system calls are recorded, and what a disk may hold after each of them is made.

What a disk surely holds of a file is its content when it was last synced, and of a folder the names it had when that
was last synced. Of everything since, any part may be there or not, and half of a content.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

# Calls after which something below a folder may be another; `write` by way of a file object shows when it is synced.
_CALLS = ("open", "write", "ftruncate", "replace", "rename", "link", "unlink", "remove", "mkdir", "rmdir", "fsync")
# So many independent parts are combined in every way; of more, each one is lost alone, kept alone, and in order.
_ALL_WAYS = 5

# Names in each folder, and contents of each file, by inode.
Names = dict[int, dict[str, int]]
Contents = dict[int, bytes]
# A tree: contents by path, None for a folder.
Tree = Mapping[str, bytes | None]


@dataclass(frozen=True)
class Moment:
    """Between two calls: what a process sees, what the disk surely holds, and how much was acknowledged."""

    names: Names
    contents: Contents
    sure_names: Names
    sure_contents: Contents
    acknowledged: int


@dataclass
class Tape:
    """What was done below `root`. Life: `recorded` -> acknowledge* -> crashes."""

    root: Path
    top: int
    moments: list[Moment] = field(default_factory=list)
    acknowledged: list[Any] = field(default_factory=list)

    def acknowledge(self, what: Any) -> None:
        """From now on nothing may lose this."""
        self.acknowledged.append(what)
        self.moments.append(Moment(**{**self.moments[-1].__dict__, "acknowledged": len(self.acknowledged)}))

    def crashes(self) -> Iterator[Sequence[Any]]:
        """Put every state that a power cut may leave at `root`, and tell what had been acknowledged by then."""
        seen = set()
        with pytest.MonkeyPatch.context() as patch:
            # What is done to look at a state need not outlive it.
            patch.setattr(os, "fsync", lambda descriptor: None)
            for moment in self.moments:
                for tree in _trees(moment, self.top):
                    key = (moment.acknowledged, frozenset(tree.items()))
                    if key not in seen:
                        seen.add(key)
                        _put(tree, self.root)
                        yield self.acknowledged[: moment.acknowledged]


@contextmanager
def recorded(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tape]:
    """Record what is done below `root`, which is a folder; all there is in it by now is on the disk."""
    tape = Tape(root, root.stat().st_ino)
    recorder = _Recorder(tape)
    recorder.begin()
    with monkeypatch.context() as patch:
        for name in _CALLS:
            patch.setattr(os, name, recorder.watched(name, getattr(os, name)))
        try:
            yield tape
        finally:
            recorder.close()


class _Recorder:
    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._names: Names = {}
        self._contents: Contents = {}
        self._sure_names: Names = {}
        self._sure_contents: Contents = {}
        self._real = {name: getattr(os, name) for name in (*_CALLS, "close")}
        # Open, so that no other file gets the same inode.
        self._held: dict[int, int] = {}

    def watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            if name == "fsync":
                self.look()
            result = real(*arguments, **more)
            if name == "fsync":
                self._synced(arguments[0])
            self.look()
            return result

        return call

    def look(self) -> None:
        """Take note of all there is now."""
        before = (self._names, dict(self._contents))
        self._names = {}
        self._walk(self._tape.root)
        if before != (self._names, self._contents):
            self._note()

    def begin(self) -> None:
        """All there is now is on the disk."""
        self._walk(self._tape.root)
        self._sure_names = {folder: dict(names) for folder, names in self._names.items()}
        self._sure_contents = dict(self._contents)
        self._note()

    def close(self) -> None:
        for descriptor in self._held.values():
            self._real["close"](descriptor)

    def _walk(self, folder: Path) -> None:
        names: dict[str, int] = {}
        for entry in sorted(os.scandir(folder), key=lambda each: each.name):
            inode = names[entry.name] = entry.inode()
            if inode not in self._held:
                self._held[inode] = self._real["open"](entry.path, os.O_RDONLY)
            if entry.is_dir():
                self._walk(Path(entry.path))
            else:
                self._contents[inode] = Path(entry.path).read_bytes()
        self._names[folder.stat().st_ino] = names

    def _synced(self, descriptor: int) -> None:
        inode = os.fstat(descriptor).st_ino
        if inode in self._names:
            self._sure_names[inode] = dict(self._names[inode])
        elif inode in self._contents:
            self._sure_contents[inode] = self._contents[inode]
        self._note()

    def _note(self) -> None:
        self._tape.moments.append(
            Moment(
                names={folder: dict(names) for folder, names in self._names.items()},
                contents=dict(self._contents),
                sure_names={folder: dict(names) for folder, names in self._sure_names.items()},
                sure_contents=dict(self._sure_contents),
                acknowledged=len(self._tape.acknowledged),
            )
        )


def _trees(moment: Moment, top: int) -> Iterator[Tree]:
    folders = moment.names.keys() | moment.sure_names.keys()
    unsure: list[tuple[int, str]] = []
    for folder in sorted(folders):
        now, sure = moment.names.get(folder, {}), moment.sure_names.get(folder, {})
        # A folder that is gone has no names any more, but loses them with its own.
        if folder in moment.names:
            unsure += [(folder, name) for name in sorted(now.keys() | sure.keys()) if now.get(name) != sure.get(name)]
    torn = [inode for inode, content in moment.contents.items() if moment.sure_contents.get(inode, b"") != content]
    for there in _subsets(unsure):
        names = {folder: dict(moment.sure_names.get(folder, {})) for folder in folders}
        for folder, name in there:
            if (inode := moment.names[folder].get(name)) is None:
                names[folder].pop(name, None)
            else:
                names[folder][name] = inode
        reached = set(_reached(names, top))
        doubtful = [inode for inode in torn if inode in reached]
        for written in _contents(moment, doubtful):
            yield dict(_paths(names, written, top, ""))


def _subsets(parts: Sequence[Any]) -> Iterator[Sequence[Any]]:
    if len(parts) <= _ALL_WAYS:
        for size in range(len(parts) + 1):
            yield from itertools.combinations(parts, size)
        return
    for number in range(len(parts) + 1):
        yield parts[:number]
        yield parts[number:]
        yield parts[number : number + 1]
        yield [*parts[:number], *parts[number + 1 :]]


def _contents(moment: Moment, doubtful: Sequence[int]) -> Iterator[Contents]:
    sure = {inode: moment.sure_contents.get(inode, b"") for inode in moment.contents}
    ways = [list(dict.fromkeys(_halves(sure[inode], moment.contents[inode]))) for inode in doubtful]
    chosen: Iterable[tuple[bytes, ...]] = itertools.product(*ways)
    if len(doubtful) > 2:
        chosen = [tuple(way[min(at, len(way) - 1)] for way in ways) for at in range(3)]
    for contents in chosen:
        yield sure | dict(zip(doubtful, contents, strict=True))


def _halves(sure: bytes, now: bytes) -> Iterator[bytes]:
    """What a disk may hold of a content between the one it surely had and the present one."""
    yield sure
    same = next((at for at, (a, b) in enumerate(zip(sure, now, strict=False)) if a != b), min(len(sure), len(now)))
    yield now[: same + (len(now) - same) // 2]
    yield now


def _reached(names: Names, folder: int) -> Iterator[int]:
    for inode in names[folder].values():
        yield inode
        if inode in names:
            yield from _reached(names, inode)


def _paths(names: Names, contents: Contents, folder: int, above: str) -> Iterator[tuple[str, bytes | None]]:
    for name, inode in names[folder].items():
        path = f"{above}{name}"
        if inode in names:
            yield path, None
            yield from _paths(names, contents, inode, f"{path}/")
        else:
            yield path, contents[inode]


def _put(tree: Tree, root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()
    for path, content in tree.items():
        if content is None:
            (root / path).mkdir()
        else:
            descriptor = os.open(root / path, os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(descriptor, content)
            os.close(descriptor)
