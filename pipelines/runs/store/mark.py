"""Which indices of a store a working folder wrote: where the store's last is one of them, the folder is ahead of it."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from actors.contract.records import Record
from actors.files.records import find_record
from actors.files.shards import write_text
from pipelines.runs.lease.files import FOLDER

# Beside the folder's own lease: it goes with the folder, and is neither cleared with the run nor a part of it.
NAME = f"{FOLDER}/store.json"
# An index whose writing was cut short may have come through all the same.
_REMEMBERED = 16


class Mark(Record):
    """Revisions, oldest first; written down before the index itself."""

    revisions: tuple[str, ...] = ()

    @classmethod
    def read(cls, working: Path) -> Self:
        """That of a working folder.

        Raises:
            SalusError: it cannot be read.
        """
        return find_record(cls, working / NAME, "the mark of a working folder", f"delete {working}") or cls()

    def add(self, working: Path, revision: str) -> Mark:
        """The same with one more revision, kept on disk."""
        mark = Mark(revisions=(*self.revisions, revision)[-_REMEMBERED:])
        write_text(mark.model_dump_json(), working / NAME)
        return mark
