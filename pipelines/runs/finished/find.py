"""Where runs are below a folder, and what they take of the disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.runs.several import FleetFolder, StudyFolder


def find_runs(folder: Path) -> list[Path]:
    """Run folders: the folder itself, or those in it and in the studies and fleets in it, in order of name.

    Raises:
        SalusError: there is no such folder.
    """
    if not folder.is_dir():
        raise SalusError(f"There is no folder {folder}; name the one that holds the runs, as: salus runs list DIR.")
    if _is_run(folder):
        return [folder]
    found = list(_several(folder))
    for path in _subfolders(folder):
        found += [path] if _is_run(path) else list(_several(path))
    return found


def name_in(run: Path, folder: Path) -> str:
    """What a list of a folder's runs calls one of them."""
    return run.name if run == folder else run.relative_to(folder).as_posix()


def bytes_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links count as nothing."""
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())


def _is_run(folder: Path) -> bool:
    return RunFolder(folder).recipe.is_file()


def _several(folder: Path) -> Iterator[Path]:
    """The run folders of a study or a fleet; none where the folder is neither."""
    for several in (StudyFolder(folder), FleetFolder(folder)):
        if several.settings.is_file():
            yield from filter(_is_run, _subfolders(several.runs))


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
