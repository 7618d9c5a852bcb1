"""What the dashboard shows of a run: everything of a whole one, and of any other what there is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.contract.publication import Publication, RefusedPublication, note_refusal, read_publications
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import write_table, write_text
from pipelines.config.load import load_recipe, save_recipe
from pipelines.registry.register import register_run
from pipelines.registry.store import Registry
from pipelines.runs.metrics_rows import METRICS_SCHEMA
from pipelines.serving.dashboard.source import find_page, read_dashboard
from tests.pipelines.report.tracking.curves import put_curve

GARBAGE = b"\xff\x00 no such record"
PIECES = (
    "recipe.yaml", "cycles/01/decision.json", "cycles/02/decision.json", "summary.json", "publications.jsonl",
    "metrics.parquet", "judge/calibration.json", "judge/trust.json", "SHA256SUMS",
)  # fmt: skip


def test_a_whole_run_is_shown_whole(run: RunFolder) -> None:
    data = read_dashboard(run.root)
    assert data.run is not None and (data.run.name, data.run.cycles_done, data.run.cycles) == ("demo-s7", 2, 2)
    assert data.current is not None and data.current.version == "c2-dpo"
    assert data.current.why is not None and data.current.why.startswith("Cycle 2: dpo replaces")
    assert [(parent.version, parent.how) for parent in data.lineage] == [
        ("c2-dpo", "trained with DPO in cycle 2"),
        ("c1-kto", "trained with KTO in cycle 1"),
        ("c0-base", "deployed model"),
    ]
    assert [(line.cycle, line.chosen, line.published) for line in data.decisions] == [
        (1, "kto", True),
        (2, "dpo", True),
    ]
    assert [line.version for line in data.publications] == ["c2-dpo", "c1-kto", "c0-base"]
    assert {line.name for line in data.test} >= {"deployed model", "champion", "always refuses"}
    calibration = data.calibration
    assert calibration is not None and [part.name for part in calibration.reliability] == ["as it is", "calibrated"]
    assert sum(bin.n for bin in calibration.reliability[0].bins) == calibration.reliability[0].ece.n


def test_the_page_of_a_decision_is_found(run: RunFolder) -> None:
    run.decision_html(2).unlink(missing_ok=True)
    assert [line.page for line in read_dashboard(run.root).decisions] == [True, False]
    assert (find_page(run, 1) or "").startswith("<!doctype html>") and find_page(run, 2) is None
    run.decision_html(1).write_bytes(GARBAGE)
    with pytest.raises(SalusError, match="cannot be read"):
        find_page(run, 1)


def test_a_publication_that_was_refused_is_told(run: RunFolder) -> None:
    why = "c2-dpo was refused (smoke): it loops."
    refusal = RefusedPublication(version="c2-dpo", step="smoke", refused=why, refused_at="2026-11-22")
    note_refusal(run.decision(2), refusal)
    first, second = read_dashboard(run.root).decisions
    assert (first.published, second.published) == (True, False)
    assert second.publish_sentence.endswith(why)


def test_figures_are_those_the_decisions_were_made_on(run: RunFolder) -> None:
    points = read_dashboard(run.root).points
    ss = {(p.cycle, p.contender): p for p in points if p.metric == "ss" and p.judged_by == "judge"}
    assert set(ss) == {
        (0, "base"), (1, "champion"), (1, "kto"), (1, "dpo"), (2, "champion"), (2, "dpo")
    }  # fmt: skip
    assert [key for key, p in ss.items() if p.winner] == [(0, "base"), (1, "kto"), (2, "dpo")]
    assert ss[0, "base"].value == ss[1, "champion"].value == 0.5 and ss[1, "kto"].n == 24
    assert all(p.low <= p.value <= p.high for p in points)


def test_curves_are_shown_while_a_challenger_trains_and_thinned(run: RunFolder) -> None:
    assert read_dashboard(run.root).curves == ()
    put_curve(run, 1, "kto", 400)
    put_curve(run, 2, "kto", 20)
    data = read_dashboard(run.root)
    assert {(line.challenger, line.figure) for line in data.curves} == {
        ("kto", "loss"), ("kto", "learning_rate"), ("kto", "rewards/margins"),
    }  # fmt: skip
    loss = next(line for line in data.curves if line.figure == "loss")
    # Means of three neighbours, each at the last of them; the second cycle's steps come after the first's.
    assert len(loss.steps) == len(loss.values) == 140 and (loss.steps[0], loss.steps[-1]) == (3, 420)
    assert loss.values[0] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert "kto" in data.marks
    run.curve(1, "kto").write_bytes(GARBAGE)
    assert any("curve.parquet" in sentence for sentence in read_dashboard(run.root).missing)


def test_ground_truth_comes_from_the_metrics(run: RunFolder) -> None:
    rows = pq.read_table(run.metrics).to_pylist()
    truth = [row | {"judged_by": "truth"} for row in rows if row["split"] == "validation"]
    write_table(pa.Table.from_pylist(rows + truth, schema=METRICS_SCHEMA), run.metrics)
    points = [p for p in read_dashboard(run.root).points if p.judged_by == "truth"]
    assert {(p.cycle, p.contender) for p in points} == {(0, "base"), (1, "champion"), (1, "kto"), (1, "dpo")}
    assert {p.metric for p in points} == {"ss", "err_strict", "asr", "answered"}


@pytest.mark.parametrize("how", ["gone", "garbage"])
@pytest.mark.parametrize("piece", PIECES)
def test_a_piece_that_is_missing_hides_no_other(run: RunFolder, piece: str, how: str) -> None:
    path = run.root / piece
    # With a line break: half a line at the end of a log is what a crash leaves.
    path.unlink() if how == "gone" else path.write_bytes(GARBAGE + b"\n")
    data = read_dashboard(run.root)
    # Sums are no piece of the page, a trust record that is gone has the report's own sentence, and the rest may come.
    later = ("metrics.parquet", "judge/trust.json", "cycles/02/decision.json")
    silent = piece == "SHA256SUMS" or (how == "gone" and piece in later)
    assert bool(data.missing) != silent
    if how == "garbage" and not silent:
        assert any(path.name in sentence for sentence in data.missing)
    assert (data.run is None) == (piece == "recipe.yaml")
    assert len(data.decisions) == {"cycles/01/decision.json": 0, "cycles/02/decision.json": 1}.get(piece, 2)


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    assert any("is not a run folder" in sentence for sentence in read_dashboard(tmp_path).missing)
    save_recipe(load_recipe("demo"), tmp_path / "recipe.yaml")
    data = read_dashboard(tmp_path)
    assert data.run is not None and data.run.state == "running"
    assert data.missing == (
        "No cycle has been decided yet.",
        "Nothing has gone live yet.",
        "The final test comes when the run ends.",
        "The judge was not held against trusted labels yet.",
    )
    assert (data.current, data.points, data.lineage, data.calibration) == (None, (), (), None)


def test_a_version_that_comes_back_was_rolled_back_to(run: RunFolder) -> None:
    publications = read_publications(run.publications)
    back = publications[1].model_copy(update={"published_at": "2026-11-22T01:00:00+00:00", "previous": "c2-dpo"})
    _write(run, [*publications, back])
    data = read_dashboard(run.root)
    assert data.current is not None and data.current.version == "c1-kto"
    assert (data.publications[0].action, data.publications[0].previous) == ("rollback", "c2-dpo")
    # A restarted endpoint serves what it served.
    _write(run, [*publications, publications[-1].model_copy(update={"previous": None})])
    assert {line.action for line in read_dashboard(run.root).publications} == {"published"}


def test_the_registrys_changes_and_lineage_are_told_too(run: RunFolder, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    versions = [each.version or "" for each in register_run(run.root, registry)]
    registry.promote(versions[1], "read by the ward")
    registry.promote(versions[2], "")
    registry.rollback("too many refusals")
    data = read_dashboard(run.root, registry.root)
    newest = data.publications[:3]
    assert [line.action for line in newest] == ["rollback", "promote", "promote"]
    assert newest[0].why == "too many refusals"
    assert [(parent.version, parent.how) for parent in data.lineage] == [
        (versions[1], "trained with KTO"),
        (versions[0], "deployed model"),
    ]
    shutil.rmtree(registry.root / "demo")
    later = read_dashboard(run.root, registry.root)
    assert [parent.version for parent in later.lineage] == ["c2-dpo", "c1-kto", "c0-base"]
    assert any("has no policy" in sentence for sentence in later.missing)


def test_a_registry_that_is_not_there_changes_nothing(run: RunFolder, tmp_path: Path) -> None:
    assert read_dashboard(run.root, tmp_path / "none") == read_dashboard(run.root)


def _write(run: RunFolder, publications: list[Publication]) -> None:
    write_text("".join(each.model_dump_json() + "\n" for each in publications), run.publications)
