"""Whole weights of challengers, merged on the node that loads them: a run folder holds their adapters alone.

```
adapter, champion --of--> whole weights in a folder of this node --> an engine
                                                                 --keep_merged--> the run folder, for a winner
```
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from actors.contract.records import PolicyRef
from actors.files.atomic import make_folder, move_into_place
from actors.files.full_disk import disk_of
from actors.files.session_folder import private_folder
from actors.files.sums import file_sum, joint_sum
from actors.training.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS, COMPANIONS, merge

# Beside the weights in a challenger's folder.
ADAPTER = "adapter"
_BASE_FILES = ("config.json", "*.safetensors", "*.safetensors.index.json", *COMPANIONS)
# Other versions of these could merge to other bits.
_MERGED_BY = ("peft", "torch", "transformers")
# Nothing here is synced, so a power cut may leave files without their content: no later boot may find them.
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_WEIGHTS = "weights"
_DIGITS = 20
# An entry of another champion is removed once it has been unused so long. A run that still needs it merges anew.
_IDLE_S = 600.0
# Until an entry is looked at again that others had locked.
_AGAIN_S = 0.05


def is_unmerged(policy: PolicyRef) -> bool:
    """Whether a policy's folder is not there, and an adapter beside it is."""
    folder = Path(policy.path)
    return not folder.is_dir() and (folder.with_name(ADAPTER) / ADAPTER_WEIGHTS).is_file()


class NodeWeights:
    """The merged weights on this node, as one process uses them; every process of the user shares the folder.

    An entry is named by the content of champion and adapter. A process that uses one holds its lock, so that no other
    removes it. The folder is private, and below the temporary folder, which ends with Salus's own Ray session.

    Life: `NodeWeights()` -> `of`* -> `forget` | `close`
    """

    def __init__(self) -> None:
        self._root = Path(tempfile.gettempdir()) / f"salus-merged-{os.geteuid()}"
        self._held: tuple[Path, int] | None = None
        self._used: set[Path] = set()
        # By folder and the files that were there: reading a large model takes long.
        self._sums: dict[tuple[Path, tuple[tuple[str, int, int], ...]], str] = {}

    def of(self, policy: PolicyRef, base: PolicyRef | None) -> PolicyRef:
        """The policy in a folder that has its weights, until the next call; merged first, where that is needed.

        Args:
            policy: what is to be loaded.
            base: the champion that its adapter was trained on; None where the policy has whole weights.

        Raises:
            SalusError: the adapter does not fit the champion, or one of them cannot be read.
            FullDiskError: the node's temporary folder is full.
        """
        if base is None or not is_unmerged(policy):
            self.close()
            return policy
        champion, adapter = Path(base.path), Path(policy.path).with_name(ADAPTER)
        entry = private_folder(self._root) / f"{self._sum(champion, _BASE_FILES)}-{self._adapter_sum(adapter)}"
        if self._held is None or self._held[0] != entry:
            self.close()
            self._held = (entry, self._hold(entry, champion, adapter))
            self._used.add(entry)
        return policy.model_copy(update={"path": str(entry / _WEIGHTS)})

    def close(self) -> None:
        """Use none any more; what is there stays for others."""
        if self._held is not None:
            os.close(self._held[1])
            self._held = None

    def forget(self) -> None:
        """Remove every entry that this process used, but those that another one uses."""
        self.close()
        for entry in self._used:
            _remove(entry)
        self._used.clear()

    def _hold(self, entry: Path, champion: Path, adapter: Path) -> int:
        """The lock of an entry that is whole, shared with other users of it."""
        while True:
            # It waits for a process that is making it.
            lock = _locked(entry, fcntl.LOCK_SH)
            try:
                if (entry / _WEIGHTS).is_dir():
                    os.utime(entry)
                    return lock
            except BaseException:
                os.close(lock)
                raise
            os.close(lock)
            # Alone to make it, and then again as one of its users: it may have been removed between the two locks. Not
            # waited for, as a process that made it meanwhile shares it for as long as it loads nothing else.
            try:
                lock = _locked(entry, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_AGAIN_S)
                continue
            try:
                if not (entry / _WEIGHTS).is_dir():
                    self._clear(entry)
                    _merge(entry, champion, adapter)
            finally:
                os.close(lock)

    def _clear(self, entry: Path) -> None:
        """Remove what is of another champion and has not been used for a while."""
        champion = entry.name.partition("-")[0]
        for other in self._root.iterdir():
            with suppress(FileNotFoundError):
                idle = time.time() - other.stat().st_mtime > _IDLE_S
                if idle and other.name.partition("-")[0] != champion:
                    _remove(other)

    def _adapter_sum(self, adapter: Path) -> str:
        made_by = [f"{name} {metadata.version(name)}" for name in _MERGED_BY]
        boot = _BOOT.read_text(encoding="ascii") if _BOOT.is_file() else ""
        own = self._sum(adapter, (ADAPTER_CONFIG, ADAPTER_WEIGHTS))
        return joint_sum((own, name) for name in (*made_by, boot))[:_DIGITS]

    def _sum(self, folder: Path, patterns: tuple[str, ...]) -> str:
        paths = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
        there = tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths)
        if (folder, there) not in self._sums:
            self._sums[folder, there] = joint_sum((file_sum(path), path.name) for path in paths)[:_DIGITS]
        return self._sums[folder, there]


def keep_merged(policy: PolicyRef, base: PolicyRef) -> None:
    """Write a challenger's whole weights into its folder, on disk; what is there already is left.

    Args:
        policy: a challenger, beside whose folder its adapter is.
        base: the champion that it was trained on.

    Raises:
        SalusError: as `NodeWeights.of`; also FullDiskError for the run folder's disk.
        OSError: the run folder cannot be written.
    """
    if not is_unmerged(policy):
        return
    target, weights = Path(policy.path), NodeWeights()
    # As training calls what is not complete yet.
    work = target.with_name(".work")
    try:
        source = Path(weights.of(policy, base).path)
        with disk_of(target):
            shutil.rmtree(work, ignore_errors=True)
            make_folder(work / target.name)
            for file in source.iterdir():
                shutil.copyfile(file, work / target.name / file.name)
            move_into_place(work / target.name, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        weights.close()


def _merge(entry: Path, champion: Path, adapter: Path) -> None:
    made = entry / "made"
    with disk_of(entry):
        shutil.rmtree(made, ignore_errors=True)
        merge(champion, adapter, made)
        os.rename(made, entry / _WEIGHTS)


def _locked(entry: Path, how: int) -> int:
    """An entry's folder, made where there is none, with a lock on it."""
    while True:
        with suppress(FileExistsError):
            entry.mkdir(0o700)
        try:
            lock = os.open(entry, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, how)
            if _is_at(lock, entry):
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _is_at(lock: int, entry: Path) -> bool:
    """Whether the folder behind a lock is the one of this name still."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(lock), entry.stat())
    return False


def _remove(entry: Path) -> None:
    """Remove an entry that no process uses."""
    with suppress(BlockingIOError):
        lock = _locked(entry, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            shutil.rmtree(entry, ignore_errors=True)
        finally:
            os.close(lock)
