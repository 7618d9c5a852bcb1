"""A command of `salus` that stands still, with all its threads, at one of its writes to a store, until it is woken."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from pipelines.runs.store.objects import Objects, Version

# The index after the one that a process begins with.
INDEX = ".index/2.json"
RECIPE = "recipe.yaml"


def main() -> None:
    from pipelines.cli.main import main as salus

    point = sys.argv[1]
    put_if_absent, upload = Objects.put_if_absent, Objects.upload

    def stalled_put(self: Objects, name: str, content: bytes) -> Version | None:
        if name == point:
            os.kill(os.getpid(), signal.SIGSTOP)
        return put_if_absent(self, name, content)

    def stalled_upload(self: Objects, source: Path, name: str, sha256: str) -> None:
        if source.name == point:
            os.kill(os.getpid(), signal.SIGSTOP)
        upload(self, source, name, sha256)

    Objects.put_if_absent = stalled_put  # type: ignore[method-assign]
    Objects.upload = stalled_upload  # type: ignore[method-assign]
    salus(sys.argv[2:])


if __name__ == "__main__":
    main()
