"""Signs that preference training has spoilt the answers: repetition.

DPO drives chosen and rejected log-probabilities down together, and answers begin to repeat. The share of answers in
which some four words in a row occur twice is cheap and shows it early.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Ints = NDArray[np.int64]

# Words in a row that must occur twice in one answer for it to count as repeating.
GRAM = 4


def repeats(answers: pa.ChunkedArray[Any]) -> NDArray[np.bool_]:
    """Which answers hold the same four lower-case words in a row twice; shape (rows,)."""
    plain = pc.utf8_trim_whitespace(pc.utf8_lower(answers.combine_chunks()))
    words = pc.utf8_split_whitespace(plain)
    row = pc.list_parent_indices(words).to_numpy().astype(np.int64)
    repeating: NDArray[np.bool_] = np.zeros(len(words), dtype=bool)
    if len(row) < GRAM:
        return repeating
    # A gram's number is made by pairing twice: words into pairs, pairs into fours; no hash, no collision.
    pairs = _pair(_codes(words.flatten()), 1)
    grams = _pair(pairs, 2)
    row, same_row = row[: len(grams)], row[: len(grams)] == row[GRAM - 1 :]
    seen = _pair_of(row[same_row], grams[same_row])
    order = np.argsort(seen, kind="stable")
    twice = order[1:][seen[order][1:] == seen[order][:-1]]
    repeating[row[same_row][twice]] = True
    return repeating


def _codes(values: pa.Array[Any]) -> Ints:
    encoded = values.dictionary_encode()
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)


def _pair(codes: Ints, distance: int) -> Ints:
    return _pair_of(codes[:-distance], codes[distance:])


def _pair_of(first: Ints, second: Ints) -> Ints:
    """One dense number for each distinct (first, second)."""
    width = int(second.max(initial=0)) + 1
    return _codes(pa.array(first * width + second))
