"""A program that stores a folder for ever, writing it anew each time, until it is killed."""

from __future__ import annotations

import sys
from pathlib import Path

from pipelines.runs.store.place import RemotePlace, place_of
from tests.pipelines.runs.store.stored import mirror_of, write

FILES = 40


def written(generation: int) -> dict[str, str]:
    """The files of one generation: all of the same, and one more than before."""
    names = [f"cycles/{cycle:02d}/decision.json" for cycle in range(FILES + generation)]
    return {"recipe.yaml": "name: demo"} | {name: f"generation {generation:06d}" for name in names}


def main() -> None:
    from actors.contract.run_folder import RunFolder
    from pipelines.runs.store.connect import connect
    from pipelines.runs.store.contents import snapshot

    place, root = place_of(sys.argv[1]), Path(sys.argv[2])
    assert isinstance(place, RemotePlace)
    mirror = mirror_of(connect(place), root)
    for generation in range(10_000):
        write(root, written(generation))
        mirror.push(snapshot(RunFolder(root)))
        print(generation, flush=True)


if __name__ == "__main__":
    main()
