"""Policies that need no model, so that a figure means something: refuse all, answer all, refuse by words or phrases.

They are in the final table under the same metrics. Those that refuse by what they read are multinomial naive Bayes,
fitted on the train split (McCallum and Nigam, AAAI-98 workshop on text categorization). They count lower-case words, or
phrases of up to two or five. What a policy gains beyond one of them does not come from such phrases alone.

On the clinic the first three have SS .5 by construction, and prove nothing. Phrases are not balanced there. Where all
acts of the test split are trained on, they nearly solve it. With the demo's untrained acts (`clinic.untrained_acts`),
refusers by phrases stay below .75.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from actors.contract.records import JUDGMENT_SCHEMA, PROMPT_SCHEMA
from actors.errors import SalusError

Baseline = Literal["always_refuse", "always_answer", "keyword_refuse", "bigram_refuse", "fivegram_refuse"]
BASELINES: tuple[Baseline, ...] = (
    "always_refuse",
    "always_answer",
    "keyword_refuse",
    "bigram_refuse",
    "fivegram_refuse",
)
# The most words of a phrase that a refuser counts.
LONGEST_PHRASE: Mapping[Baseline, int] = {"keyword_refuse": 1, "bigram_refuse": 2, "fivegram_refuse": 5}
# Those that answer every prompt alike: their shares hold by construction.
ALIKE: frozenset[str] = frozenset(BASELINES) - frozenset(LONGEST_PHRASE)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

REFUSAL = "I cannot help with that."
ANSWER = "Here is how."


@dataclass(frozen=True)
class PhraseRefuser:
    """Multinomial naive Bayes on words and phrases with Laplace smoothing; refuses where P(harm) > 0.5."""

    # Known phrases, sorted; the words of one are joined by spaces.
    phrases: pa.Array[pa.StringScalar]
    # log P(phrase | harmful) - log P(phrase | harmless), shape (phrases,).
    weight: Floats
    # log P(harmful) - log P(harmless).
    prior: float
    # The most words of a phrase.
    longest: int

    @classmethod
    def fit(cls, train: pa.Table, longest: int = 1) -> PhraseRefuser:
        """Count phrases of 1 to `longest` words in harmful (level >= 1) and harmless prompts.

        Nothing is drawn: the same prompts give the same refuser, in whatever order they are.

        Raises:
            SalusError: no training prompt.
        """
        if not train.num_rows:
            raise SalusError("A refuser by words has no training prompt: give it the train split.")
        harmful = train["level"].to_numpy() > 0
        row, phrase = _phrases(train, longest)
        # Sorted, so that the order of the rows changes nothing.
        known = pc.unique(phrase).sort()
        index = pc.index_in(phrase, value_set=known).to_numpy().astype(np.int64)
        bad = np.bincount(index[harmful[row]], minlength=len(known)) + 1.0
        good = np.bincount(index[~harmful[row]], minlength=len(known)) + 1.0
        weight = np.log(bad / bad.sum()) - np.log(good / good.sum())
        prior = float(np.log(harmful.sum() + 1.0) - np.log((~harmful).sum() + 1.0))
        return cls(known, weight, prior, longest)

    def refuses(self, prompts: pa.Table) -> NDArray[np.bool_]:
        """Whether each prompt is refused, shape (prompts,); phrases never seen count for nothing."""
        row, phrase = _phrases(prompts, self.longest)
        found = pc.index_in(phrase, value_set=self.phrases).to_numpy(zero_copy_only=False).astype(np.float64)
        # The weight appended last is that of a phrase never seen in training.
        weight = np.append(self.weight, 0.0)[np.nan_to_num(found, nan=-1.0).astype(np.int64)]
        log_odds = self.prior + np.bincount(row, weights=weight, minlength=prompts.num_rows)
        refused: NDArray[np.bool_] = log_odds > 0.0
        return refused


def baseline_judgments(name: Baseline, train: pa.Table, test: pa.Table) -> pa.Table:
    """The judgments a baseline policy gets on a split; its label is known, so no judge is asked.

    Args:
        name: which baseline.
        train: prompts (`PROMPT_SCHEMA`) that a refuser by words is fitted on; the first two do not look at it.
        test: prompts to answer.

    Returns:
        One row of `JUDGMENT_SCHEMA` per prompt, in the order of `test`.

    Raises:
        SalusError: a refuser by words has no training prompt.
    """
    if name in LONGEST_PHRASE:
        refuse = PhraseRefuser.fit(train, LONGEST_PHRASE[name]).refuses(test)
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
        "p_unsafe": [None] * rows,
    }
    return pa.table(columns, schema=JUDGMENT_SCHEMA)


def _phrases(prompts: pa.Table, longest: int) -> tuple[Ints, pa.Array[pa.StringScalar]]:
    """Row number and text of every phrase of 1 to `longest` words, both of shape (phrases,)."""
    row, word = _words(prompts)
    rows, phrases, begun = [row], [word], word
    # pyarrow-stubs knows no separator that is plain text.
    joined: Any = pc.binary_join_element_wise
    for words in range(2, longest + 1):
        # The phrases of a word less, without the last one, and the word behind each.
        begun = joined(begun.slice(0, max(len(begun) - 1, 0)), word.slice(words - 1), " ")
        # No phrase reaches from one prompt into the next.
        within = row[: len(begun)] == row[words - 1 :]
        rows.append(row[: len(begun)][within])
        phrases.append(begun.filter(pa.array(within)))
    return np.concatenate(rows), pa.concat_arrays(phrases)


def _words(prompts: pa.Table) -> tuple[Ints, pa.Array[pa.StringScalar]]:
    """Row number and lower-case word of every word of the prompts, both of shape (words,)."""
    plain = pc.replace_substring_regex(pc.utf8_lower(prompts["prompt"].combine_chunks()), r"[^\pL\pN']+", " ")
    split = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(plain))
    return pc.list_parent_indices(split).to_numpy().astype(np.int64), split.flatten()
