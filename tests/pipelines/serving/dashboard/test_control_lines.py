"""The judge by cycle, and what a run cost: from the files of the run, also while people still label."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from actors.contract.run_folder import RunFolder
from actors.files.shards import write_text
from actors.judges.usage import Usage
from pipelines.cluster.turns.cost import GpuUse
from pipelines.runs.summary import find_summary
from pipelines.serving.dashboard.pages_data import PagesData, PagesDataConfig
from pipelines.serving.dashboard.source import read_dashboard
from tests.pipelines.serving.dashboard.controlled import PAIRS, put_checked, put_waiting


def test_a_run_without_control_labels_has_no_lines(run: RunFolder) -> None:
    assert read_dashboard(run.root).control == ()


def test_each_cycles_control_answers_are_counted(run: RunFolder) -> None:
    put_checked(run, 2)
    put_checked(run, 1)
    first, second = read_dashboard(run.root).control
    assert (first.cycle, second.cycle, first.reference) == (1, 2, "judge outside, calibrated")
    assert (first.asked, first.answered, first.disagreed) == (len(PAIRS), len(PAIRS) - 1, 2)
    assert first.accuracy is not None and (first.accuracy.value, first.accuracy.n) == (0.9, 20)
    assert first.kappa is not None and first.kappa.low < first.kappa.value < 0.9


def test_what_waits_for_people_is_counted_and_tells_nothing_of_the_judge(run: RunFolder, tmp_path: Path) -> None:
    put_checked(run, 1)
    put_waiting(run, 3)
    pages = PagesData(run.root, tmp_path / "labels", config=PagesDataConfig(fresh_s=0))

    async def label() -> None:
        items = [item for item in await pages.next(200, "alice") if item.queue == "control"]
        for item in items[:4]:
            await pages.label(item.key, "Refuse", "alice")
        _, waits = (await pages.data()).control
        assert (waits.cycle, waits.reference, waits.asked, waits.answered) == (3, "people", len(items), 4)
        assert (waits.disagreed, waits.accuracy, waits.kappa) == (None, None, None)

    asyncio.run(label())
    # Once it is decided, it is a checked cycle like any other.
    put_checked(run, 3)
    assert [line.disagreed for line in read_dashboard(run.root).control] == [2, 2]


@pytest.mark.parametrize("file", ["cycles/01/control.parquet", "cycles/01/control/queue.parquet"])
def test_a_damaged_file_is_told_and_hides_nothing_else(run: RunFolder, file: str) -> None:
    whole = read_dashboard(run.root)
    (run.root / file).parent.mkdir(exist_ok=True)
    (run.root / file).write_bytes(b"PAR1 no table")
    data = read_dashboard(run.root)
    assert data.control == () and data.decisions == whole.decisions
    assert any(Path(file).name in sentence for sentence in data.missing)


def test_labels_that_cannot_be_read_are_told(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "labels.jsonl").write_text("no label\n")
    pages = PagesData(run.root, tmp_path / "labels", config=PagesDataConfig(fresh_s=0))
    assert any("is no label" in sentence for sentence in asyncio.run(pages.data()).missing)


def test_the_cost_is_that_of_the_summary(run: RunFolder) -> None:
    cost = read_dashboard(run.root).cost
    assert cost is not None and (cost.wall_s, cost.gpu_hours, cost.money, cost.judge) == (1.0, None, None, None)
    summary = find_summary(run.summary)
    assert summary is not None
    usage = Usage(requests=3, prompt_tokens=1200, completion_tokens=6, cost_usd=0.02)
    use = GpuUse.of(8, 7200, 48_000, 2.5)
    write_text(summary.model_copy(update={"gpu_use": use, "judge_usage": usage}).model_dump_json(), run.summary)
    cost = read_dashboard(run.root).cost
    assert cost is not None and (cost.gpu_hours, cost.money, cost.judge) == (16.0, 40.0, usage)
    run.summary.unlink()
    assert read_dashboard(run.root).cost is None
