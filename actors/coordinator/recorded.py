"""Whether the decision on record was made of what there is now: then it is read, and not made a second time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from actors.contract.records import ChallengerName, Record
from actors.contract.run_folder import RunFolder
from actors.files.records import read_record
from actors.files.shards import shard_files
from actors.files.sums import file_sum


class RecordedVerdict(BaseModel):
    """What the coordinator needs of a decision record, whatever else is in it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    chosen: ChallengerName
    publish: bool
    ended: str | None = None


class RecordedDecision(Record):
    """A decision that was written down, and what it was made of."""

    # SHA-256 over all the rule was shown or looks up.
    inputs: str
    # SHA-256 of the record's file.
    record: str

    @classmethod
    def of(cls, record: Path, inputs: str) -> Self:
        return cls(inputs=inputs, record=file_sum(record))

    def verdict(self, record: Path, inputs: str) -> RecordedVerdict | None:
        """The recorded choice; None where it is of other inputs, or the record is not the one that was written."""
        if inputs != self.inputs or not record.is_file() or file_sum(record) != self.record:
            return None
        return read_record(RecordedVerdict, record, "a decision")


def decision_inputs(
    folder: RunFolder, cycle: int, judgments: Iterable[Path], failed: Mapping[ChallengerName, str]
) -> str:
    """SHA-256 over the judgments and trusted labels of a cycle, what became of its training, capability, and the past.

    Raises:
        SalusError: one of the folders holds no judgments.
    """
    evaluations = folder.evaluations("validation")
    # A set: those that the cycle is decided on are among all that were judged.
    files = {file for each in judgments for file in shard_files(each)}
    # The rule looks up what was published last, whose judgments may be of an earlier cycle.
    files |= {*evaluations.glob("*/judged_by/*/*.parquet"), *evaluations.glob("*/capability/figures.json")}
    # The probe's answers say whether the winner may be published.
    files |= set(folder.evaluations("probe").glob("*/judged_by/*/*.parquet"))
    looked_up = (folder.control(cycle), *(folder.decision(before) for before in range(1, cycle)))
    files |= {path for path in looked_up if path.is_file()}
    sums = {path.relative_to(folder.root).as_posix(): file_sum(path) for path in files}
    return hashlib.sha256(json.dumps([cycle, sums, dict(failed)], sort_keys=True).encode()).hexdigest()
