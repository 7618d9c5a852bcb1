"""Three policies that need no model, so that a figure means something: refuse all, answer all, keywords.

They are in the final table under the same metrics. The keyword refuser is multinomial naive Bayes over lower-case
words (McCallum and Nigam, AAAI-98 workshop on text categorization), fitted on the train split. What a policy gains
beyond it does not come from words alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from actors.contract.records import JUDGMENT_SCHEMA, PROMPT_SCHEMA
from actors.errors import SalusError

Baseline = Literal["always_refuse", "always_answer", "keyword_refuse"]
BASELINES: tuple[Baseline, ...] = ("always_refuse", "always_answer", "keyword_refuse")

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

REFUSAL = "I cannot help with that."
ANSWER = "Here is how."


@dataclass(frozen=True)
class KeywordRefuser:
    """Multinomial naive Bayes on words with Laplace smoothing; refuses where P(harm) > 0.5."""

    # Known words, sorted.
    words: pa.Array[pa.StringScalar]
    # log P(word | harmful) - log P(word | harmless), shape (words,).
    weight: Floats
    # log P(harmful) - log P(harmless).
    prior: float

    @classmethod
    def fit(cls, train: pa.Table) -> KeywordRefuser:
        """Count words in harmful (level >= 1) and harmless prompts.

        Raises:
            SalusError: no training prompt.
        """
        if not train.num_rows:
            raise SalusError("keyword_refuse has no training prompt: give it the train split.")
        harmful = train["level"].to_numpy() > 0
        row, word = _words(train)
        # Sorted, so that the order of the rows changes nothing.
        known = pc.unique(word).sort()
        index = pc.index_in(word, value_set=known).to_numpy().astype(np.int64)
        bad = np.bincount(index[harmful[row]], minlength=len(known)) + 1.0
        good = np.bincount(index[~harmful[row]], minlength=len(known)) + 1.0
        weight = np.log(bad / bad.sum()) - np.log(good / good.sum())
        return cls(known, weight, float(np.log(harmful.sum() + 1.0) - np.log((~harmful).sum() + 1.0)))

    def refuses(self, prompts: pa.Table) -> NDArray[np.bool_]:
        """Whether each prompt is refused, shape (prompts,); words never seen count for nothing."""
        row, word = _words(prompts)
        found = pc.index_in(word, value_set=self.words).to_numpy(zero_copy_only=False).astype(np.float64)
        # The weight appended last is that of a word never seen in training.
        weight = np.append(self.weight, 0.0)[np.nan_to_num(found, nan=-1.0).astype(np.int64)]
        log_odds = self.prior + np.bincount(row, weights=weight, minlength=prompts.num_rows)
        refused: NDArray[np.bool_] = log_odds > 0.0
        return refused


def baseline_judgments(name: Baseline, train: pa.Table, test: pa.Table) -> pa.Table:
    """The judgments a baseline policy gets on a split; its label is known, so no judge is asked.

    Args:
        name: which baseline.
        train: prompts (`PROMPT_SCHEMA`) the keyword refuser is fitted on; the others do not look at it.
        test: prompts to answer.

    Returns:
        One row of `JUDGMENT_SCHEMA` per prompt, in the order of `test`.
    """
    if name == "keyword_refuse":
        refuse = KeywordRefuser.fit(train).refuses(test)
    else:
        refuse = np.full(test.num_rows, name == "always_refuse")
    rows = test.num_rows
    answer = np.where(refuse, REFUSAL, ANSWER).astype(object)
    columns: dict[str, Any] = {
        **{field.name: test[field.name] for field in PROMPT_SCHEMA},
        "rollout_id": [f"{name}/{prompt_id}" for prompt_id in test["prompt_id"].to_pylist()],
        "sample": np.zeros(rows, np.int32),
        "policy": [name] * rows,
        "answer": answer,
        "finish_reason": ["stop"] * rows,
        "tokens": np.where(refuse, len(REFUSAL.split()), len(ANSWER.split())).astype(np.int32),
        "thought": [None] * rows,
        "judge": ["known"] * rows,
        "judge_prompt": ["none"] * rows,
        "label": np.where(refuse, "Refuse", "Accept").astype(object),
        "p_accept": (~refuse).astype(np.float32),
        "p_caution": np.zeros(rows, np.float32),
        "p_refuse": refuse.astype(np.float32),
        "coverage": np.ones(rows, np.float32),
        "disagreement": [None] * rows,
    }
    return pa.table(columns, schema=JUDGMENT_SCHEMA)


def _words(prompts: pa.Table) -> tuple[Ints, pa.Array[pa.StringScalar]]:
    """Row number and lower-case word of every word of the prompts, both of shape (words,)."""
    plain = pc.replace_substring_regex(pc.utf8_lower(prompts["prompt"].combine_chunks()), r"[^\pL\pN']+", " ")
    split = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(plain))
    return pc.list_parent_indices(split).to_numpy().astype(np.int64), split.flatten()
