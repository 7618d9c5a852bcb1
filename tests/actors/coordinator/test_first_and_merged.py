"""What a run begins with where it was fine-tuned first, and the challenger that no trainer makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.contract.records import PolicyRef, TrainReport
from actors.contract.run_folder import MERGE, RunFolder
from actors.contract.run_names import RunNames
from actors.coordinator.coordinator import Coordinator
from actors.coordinator.state import TOO_FEW
from actors.files.shards import write_table, write_text
from tests.actors.coordinator.test_coordinator import BASE, Rule
from tests.rows import judgments, prompt

TUNED = PolicyRef(version="c0-sft", path="/runs/x/cycles/00/sft/merged")


def coordinator(folder: RunFolder, rule: Rule) -> Coordinator:
    return Coordinator(
        str(folder.root), BASE, 7, "base", {"kto": "kto", "dpo": "dpo"}, rule, "ext", "s1", first=TUNED, merges=True
    )


def trained(folder: RunFolder, name: str, algorithm: str) -> TrainReport:
    report = TrainReport(
        rows=1, steps=1, train_s=1, wall_s=1, workers=1, trainable_parameters=1, adapter_change=1, metrics={},
        algorithm=algorithm, cycle=1, challenger=folder.challenger(1, name),
        adapter=str(folder.training(1, name) / "adapter"),
    )  # fmt: skip
    text = RunNames(folder).written(report).model_dump_json()
    write_text(text, folder.training(1, name) / "report.json")
    return report


def answered(folder: RunFolder, version: str) -> None:
    table = judgments([(prompt(1), "Sure.", "Accept")])
    write_table(table, folder.evaluation_judgments("validation", version, "ext") / "part-00000.parquet")


@pytest.mark.parametrize("merged", [True, False])
def test_the_merged_challenger_is_compared_where_there_is_one(merged: bool, tmp_path: Path) -> None:
    folder, rule = RunFolder(tmp_path), Rule("champion")
    made = coordinator(folder, rule)
    assert made.champion() == TUNED
    jobs = made.assign(1)
    # Trainers are asked for no merged policy; the reference of the loss may still be the deployed one.
    assert set(jobs) == {"kto", "dpo"}
    assert {(job.champion, job.reference) for job in jobs.values()} == {(TUNED, BASE)}
    for name in jobs:
        made.training_done(trained(folder, name, name))
    if merged:
        trained(folder, MERGE, MERGE)
    for version in ("c0-sft", "c1-kto", "c1-dpo", *(("c1-merge",) if merged else ())):
        answered(folder, version)
    made.decide(1)
    (_, _, challengers, failed) = rule.shown[0]
    assert set(challengers) == {"kto", "dpo", *((MERGE,) if merged else ())}
    assert failed == ({} if merged else {MERGE: TOO_FEW})
    # One built in its place, in the same session, goes on with the same champion.
    assert coordinator(folder, Rule()).champion() == TUNED
