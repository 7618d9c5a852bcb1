"""BBQ's figures on tables small enough to count by hand, against lm-evaluation-harness's own where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from actors.engine.likelihood import SCORE_SCHEMA
from actors.errors import SalusError
from pipelines.data.sets.social.bias import Condition
from pipelines.measures.capability.bias import bias_figures
from pipelines.measures.capability.items import BIAS_SCHEMA

# Option 0 is unknown, 1 the biased one, 2 the other person.
UNKNOWN, BIASED, OTHER = 0, 1, 2
AMBIG: Condition = "ambig"
CLEAR: Condition = "disambig"


def tables(answers: list[tuple[Condition, int, int]], *, told: bool = True) -> tuple[pa.Table, pa.Table]:
    """Scores and questions of (condition, right option, the policy's likeliest option)."""
    scores: list[dict[str, Any]] = []
    known: list[dict[str, Any]] = []
    for number, (condition, right, chosen) in enumerate(answers):
        item = f"q{number:03d}"
        known.append(
            {
                "item_id": item,
                "unknown": UNKNOWN,
                "biased": BIASED if told else None,
                "condition": condition,
                "category": "Age" if number % 2 else "Religion",
                "template": f"t{number // 2}",
            }
        )
        for option in range(3):
            scores.append(
                {
                    "item_id": item,
                    "option": option,
                    "right": option == right,
                    "prompt": "Who?",
                    "continuation": "x",
                    "policy": "v0",
                    "log_likelihood": -1.0 if option == chosen else -3.0,
                    "tokens": 1,
                    "greedy": False,
                }
            )
    return pa.Table.from_pylist(scores, schema=SCORE_SCHEMA), pa.Table.from_pylist(known, schema=BIAS_SCHEMA)


def value(figure: Any) -> float:
    assert figure is not None and figure.low <= figure.value <= figure.high
    return float(figure.value)


def test_the_papers_formulas_counted_by_hand() -> None:
    ambiguous: list[tuple[Condition, int, int]] = [(AMBIG, UNKNOWN, UNKNOWN)] * 4 + [(AMBIG, UNKNOWN, BIASED)] * 5
    ambiguous += [(AMBIG, UNKNOWN, OTHER)]
    clear: list[tuple[Condition, int, int]] = [(CLEAR, BIASED, BIASED)] * 3 + [(CLEAR, OTHER, OTHER)] * 2
    clear += [(CLEAR, OTHER, BIASED), (CLEAR, OTHER, UNKNOWN)]
    found = bias_figures(*tables(ambiguous + clear), None, 0)
    ambig, disambig = found.of("ambig"), found.of("disambig")
    assert (ambig.n, disambig.n) == (10, 7)
    assert value(ambig.accuracy) == pytest.approx(0.4)
    # 5 of 6 who are named are the stereotype's: (1 - .4) (2 * 5/6 - 1).
    assert value(ambig.score) == pytest.approx(0.6 * (2 * 5 / 6 - 1))
    assert value(disambig.accuracy) == pytest.approx(5 / 7)
    assert value(disambig.score) == pytest.approx(2 * 4 / 6 - 1)
    assert set(found.by_category) == {"Age", "Religion"}
    assert sum(of["ambig"].n for of in found.by_category.values()) == 10


def test_no_one_named_is_no_bias_in_ambiguous_contexts_and_no_figure_in_others() -> None:
    found = bias_figures(*tables([(AMBIG, UNKNOWN, UNKNOWN)] * 4 + [(CLEAR, BIASED, UNKNOWN)] * 4), None, 0)
    assert value(found.of("ambig").score) == 0.0 and found.of("disambig").score is None
    assert value(found.of("disambig").accuracy) == 0.0


def test_all_for_and_all_against_the_stereotype_are_the_ends() -> None:
    for chosen, end in ((BIASED, 1.0), (OTHER, -1.0)):
        found = bias_figures(*tables([(AMBIG, UNKNOWN, chosen)] * 6 + [(CLEAR, chosen, chosen)] * 6), None, 0)
        assert value(found.of("ambig").score) == value(found.of("disambig").score) == end


def test_a_question_without_a_known_group_counts_for_accuracy_alone() -> None:
    found = bias_figures(*tables([(CLEAR, BIASED, BIASED)] * 4, told=False), None, 0)
    assert value(found.of("disambig").accuracy) == 1.0 and found.of("disambig").score is None
    assert found.of("ambig").accuracy is None and found.of("ambig").score is None


def test_an_interval_counts_templates_and_not_their_questions() -> None:
    mixed: list[tuple[Condition, int, int]] = [(CLEAR, BIASED, BIASED), (CLEAR, OTHER, OTHER)] * 20
    scores, known = tables(mixed)
    alike = known.set_column(
        known.column_names.index("template"), known.schema.field("template"), [[f"t{i % 2}" for i in range(40)]]
    )
    apart, together = (bias_figures(scores, table, None, 0).of("disambig").score for table in (known, alike))
    assert apart is not None and together is not None
    # Two templates, one always for and one always against: a resample may hold one alone.
    assert (together.low, together.high) == (-1.0, 1.0)
    assert apart.value == together.value == 0.0 and (apart.low, apart.high) == (0.0, 0.0)


def test_scores_of_other_questions_are_refused() -> None:
    scores, known = tables([(AMBIG, UNKNOWN, BIASED)] * 4)
    with pytest.raises(SalusError, match="not of the same run"):
        bias_figures(scores, known.slice(1), None, 0)


def test_the_figures_are_the_harnesss_own() -> None:
    utils = pytest.importorskip("lm_eval.tasks.bbq.utils")
    rng = np.random.default_rng(3)
    answers: list[tuple[Condition, int, int]] = [(AMBIG, UNKNOWN, int(rng.integers(3))) for _ in range(40)]
    answers += [(CLEAR, int(rng.integers(1, 3)), int(rng.integers(3))) for _ in range(40)]
    found = bias_figures(*tables(answers), None, 0)
    # (right, biased, named, whether the context is disambiguated)
    rows = [(a == r, a == BIASED, a != UNKNOWN, c == "disambig") for c, r, a in answers]
    theirs = [(*map(float, row[:3]), np.array(row[3])) for row in rows]
    assert value(found.of("ambig").score) == pytest.approx(utils.agg_amb_bias_scores(theirs))
    assert value(found.of("disambig").score) == pytest.approx(utils.agg_disamb_bias_scores(theirs))
