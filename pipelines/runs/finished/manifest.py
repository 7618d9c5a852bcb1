"""`manifest.json`: the content hash of every artefact of a finished run, and the hashes of what it was made from.

It is one of the files that `SHA256SUMS` names, so the run's hash vouches for the lineage too. Its own hash is
therefore in the sums alone, and the sums are in neither.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from actors.contract.records import Record
from actors.contract.run_folder import RunFolder
from actors.contract.run_names import POLICY
from actors.errors import SalusError
from actors.files.records import find_record
from actors.files.shards import write_text
from pipelines.config.recipe import Recipe
from pipelines.runs.checksums import file_sums, read_sums, write_sums
from pipelines.runs.finished.gc import removed_sums
from pipelines.runs.finished.lineage import JUDGE, Kind, lineage
from pipelines.runs.finished.shape import RunShape, names_below, shape_of
from pipelines.runs.open import noted_model

VERSION: Literal[1] = 1


class Source(Record):
    """Something an artefact was made from."""

    # An artefact's path, or the name of an outside model.
    path: str
    sha256: str | None


class Artefact(Record):
    """One file, or one folder of files that are made together."""

    # Relative to the run folder.
    path: str
    kind: Kind
    # Of a file its sum; of a folder the sum over its files' lines (`content_hash`).
    sha256: str
    files: int
    made_from: tuple[Source, ...]
    # Dotted names of the settings that decided what it holds, and the sum over their values.
    settings: tuple[str, ...]
    settings_sha256: str


class Outside(Record):
    """A model that the run used and did not make; the run's record says where it was."""

    name: str
    # In manifests of earlier versions: it is not the same on every machine.
    path: str | None = None
    # Of its files (`pipelines.runs.contents.MODEL_FILES`); None where an earlier version took it up.
    sha256: str | None


class Manifest(Record):
    """Everything a run holds, in the order it was made."""

    version: Literal[1] = VERSION
    # Over every setting of the resolved recipe.
    recipe_sha256: str
    outside: tuple[Outside, ...]
    artefacts: tuple[Artefact, ...]


def content_hash(sums: Mapping[str, str], path: str) -> str:
    """Of a file its SHA-256; of a folder that of the lines `sha256sum` prints for its files, in order of name.

    `sums`: SHA-256 by name; a file's name in a line is relative to the folder.
    """
    if path in sums:
        return sums[path]
    below = names_below(sorted(sums), path)
    return _folder_hash({name[len(path) + 1 :]: sums[name] for name in below})


def build_manifest(shape: RunShape, sums: Mapping[str, str], outside: tuple[Outside, ...]) -> Manifest:
    """The manifest of a run of this shape, whose files have these sums; reads nothing."""
    tree = shape.recipe.model_dump(mode="json")
    nodes = lineage(shape)
    hashes: dict[str, str | None] = {model.name: model.sha256 for model in outside}
    own = {node.path: _hash_of(shape, sums, node.path) for node in nodes}
    hashes |= own
    return Manifest(
        recipe_sha256=_settings_hash(tree),
        outside=outside,
        artefacts=tuple(
            Artefact(
                path=node.path,
                kind=node.kind,
                sha256=own[node.path],
                files=len(shape.below(node.path)),
                made_from=tuple(Source(path=name, sha256=hashes[name]) for name in node.made_from if name in hashes),
                settings=node.settings,
                settings_sha256=_settings_hash({name: _setting(tree, name) for name in node.settings}),
            )
            for node in nodes
        ),
    )


def seal_run(recipe: Recipe, folder: RunFolder) -> str:
    """Write the manifest and the sums of a run that came to its end; every file is read once. Returns the run's hash.

    Raises:
        SalusError: a decision cannot be read, or a file's name would not fit on one line.
    """
    sums = present_sums(folder)
    manifest = build_manifest(shape_of(folder, recipe, sums), sums, _outside(folder))
    write_text(manifest.model_dump_json(indent=1) + "\n", folder.manifest)
    return write_sums(folder, sums)


def known_sums(folder: RunFolder) -> dict[str, str]:
    """SHA-256 of every file a finished run has, or had before it was removed, but of the manifest, by name.

    Raises:
        SalusError: the run has no sums, or they or the record of what was removed cannot be read.
    """
    return _with_removed(folder, read_sums(folder))


def present_sums(folder: RunFolder) -> dict[str, str]:
    """The same as the files are now: each is read. Raises as `removed_sums` does."""
    return _with_removed(folder, file_sums(folder))


def read_manifest(folder: RunFolder) -> Manifest | None:
    """A run's manifest; None where it has none: it is not finished, or an earlier version made it.

    Raises:
        SalusError: it cannot be read.
    """
    return find_record(Manifest, folder.manifest, f"a manifest of version {VERSION}")


def check_manifest(folder: RunFolder) -> None:
    """Hold a finished run's manifest, where it has one, against its sums; those must hold themselves.

    Raises:
        SalusError: it cannot be read, or does not agree with them.
    """
    manifest = read_manifest(folder)
    found = list(faults(manifest, known_sums(folder))) if manifest is not None else []
    if found:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise SalusError(
            f"{folder.manifest} does not agree with the files of its run ({found[0]}{more}); take both from a copy."
        )


def faults(manifest: Manifest, sums: Mapping[str, str]) -> Iterator[str]:
    """What in a manifest does not agree with the sums of the run's files, or with itself, one clause each."""
    hashes: dict[str, str | None] = {model.name: model.sha256 for model in manifest.outside}
    hashes |= {artefact.path: artefact.sha256 for artefact in manifest.artefacts}
    names, covered = sorted(sums), set[str]()
    for artefact in manifest.artefacts:
        below = names_below(names, artefact.path)
        covered.update(below)
        if len(below) != artefact.files or artefact.sha256 != content_hash({n: sums[n] for n in below}, artefact.path):
            yield f"{artefact.path} is not what it names"
        for source in artefact.made_from:
            if source.path not in hashes or hashes[source.path] != source.sha256:
                yield f"{artefact.path} was made from another {source.path}"
    yield from (f"{name} is not in it" for name in names if name not in covered)


def _with_removed(folder: RunFolder, sums: dict[str, str]) -> dict[str, str]:
    # A manifest names no sum of itself; that of an earlier end is about to be written anew.
    return removed_sums(folder) | {name: of for name, of in sums.items() if name != folder.manifest.name}


def _outside(folder: RunFolder) -> tuple[Outside, ...]:
    models = ((POLICY, noted_model(folder, "policy")), (JUDGE, noted_model(folder, "judge")))
    return tuple(Outside(name=name, sha256=note.sha256) for name, note in models if note is not None)


def _hash_of(shape: RunShape, sums: Mapping[str, str], path: str) -> str:
    return content_hash({name: sums[name] for name in shape.below(path)}, path)


def _folder_hash(sums: Mapping[str, str]) -> str:
    lines = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
    return hashlib.sha256(lines.encode()).hexdigest()


def _settings_hash(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _setting(tree: Any, name: str) -> Any:
    """The value of a dotted setting; None where a section on the way to it is not set."""
    for part in name.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree
