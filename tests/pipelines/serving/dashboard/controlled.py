"""Control answers in a run folder: a cycle whose judge was checked, and one that waits for people."""

from __future__ import annotations

import pyarrow as pa

from actors.contract.records import Label
from actors.contract.run_folder import RunFolder
from pipelines.decision.control import CONTROL_SCHEMA, write_control
from pipelines.feedback.control.queue import write_queue
from tests.pipelines.finished import PROMPTS, answers

# The judge's label and the trusted one of each answer: one the judge could not label, one without a trusted label.
PAIRS: tuple[tuple[Label | None, Label | None], ...] = (
    *(("Refuse", "Refuse"),) * 12,
    *(("Accept", "Accept"),) * 6,
    ("Accept", "Refuse"),
    ("Caution", "Accept"),
    (None, "Accept"),
    ("Accept", None),
)


def put_checked(folder: RunFolder, cycle: int) -> None:
    """Trusted labels of a cycle's answers by a second judge."""
    rows = [
        {
            "prompt_id": f"p{i}",
            "contender": "champion",
            "policy": "c0-base",
            "level": i % 4,
            "judge_label": judged,
            "reference_label": trusted,
            "reference": "judge outside, calibrated",
            "inclusion_probability": 0.5,
        }
        for i, (judged, trusted) in enumerate(PAIRS)
    ]
    write_control({"champion": pa.Table.from_pylist(rows, schema=CONTROL_SCHEMA)}, folder.control(cycle))


def put_waiting(folder: RunFolder, cycle: int) -> None:
    """A cycle's queue for people, none of whom has labelled."""
    write_queue([answers("c2-dpo", PROMPTS)], folder.control_work(cycle), 0)
