"""A run on one line: what it is, how far it is, its result, and what it takes of the disk."""

from __future__ import annotations

from pathlib import Path

from actors.contract.records import Record
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.runs.checksums import run_hash
from pipelines.runs.finished.find import bytes_of
from pipelines.runs.finished.shape import champions_of, recipe_of_run
from pipelines.runs.open import read_run_record
from pipelines.runs.summary import Measured, find_summary


class RunLine(Record):
    """One run in a list."""

    name: str
    recipe: str
    seed: int
    cycles_done: int
    cycles: int
    # The version the last decided cycle left; None before the first.
    champion: str | None
    # Safety Score on the test split; None where there is no summary yet.
    ss_base: Measured | None
    ss_champion: Measured | None
    wall_s: float
    bytes: int
    # SHA-256 of the sums; None where the run is not finished.
    run_hash: str | None


class UnreadableRun(Record):
    """A run folder of which something cannot be read."""

    name: str
    fault: str


def read_line(path: Path, name: str) -> RunLine | UnreadableRun:
    """What a list shows of a run folder, under this name."""
    try:
        return _line(RunFolder(path), name)
    except SalusError as error:
        return UnreadableRun(name=name, fault=error.sentence)
    except OSError as error:
        return UnreadableRun(name=name, fault=f"{path} cannot be read ({error}); mend that.")


def _line(folder: RunFolder, name: str) -> RunLine:
    recipe = recipe_of_run(folder)
    champions = champions_of(folder, recipe.cycles)
    summary = find_summary(folder.summary)
    return RunLine(
        name=name,
        recipe=recipe.name,
        seed=recipe.seed,
        cycles_done=len(champions) - 1,
        cycles=recipe.cycles,
        champion=champions[-1] if len(champions) > 1 else None,
        ss_base=summary.test.base.ss if summary else None,
        ss_champion=summary.test.champion.ss if summary else None,
        wall_s=read_run_record(folder).wall_s,
        bytes=bytes_of(folder.root),
        run_hash=run_hash(folder),
    )
