"""What a person reads of a run: the summary's exact form, the metrics rows, the tables and the picture."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console, RenderableType

from actors.contract.records import Interval
from actors.coordinator.state import NO_ROWS
from actors.errors import SalusError
from pipelines.config.decision import DecisionConfig, GateConfig
from pipelines.config.scores import ScoreTable
from pipelines.decision.decide import decide
from pipelines.decision.record import Decision, ProbeEvidence
from pipelines.measures.baselines import BASELINES
from pipelines.measures.capability.bias import Bias, BiasOfCondition
from pipelines.measures.capability.figures import Capability
from pipelines.measures.harmfulness import harmfulness
from pipelines.measures.metrics import measure, without_spread
from pipelines.measures.shares import CountedShare
from pipelines.report.cells import interval_text
from pipelines.report.figure import challengers_in, cycle_rows, draw_cycles, looks_of
from pipelines.report.summary_tables import (
    capability_tables,
    cycles_table,
    harmfulness_table,
    published_table,
    test_table,
)
from pipelines.runs.metrics_rows import METRICS_SCHEMA, MetricsKey, harmfulness_rows, metrics_rows
from pipelines.runs.summary import (
    CycleSummary,
    HarmfulnessTest,
    PublishedFigures,
    Summary,
    TestFigures,
    TestSummary,
    cycle_summary,
)
from tests.pipelines.judged import BEST, judged

TABLE = ScoreTable()
LEVELS = [0, 3] * 30


def answers(right: int, policy: str) -> pa.Table:
    """The first answers are right; the rest accept everything."""
    labels = [BEST[level] if i < right else "Accept" for i, level in enumerate(LEVELS)]
    return judged(LEVELS, labels, policy=policy)


@pytest.fixture(scope="module")
def decision() -> Decision:
    config = DecisionConfig(gate=GateConfig(min_n=1), resamples=200)
    challengers = {"kto": answers(50, "c1-kto")}
    return decide(1, answers(10, "base"), challengers, TABLE, config, 0, {"dpo": "The loss [NaN] is bad."})


@pytest.fixture(scope="module")
def summary(decision: Decision) -> Summary:
    figures = TestFigures.of(measure(answers(40, "v"), TABLE, 0, 200))
    harmful = TestFigures.of(measure(judged([3] * 9, ["Refuse"] * 9), TABLE, 0, 200))
    test = TestSummary(base=figures, champion=harmful, **{name: figures for name in BASELINES})
    cycle = cycle_summary(decision, "c1-kto", truth={"kto": measure(answers(50, "c1-kto"), TABLE, 0, 200)})
    return Summary(recipe="demo", seed=1, wall_s=9.5, peak_memory_gib=3.5, cycles=(cycle,), test=test)


def test_summary_has_exactly_the_promised_form(summary: Summary) -> None:
    written = json.loads(summary.model_dump_json(exclude_none=True))
    assert {"recipe", "seed", "wall_s", "peak_memory_gib", "cycles", "test"} <= written.keys()
    cycle = written["cycles"][0]
    assert (cycle["cycle"], cycle["decision"], cycle["champion"]) == (1, "kto", "c1-kto")
    assert cycle["published_version"] == "c1-kto" and cycle["challengers"]["dpo"] is None
    assert cycle["challengers"]["kto"].keys() == {"ss", "err_strict", "asr", "answered"}
    assert cycle["challengers"]["kto"]["ss"].keys() == {"value", "low", "high"}
    test = written["test"]
    assert test.keys() == {"base", "champion", *BASELINES}
    assert test["base"].keys() == {"ss", "ss_macro", "err_strict", "err_broad", "asr", "answered", "n"}
    assert test["base"]["n"] == 60
    assert Summary.model_validate_json(summary.model_dump_json()) == summary


def test_a_summary_of_an_earlier_version_has_fewer_baselines(summary: Summary) -> None:
    written = json.loads(summary.model_dump_json())
    for name in ("bigram_refuse", "fivegram_refuse"):
        del written["test"][name]
    known = Summary.model_validate(written)
    assert known.test.bigram_refuse is None
    assert "bigram_refuse" in text(test_table(summary.test)) and "bigram_refuse" not in text(test_table(known.test))


def test_a_figure_without_spread_says_so(summary: Summary) -> None:
    alike = TestFigures.of(without_spread(measure(judged(LEVELS, ["Refuse"] * len(LEVELS)), TABLE, 0, 200)))
    test = summary.test.model_copy(update={"always_refuse": alike})
    assert "spread" not in text(test_table(summary.test))
    # ERR strict and broad, ASR, and answered.
    assert text(test_table(test)).count("spread") == 4
    assert interval_text(Interval(value=1.0, low=1.0, high=1.0, n=3)) == "1.000 (no spread)"


def test_summaries_of_earlier_versions_are_read(summary: Summary) -> None:
    old = json.loads(summary.model_dump_json())
    for figures in filter(None, (*old["test"].values(), old["cycles"][0]["challengers"]["kto"])):
        del figures["answered"]
    read = Summary.model_validate(old)
    assert read.test.base.answered is None and "-" in text(test_table(read.test))


def test_a_champion_that_stays_is_named() -> None:
    config = DecisionConfig(gate=GateConfig(min_n=1), resamples=200)
    stays = decide(2, answers(50, "c1-kto"), {"dpo": answers(20, "c2-dpo")}, TABLE, config, 0)
    cycle = cycle_summary(stays, None)
    assert (cycle.champion, cycle.decision, cycle.published_version) == ("c1-kto", "champion", None)
    assert cycle.incumbent == "c1-kto" and list(cycle.challengers) == ["dpo"]


def test_a_challenger_without_rows_is_named_as_such() -> None:
    config = DecisionConfig(gate=GateConfig(min_n=1), resamples=200)
    failed = {"dpo": NO_ROWS["pairs"], "kto": "The loss is NaN."}
    cycle = cycle_summary(decide(1, answers(50, "c0"), {}, TABLE, config, 0, failed), None)
    assert cycle.without_rows == {"dpo": "no pairs"}
    printed = " ".join(text(cycles_table([cycle])).split())
    assert "failed" in printed and "no pairs" in printed


def test_metrics_rows_follow_the_schema() -> None:
    metrics = measure(judged([0, 3], ["Refuse", None], principles=[2, 3]), TABLE, 0)
    rows = metrics_rows(key(1, "kto", winner=True), metrics)
    assert rows.schema == METRICS_SCHEMA
    found = {(row["metric"], row["group"]): row for row in rows.to_pylist()}
    assert found["err_strict", "all"]["value"] == 1 and found["err_strict", "all"]["n"] == 1
    assert found["ss", "principle:2"]["value"] == 0 and found["ss", "level:0"]["value"] == 0
    assert found["coverage", "all"]["value"] == 0.5 and found["coverage", "all"]["low"] is None
    # Not measured, so not there.
    assert ("asr", "all") not in found
    assert all(row["winner"] and row["policy_version"] == "kto-1" for row in found.values())


def test_tables_fit_80_columns(summary: Summary) -> None:
    printed = text(cycles_table(summary.cycles))
    assert "c1-kto" in printed and "failed" in printed
    # The sentence is printed as it is, not read as markup.
    assert "The loss [NaN] is bad." in " ".join(printed.split())
    assert "ans.: harmful requests answered in full" in " ".join(printed.split())
    kto = summary.cycles[0].challengers["kto"]
    assert kto is not None and kto.asr is not None and kto.answered is not None
    assert f"{kto.asr.value:.2f}/{kto.answered.value:.2f}" in printed
    printed = text(test_table(summary.test, "truth"))
    assert "ans-" in printed
    assert "ground truth" in printed and "keyword_refuse" in printed
    assert " 60" in printed and "\u2026" not in printed
    # No level-0 row: ERR is a dash, not a number.
    assert "-" in next(line for line in printed.splitlines() if "champion" in line)


def test_harmfulness_fits_80_columns_with_millions_of_answers() -> None:
    some = harmfulness(pa.array([1] * 5 + [2] * 3 + [None, None], pa.int8()), seed=0)
    many = some.model_copy(update={"counts": (1_000_000,) * 5, "n": 5_000_000})
    printed = text(harmfulness_table(HarmfulnessTest(base=some, champion=many)))
    base = next(line for line in printed.splitlines() if line.strip().startswith("base"))
    assert base.split() == ["base", "1.375", "0.62", "0.38", "0.00", "0.00", "0.00", "8", "0.800"]
    assert printed.count("0.20") == 5 and "5000000" in printed and "\u2026" not in printed


def test_harmfulness_without_a_score_is_a_dash_and_has_a_row_of_coverage_alone() -> None:
    none = harmfulness(pa.array([None, None], pa.int8()), seed=0)
    printed = text(harmfulness_table(HarmfulnessTest(base=none, champion=none)))
    assert "-" in next(line for line in printed.splitlines() if line.strip().startswith("base")).split()
    (row,) = harmfulness_rows(key(3, "base"), none).to_pylist()
    assert (row["metric"], row["value"], row["n"], row["low"]) == ("harmfulness_coverage", 0, 2, None)


def test_published_policies_are_shown_beside_the_deployed_model_and_the_probe_below_its_cycle(summary: Summary) -> None:
    low, high = (TestFigures.of(measure(answers(right, "v"), TABLE, 0, 200)) for right in (0, 60))
    judged_alone = PublishedFigures(cycle=1, policy="c1-kto", judge="j", figures=high, deployed=low)
    printed = text(published_table([judged_alone]))
    assert "Published policies, by the judge of its cycle" in " ".join(printed.split())
    rows = {line.split()[0]: line.split()[1] for line in printed.splitlines() if line.strip()[:2] in ("de", "c1")}
    assert rows == {"deployed": "0.500", "c1-kto": "1.000"}
    both = judged_alone.model_copy(update={"truth": low, "deployed_truth": low})
    printed = " ".join(text(published_table([both])).split())
    assert "by ground truth" in printed and "c1-kto 0.500" in printed
    share = CountedShare.of(108, [1] * 250)
    probe = ProbeEvidence(
        probe="xstest", policy="c1-kto", published="c0-base", refused=share, refused_by_published=None, rise=None
    )
    cycle = summary.cycles[0].model_copy(update={"probe": probe})
    printed = " ".join(text(cycles_table([cycle])).split())
    assert "Cycle 1: Safe prompts of xstest refused: 108 of 250 by c1-kto, none labelled by c0-base." in printed


@pytest.mark.parametrize("judges", [("judge",), ("judge", "truth")])
def test_the_picture_is_drawn(tmp_path: Path, judges: tuple[str, ...]) -> None:
    tables = []
    for by in judges:
        tables.append(metrics_rows(key(0, "base", by, winner=True), measure(answers(5, "v0"), TABLE, 0)))
        for cycle, winner in ((1, "kto"), (2, "champion")):
            for i, name in enumerate(("champion", "kto", "dpo")):
                metrics = measure(answers(10 * cycle + 5 * i, name), TABLE, 0)
                tables.append(metrics_rows(key(cycle, name, by, winner=name == winner), metrics))
    rows = pa.concat_tables(tables)
    drawn = draw_cycles(rows, tmp_path / "cycles.png")
    assert drawn.read_bytes().startswith(b"\x89PNG") and drawn.stat().st_size > 20_000
    # Without the deployed model's own rows, cycle 1's champion stands for it.
    without_base = rows.filter(pa.array([row["cycle"] > 0 for row in rows.to_pylist()]))
    assert draw_cycles(without_base, tmp_path / "again.png").stat().st_size > 20_000
    with pytest.raises(SalusError, match="test split"):
        draw_cycles(rows, tmp_path / "none.png", split="test")


def test_a_table_of_what_was_not_asked_is_not_printed() -> None:
    figure = Interval(value=0.25, low=0.1, high=0.5, n=8)
    of = BiasOfCondition(accuracy=figure, score=None, n=8)
    biased = Capability(policy="c0-base", bias=Bias(by_condition={"ambig": of, "disambig": of}))
    alone = text(capability_tables({"base": biased}, "Capability"))
    assert "Social bias" in alone and "multiple choice" not in alone
    helpful = biased.model_copy(update={"helpful": figure})
    assert "multiple choice" in text(capability_tables({"base": helpful}, "Capability"))
    assert "multiple choice" in text(capability_tables({"base": Capability(policy="c0-base")}, "Capability"))


def test_four_challengers_are_tabled_and_drawn(tmp_path: Path) -> None:
    names = ("kto", "dpo", "orpo", "dpo-ipo")
    config = DecisionConfig(gate=GateConfig(min_n=1), resamples=200)
    found = decide(1, answers(10, "c0-base"), {n: answers(20, f"c1-{n}") for n in names}, TABLE, config, 0)
    printed = text(cycles_table([cycle_summary(found, None)]))
    assert all(name.upper() in printed for name in ("kto", "dpo", "orpo"))
    keys = [key(0, "base", winner=True), *(key(1, name, winner=name == "orpo") for name in ("champion", *names))]
    rows = pa.concat_tables([metrics_rows(each, measure(answers(10, "v"), TABLE, 0)) for each in keys])
    looks = looks_of(challengers_in(cycle_rows(rows)))
    assert list(looks) == list(names)
    assert len({look.shift for look in looks.values()}) == len({look[:2] for look in looks.values()}) == 4
    assert draw_cycles(rows, tmp_path / "four.png").stat().st_size > 20_000


def test_two_challengers_look_as_they_always_did() -> None:
    assert looks_of(["kto", "dpo"]) == {"kto": ("s", "#0072B2", -0.08), "dpo": ("o", "#D55E00", 0.08)}


def test_a_summary_of_an_earlier_version_is_read(summary: Summary) -> None:
    written = json.loads(summary.model_dump_json())
    (cycle,) = written["cycles"]
    cycle |= cycle.pop("challengers")
    assert {"kto", "dpo"} <= cycle.keys()
    assert Summary.model_validate_json(json.dumps(written)) == summary


def test_unknown_cycle_fields_are_refused() -> None:
    with pytest.raises(ValueError, match="winner"):
        CycleSummary.model_validate(
            {
                "cycle": 1,
                "champion": "a",
                "kto": None,
                "dpo": None,
                "decision": "kto",
                "published_version": None,
                "winner": 1,
            }
        )


def key(cycle: int, name: str, by: str = "judge", *, winner: bool = False) -> MetricsKey:
    return MetricsKey(
        run="r",
        cycle=cycle,
        split="validation",
        policy_version=f"{name}-{cycle}",
        algorithm=name,
        judged_by=by,
        winner=winner,
    )


def text(renderable: RenderableType) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()
