"""The control answers of each cycle: how many were asked for, labelled, and labelled otherwise than by the judge."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from actors.contract.run_folder import RunFolder
from actors.files.shards import read_shard, strings
from actors.serve.pages.dashboard_data import ControlLine
from pipelines.decision.control import CONTROL_SCHEMA
from pipelines.feedback.control.people import PEOPLE
from pipelines.feedback.control.queue import QUEUE_SCHEMA, waiting_cycles
from pipelines.measures.agreement import agreement


def control_lines(folder: RunFolder, agreed: Collection[str]) -> tuple[ControlLine, ...]:
    """A line for each cycle that has control labels, or waits for them, oldest first.

    Args:
        folder: of the run.
        agreed: keys of the answers on which reviewers agree.

    Raises:
        SalusError: a file of the run cannot be read.
    """
    labelled = {
        int(name): file
        for file in folder.root.glob("cycles/*/control.parquet")
        if (name := file.parent.name).isdecimal()
    }
    lines = [_labelled(cycle, file) for cycle, file in labelled.items()]
    lines += [_waiting(cycle, file, agreed) for cycle, file in waiting_cycles(folder).items()]
    return tuple(sorted(lines, key=lambda line: line.cycle))


def _labelled(cycle: int, file: Path) -> ControlLine:
    rows = read_shard(file, CONTROL_SCHEMA)
    trusted, judged = rows["reference_label"].to_pylist(), rows["judge_label"].to_pylist()
    found = agreement(trusted, judged, groups=strings(rows, "prompt_id"))
    return ControlLine(
        cycle=cycle,
        reference=", ".join(dict.fromkeys(strings(rows, "reference"))),
        asked=rows.num_rows,
        answered=sum(label is not None for label in trusted),
        disagreed=sum(a is not None and b is not None and a != b for a, b in zip(trusted, judged, strict=True)),
        accuracy=found.accuracy,
        kappa=found.kappa,
    )


def _waiting(cycle: int, file: Path, agreed: Collection[str]) -> ControlLine:
    keys = strings(read_shard(file, QUEUE_SCHEMA), "key")
    return ControlLine(
        cycle=cycle,
        reference=PEOPLE,
        asked=len(keys),
        answered=sum(key in agreed for key in keys),
        disagreed=None,
        accuracy=None,
        kappa=None,
    )
