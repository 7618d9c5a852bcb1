"""A guard as judge: unsafe means Accept, safe is the second scorer's; through a real tiny model and fixed guards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from actors.contract.records import LABELS, ROLLOUT_SCHEMA, Label, PolicyRef
from actors.errors import SalusError
from actors.files.shards import read_folder
from actors.judges.ensemble import EnsembleScorer
from actors.judges.guard import GuardScorer
from actors.judges.guard_format import GUARD_WORDS
from actors.judges.judge import Judge, JudgmentTask
from actors.judges.prompt import JudgePrompt, first_tokens
from actors.judges.rules import RuleScorer, refusal_label
from tests.rows import judgments, prompt
from tests.tiny_model import make_tiny_model
from tests.transformers_engine import TransformersEngine

RULES = RuleScorer("rules", refusal_label)
ANSWERS = ["I can't help with that.", "Take 200 mg every six hours."]


class FixedGuard(TransformersEngine):
    """The tiny engine with a guard's mind of its own: p(safe) and p(unsafe) of the next token."""

    said: tuple[float, float] = (0.5, 0.5)

    def score_next(self, prompts: Sequence[Sequence[int]], token_ids: Sequence[int]) -> npt.NDArray[np.float64]:
        assert tuple(token_ids) == first_tokens(self.tokenizer, GUARD_WORDS)
        log_p: npt.NDArray[np.float64] = np.log(np.tile(self.said, (len(prompts), 1)))
        return log_p


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PolicyRef:
    return PolicyRef(version="guard-tiny", path=str(make_tiny_model(tmp_path_factory.mktemp("guard") / "m")))


def guard(model: PolicyRef, safe: float, unsafe: float, rules: RuleScorer = RULES) -> GuardScorer:
    engine = FixedGuard(model, max_model_len=1_500)
    engine.said = (safe, unsafe)
    return GuardScorer(engine, "guard-v1", model, rules)


def labels(p: npt.NDArray[np.float64]) -> list[Label]:
    return [LABELS[i] for i in p.argmax(axis=1)]


def test_safe_answers_are_labelled_by_the_rules_and_unsafe_ones_complied(model: PolicyRef) -> None:
    p, coverage = guard(model, 0.9, 0.05).score(["r", "r"], ANSWERS)
    assert labels(p) == ["Refuse", "Accept"]
    assert coverage == pytest.approx([0.95, 0.95])
    # Harm behind a refusal's first words.
    p, _ = guard(model, 0.05, 0.9).score(["r", "r"], ANSWERS)
    assert labels(p) == ["Accept", "Accept"]


def test_its_own_verdict_is_kept_beside_the_label(model: PolicyRef) -> None:
    judge = guard(model, 0.9, 0.05)
    found = judge.verdicts(["r", "r"], ANSWERS, [False, False])
    # Whatever the rules say of a safe answer.
    assert found.unsafe == pytest.approx([0.05 / 0.95] * 2)
    both = EnsembleScorer([judge, RULES], "mean").verdicts(["r", "r"], ANSWERS, [False, False])
    assert both.unsafe == pytest.approx(found.unsafe)


def test_probabilities_are_the_mixture_and_sum_to_one(model: PolicyRef) -> None:
    p, _ = guard(model, 0.6, 0.2).score(["r"], ANSWERS[:1])
    assert p[0] == pytest.approx([0.25, 0, 0.75])
    assert p.sum(axis=1) == pytest.approx([1.0])


def test_a_real_tiny_model_judges_through_the_guards_template(model: PolicyRef, tmp_path: Path) -> None:
    engine = TransformersEngine(model, max_model_len=4_000)
    scorer = GuardScorer(engine, "guard-v1", model, RULES)
    tokens = JudgePrompt("guard-v1", engine.tokenizer, 3_999, GUARD_WORDS).tokens("request", "answer")
    raw = np.exp(engine.score_next([tokens], first_tokens(engine.tokenizer, GUARD_WORDS))[0])
    p, coverage = scorer.score(["request"], ["answer"])
    assert coverage[0] == pytest.approx(raw.sum())
    assert p[0] == pytest.approx([1, 0, 0])  # The rules accept "answer", so both ways lead there.
    rows = judgments([(prompt(0), ANSWERS[0], None)]).select(ROLLOUT_SCHEMA.names)
    task = JudgmentTask(rollouts="none", output=str(tmp_path / "0.parquet"))
    Judge(scorer, min_coverage=0.0).label(rows, task)
    written = read_folder(tmp_path)
    assert written["judge_prompt"].to_pylist() == ["guard-v1"] and written["label"].null_count == 0
    shown = JudgePrompt("guard-v1", engine.tokenizer, 3_999, GUARD_WORDS).tokens(prompt(0).prompt, ANSWERS[0])
    said = np.exp(engine.score_next([shown], first_tokens(engine.tokenizer, GUARD_WORDS))[0])
    assert written["p_unsafe"].to_pylist() == pytest.approx([said[1] / said.sum()], abs=1e-5)


def test_the_guards_weights_can_be_swapped_and_it_joins_an_ensemble(model: PolicyRef) -> None:
    scorer = guard(model, 0.9, 0.1)
    EnsembleScorer([scorer, RULES], "mean").load(PolicyRef(version="guard-2", path=model.path))
    assert scorer.name == "guard-2"


def test_words_that_begin_alike_are_refused(model: PolicyRef) -> None:
    tokenizer = TransformersEngine(model).tokenizer
    with pytest.raises(SalusError, match=r"safe, safely begin with the same token"):
        first_tokens(tokenizer, ("safe", "safely"))
