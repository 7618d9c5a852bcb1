"""Garbage collection: removes from finished runs what can be made again, or what is no longer needed.

found --gc_plan--> planned --[asked]--> recorded in gc.json --> removed
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from actors.contract.publication import read_publications
from actors.contract.records import Record
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.atomic import TEMPORARY
from actors.files.records import find_record
from actors.files.shards import write_text
from pipelines.runs.checksums import read_sums
from pipelines.runs.finished.busy import why_busy
from pipelines.runs.finished.find import bytes_of, find_runs
from pipelines.runs.finished.shape import champions_of, names_below, recipe_of_run
from pipelines.runs.lease.lease import hold

# As `actors.training.trl` names what is not complete yet.
_WORK = ".work"


class Removed(Record):
    """One folder or file that was removed."""

    # Relative to the run folder.
    path: str
    bytes: int
    # ISO 8601, UTC.
    removed_at: str
    # SHA-256 of its files as the run's sums name them; empty for what the sums leave out.
    sums: dict[str, str]


class GcRecord(Record):
    """Everything `salus runs gc` ever removed from one run; written before, so some of it may still be there."""

    removed: tuple[Removed, ...] = ()


def read_gc_record(folder: RunFolder) -> GcRecord:
    """What was removed so far; nothing where there is no record.

    Raises:
        SalusError: the record cannot be read.
    """
    return find_record(GcRecord, folder.collected, "a record of salus runs gc") or GcRecord()


def removed_sums(folder: RunFolder) -> dict[str, str]:
    """SHA-256 of every file of the run that was removed, by name.

    Raises:
        SalusError: the record cannot be read.
    """
    return {name: of for each in read_gc_record(folder).removed for name, of in each.sums.items()}


class Waste(StrEnum):
    """Why something may go."""

    # Of a challenger that lost, merged from an adapter that stays; in runs of earlier versions.
    WEIGHTS = "weights"
    # The same of a full fine-tune: there is no other copy.
    FULL_WEIGHTS = "full_weights"
    # Ray Train's own checkpoints and state.
    RAY_TRAIN = "ray_train"
    # Files that were being written when a process ended.
    PARTIAL = "partial"


# What goes only where it is asked for: the only copy of something.
KEPT = frozenset({Waste.FULL_WEIGHTS})


@dataclass(frozen=True)
class GcItem:
    """One folder or file that may go."""

    waste: Waste
    path: Path
    bytes: int


@dataclass(frozen=True)
class GcPlan:
    """What may go from one run."""

    folder: RunFolder
    items: tuple[GcItem, ...]

    @property
    def bytes(self) -> int:
        return sum(item.bytes for item in self.items)


def gc_plan(folder: RunFolder, keep: Set[Waste] = KEPT) -> GcPlan:
    """What may be removed from a finished run, but for kinds to be kept; removes nothing.

    Raises:
        SalusError: the run is not finished, a process holds it, or it cannot be read.
    """
    refuse_busy(folder)
    found = [*_losers(folder), *_ray_train(folder), *_partial(folder)]
    return GcPlan(folder, tuple(item for item in found if item.waste not in keep))


def gc_plans(folder: Path, keep: Set[Waste] = KEPT) -> tuple[list[GcPlan], list[str]]:
    """Plans for a run, or for every run in a folder, where there is something to remove; and why others are left alone.

    Raises:
        SalusError: there is no such folder, or the one run it is cannot be touched.
    """
    plans, left = list[GcPlan](), list[str]()
    for path in find_runs(folder):
        try:
            plans.append(gc_plan(RunFolder(path), keep))
        except SalusError as error:
            if path == folder:
                raise
            left.append(error.sentence)
    return [plan for plan in plans if plan.items], left


def refuse_busy(folder: RunFolder) -> None:
    """Refuse to touch what may still be needed.

    Raises:
        SalusError: the run is not finished, or a process holds it.
    """
    if (why := why_busy(folder)) is not None:
        raise SalusError(f"{folder.root} is left alone: {why}.")


def collect(plan: GcPlan) -> GcRecord:
    """Remove what was planned; the record is written first, so that an end half-way leaves nothing unexplained.

    Raises:
        SalusError: the run was taken up since, or the disk refuses.
    """
    refuse_busy(plan.folder)
    with hold(plan.folder.root, recipe_of_run(plan.folder).cluster.lease_s, lambda _: None):
        return _collect(plan)


def _collect(plan: GcPlan) -> GcRecord:
    before = read_gc_record(plan.folder)
    record = GcRecord(removed=(*before.removed, *_removals(plan)))
    try:
        write_text(record.model_dump_json(indent=1) + "\n", plan.folder.collected)
        for item in plan.items:
            _remove(item.path)
    except OSError as error:
        raise SalusError(f"{plan.folder.root} cannot be cleared ({error}); mend that and run it again.") from error
    return record


def may_miss(folder: RunFolder) -> frozenset[str]:
    """Files that the sums name and whose absence is no fault: `gc.json` names them with the same sum.

    A record written by hand excuses nothing but weights of a challenger that lost.

    Raises:
        SalusError: record, sums, decisions or publications cannot be read.
    """
    recorded = removed_sums(folder)
    if not recorded:
        return frozenset()
    sums, names = read_sums(folder), sorted(recorded)
    lost = [path.relative_to(folder.root).as_posix() for path in _lost(folder)]
    return frozenset(n for path in lost for n in names_below(names, path) if sums.get(n) == recorded[n])


def _removals(plan: GcPlan) -> Iterator[Removed]:
    sums, now = read_sums(plan.folder), datetime.now(UTC).isoformat(timespec="seconds")
    names = sorted(sums)
    for item in plan.items:
        path = item.path.relative_to(plan.folder.root).as_posix()
        of = {name: sums[name] for name in names_below(names, path)}
        yield Removed(path=path, bytes=item.bytes, removed_at=now, sums=of)


def _lost(folder: RunFolder) -> list[Path]:
    """Where the merged weights are, or were, of challengers that were never champion and never live."""
    recipe = recipe_of_run(folder)
    published = [live.version for live in read_publications(folder.publications)]
    needed = {*champions_of(folder, recipe.cycles), *published}
    cycles, names = range(1, recipe.cycles + 1), recipe.contestants
    challengers = [folder.challenger(cycle, name) for cycle in cycles for name in names]
    return [Path(each.path) for each in challengers if each.version not in needed]


def _losers(folder: RunFolder) -> Iterator[GcItem]:
    for path in _lost(folder):
        if path.is_dir() and not path.is_symlink():
            adapter = path.with_name("adapter").is_dir()
            yield GcItem(Waste.WEIGHTS if adapter else Waste.FULL_WEIGHTS, path, bytes_of(path))


def _ray_train(folder: RunFolder) -> Iterator[GcItem]:
    if folder.train_storage.is_dir() and not folder.train_storage.is_symlink():
        yield GcItem(Waste.RAY_TRAIN, folder.train_storage, bytes_of(folder.train_storage))


def _partial(folder: RunFolder) -> Iterator[GcItem]:
    for path in sorted(folder.root.rglob(".*")):
        inside_ray_train = folder.train_storage in path.parents
        in_work = _WORK in path.relative_to(folder.root).parts[:-1]
        if path.is_symlink() or inside_ray_train or in_work:
            continue
        if TEMPORARY.fullmatch(path.name) or (path.is_dir() and path.name == _WORK):
            yield GcItem(Waste.PARTIAL, path, bytes_of(path))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
