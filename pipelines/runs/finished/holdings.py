"""What one run holds: its artefacts in the order they were made, with their sizes."""

from __future__ import annotations

from collections.abc import Iterator

from actors.contract.records import Record
from actors.contract.run_folder import RunFolder
from pipelines.config.recipe import Recipe
from pipelines.runs.checksums import file_names
from pipelines.runs.finished.busy import is_finished
from pipelines.runs.finished.gc import removed_sums
from pipelines.runs.finished.lineage import Kind, lineage
from pipelines.runs.finished.manifest import content_hash, known_sums
from pipelines.runs.finished.shape import shape_of


class Holding(Record):
    """One artefact on disk."""

    path: str
    kind: Kind
    files: int
    # None where it was removed.
    bytes: int | None
    # None while the run is not finished.
    sha256: str | None


def holdings(folder: RunFolder, recipe: Recipe) -> Iterator[Holding]:
    """Every artefact of a run; no file is read, hashes are those of the run's sums.

    Raises:
        SalusError: sums, decisions or the record of what was removed cannot be read.
    """
    there = {name for name in file_names(folder) if name != folder.manifest.name}
    sums = known_sums(folder) if is_finished(folder) else removed_sums(folder)
    shape = shape_of(folder, recipe, there | sums.keys())
    for node in lineage(shape):
        below = shape.below(node.path)
        present = [folder.root / name for name in below if name in there]
        known = all(name in sums for name in below)
        yield Holding(
            path=node.path,
            kind=node.kind,
            files=len(below),
            bytes=sum(file.stat().st_size for file in present) if present else None,
            sha256=content_hash({name: sums[name] for name in below}, node.path) if known else None,
        )
