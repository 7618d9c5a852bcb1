"""Several judges as one: pooled probabilities by hand, ties, missing voices, and the column in the records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from actors.contract.records import JUDGMENT_SCHEMA, LABELS, ROLLOUT_SCHEMA, PolicyRef
from actors.errors import SalusError
from actors.files.shards import read_folder, write_table
from actors.judges.ensemble import EnsembleScorer, How, disagreement, pool
from actors.judges.judge import Judge, JudgmentTask, Scores
from actors.judges.rules import RuleScorer
from tests.rows import judgments, prompt

ROWS = judgments([(prompt(i, i % 4), f"answer {i}", None) for i in range(4)]).select(ROLLOUT_SCHEMA.names)


class Fixed:
    """A scorer that says the same of every answer."""

    def __init__(self, name: str, p: tuple[float, float, float], coverage: float = 1.0) -> None:
        self.name, self.prompt_version = name, "none"
        self._p, self._coverage = p, coverage
        self.loaded: list[str] = []

    def load(self, policy: PolicyRef) -> None:
        self.loaded.append(policy.version)

    def score(self, requests: list[str], answers: list[str]) -> Scores:
        n = len(answers)
        return np.tile(self._p, (n, 1)), np.full(n, self._coverage)


A = Fixed("a", (0.6, 0.3, 0.1))
B = Fixed("b", (0.4, 0.35, 0.25), coverage=0.5)
C = Fixed("c", (0.0, 0.1, 0.9))
SILENT = Fixed("silent", (1.0, 0.0, 0.0), coverage=0.0)


def one(how: How, *scorers: Fixed) -> tuple[list[float], float, float]:
    found = EnsembleScorer(scorers, how).verdicts(["r"], ["a"], [False])
    assert found.disagreement is not None
    return found.p[0].tolist(), float(found.coverage[0]), float(found.disagreement[0])


def test_the_mean_is_that_of_the_probabilities() -> None:
    p, coverage, apart = one("mean", A, C)
    assert p == pytest.approx([0.3, 0.2, 0.5])
    assert coverage == 1.0
    # Total variation: (0.6 + 0.2 + 0.8) / 2.
    assert apart == pytest.approx(0.8)


def test_a_vote_counts_judges_not_their_certainty() -> None:
    mean, _, _ = one("mean", A, B, C)
    vote, coverage, _ = one("vote", A, B, C)
    assert LABELS[int(np.argmax(mean))] == "Refuse"
    assert LABELS[int(np.argmax(vote))] == "Accept"
    assert vote == pytest.approx([2 / 3, 0, 1 / 3], abs=1e-3)
    assert coverage == pytest.approx(2.5 / 3)


def test_equal_votes_are_decided_by_the_mean() -> None:
    vote, _, _ = one("vote", A, C)
    assert LABELS[int(np.argmax(vote))] == "Refuse"
    assert vote == pytest.approx([0.5, 0, 0.5], abs=1e-3)


@pytest.mark.parametrize("how", ["mean", "vote"])
def test_a_silent_judge_has_no_say_but_lowers_the_coverage(how: How) -> None:
    p, coverage, apart = one(how, C, SILENT)
    assert p == pytest.approx(one(how, C)[0])
    assert (coverage, apart) == (0.5, 0.0)
    nobody, none, _ = one(how, SILENT, SILENT)
    assert nobody == pytest.approx([1 / 3] * 3)
    assert none == 0.0


@given(
    arrays.arrays(np.float64, (3, 5, 3), elements=st.floats(0.01, 1)),
    arrays.arrays(np.bool_, (3, 5)),
    st.sampled_from(("mean", "vote")),
)
def test_rows_sum_to_one_and_disagreement_is_a_share(raw: np.ndarray, has_say: np.ndarray, how: How) -> None:
    p = raw / raw.sum(axis=2, keepdims=True)
    assert np.allclose(pool(p, has_say, how).sum(axis=1), 1.0)
    apart = disagreement(p, has_say)
    assert ((apart >= 0) & (apart <= 1 + 1e-12)).all()
    assert np.allclose(disagreement(p[::-1], has_say[::-1]), apart)


def test_among_sure_judges_disagreement_is_the_share_of_pairs_that_differ() -> None:
    sure = np.eye(3)[[[0, 0, 0], [0, 1, 0], [0, 2, 2]]]
    assert disagreement(sure, np.ones((3, 3), dtype=np.bool_)) == pytest.approx([0, 1, 2 / 3])


def test_it_carries_names_and_weights_of_all() -> None:
    x, y = Fixed("x", (1, 0, 0)), Fixed("y", (1, 0, 0))
    both = EnsembleScorer([x, y], "mean")
    both.load(PolicyRef(version="c1-kto", path="p"))
    assert x.loaded == y.loaded == ["c1-kto"]
    assert (both.name, both.prompt_version) == ("x+y", "none")
    with pytest.raises(SalusError, match=r"needs 1 to 100 judges, not 0; set judge\.ensemble"):
        EnsembleScorer([], "mean")


def test_the_records_hold_the_disagreement_and_none_for_a_judge_alone(tmp_path: Path) -> None:
    refuser = RuleScorer("rule", lambda answer: "Refuse")
    for name, scorer in (("0", EnsembleScorer([A, refuser], "mean")), ("1", refuser)):
        task = JudgmentTask(rollouts="none", output=str(tmp_path / f"{name}.parquet"))
        Judge(scorer, min_coverage=0.0).label(ROWS, task)
    table = read_folder(tmp_path)
    assert table.schema.equals(JUDGMENT_SCHEMA)
    assert table["disagreement"].to_pylist() == pytest.approx([0.9] * 4 + [None] * 4)


def test_shards_from_before_the_column_are_read_with_those_that_have_it(tmp_path: Path) -> None:
    known = judgments([(prompt(0), "answer", "Accept")])
    write_table(known.drop_columns(["disagreement"]), tmp_path / "0.parquet")
    write_table(known, tmp_path / "1.parquet")
    assert read_folder(tmp_path).num_rows == 2


def test_an_answer_nobody_labelled_is_missing_whatever_the_minimum(tmp_path: Path) -> None:
    task = JudgmentTask(rollouts="none", output=str(tmp_path / "0.parquet"))
    Judge(EnsembleScorer([SILENT], "vote"), min_coverage=0.0).label(ROWS, task)
    assert read_folder(tmp_path)["label"].null_count == ROWS.num_rows
