"""The prompts that are nearest to a request, as the policy's own token embeddings see them.

A text is the mean of the input embeddings of its tokens. Their weights are inverse document frequencies over the
prompts. (Arora, Liang and Ma, ICLR 2017, take away a projection too.) Only the embedding matrix is read. So a model of
any size takes no GPU and no forward pass.

Each request is compared by itself, in the same steps wherever it is asked. So an endpoint finds the examples that
were found when its scheme was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from actors.engine.model_files import weight_files
from actors.engine.model_folder import EMBEDDINGS
from actors.engine.tokenizer import load_tokenizer
from actors.errors import SalusError

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


class NearestPrompts:
    """Prompts that requests are compared with, in one model's embeddings.

    Raises:
        SalusError: the model's folder has no tokenizer, or no embeddings that are known by name.
    """

    def __init__(self, prompts: Sequence[str], model: Path) -> None:
        """`prompts`: at least one; `model`: a Hugging Face folder with safetensors weights and a tokenizer."""
        self._tokenizer = load_tokenizer(model)
        self._rows = _rows(model)
        ids = self._ids(prompts)
        found = np.concatenate([np.unique(each) for each in ids]) if ids else np.zeros(0, dtype=np.int64)
        self._known, frequency = np.unique(found, return_counts=True)
        self._weights = np.log((1.0 + len(ids)) / (1.0 + frequency))
        # Of a token that no prompt has.
        self._unseen = float(np.log(1.0 + len(ids)))
        self._prompts = np.stack([self._unit(each) for each in ids])

    def similarities(self, request: str) -> Floats:
        """The cosine of a request with each prompt, shape (prompts,); 0 where either has no token that weighs."""
        (ids,) = self._ids([request])
        found: Floats = self._prompts @ self._unit(ids)
        return found

    def nearest(self, request: str, most: int) -> list[int]:
        """The places of the prompts nearest to a request, the nearest first; of equals the earlier."""
        return nearest_places(self.similarities(request), most)

    def _ids(self, texts: Sequence[str]) -> list[Ids]:
        return [
            np.asarray(each, np.int64) for each in self._tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        ]

    def _unit(self, ids: Ids) -> Floats:
        width = int(self._rows.get_shape()[1])
        tokens, counts = np.unique(ids, return_counts=True)
        vector = np.zeros(width)
        for token, count, weight in zip(tokens.tolist(), counts.tolist(), self._weighed(tokens).tolist(), strict=True):
            vector += count * weight * self._rows[token : token + 1].float().numpy()[0].astype(np.float64)
        length = float(np.linalg.norm(vector))
        unit: Floats = vector / length if length > 0.0 else vector
        return unit

    def _weighed(self, tokens: Ids) -> Floats:
        if not len(self._known):
            return np.full(len(tokens), self._unseen)
        places = np.minimum(np.searchsorted(self._known, tokens), len(self._known) - 1)
        weighed: Floats = np.where(self._known[places] == tokens, self._weights[places], self._unseen)
        return weighed


def nearest_places(similarities: Floats, most: int) -> list[int]:
    """The places of the largest values, the largest first; of equals the earlier."""
    return [int(place) for place in np.argsort(-similarities, kind="stable")[:most]]


def all_similarities(requests: Sequence[str], prompts: Sequence[str], model: Path) -> Floats:
    """The cosine of each request with each prompt, shape (requests, prompts). Raises as `NearestPrompts`."""
    known = NearestPrompts(prompts, model)
    return np.stack([known.similarities(request) for request in requests])


def _rows(model: Path) -> Any:
    """The input embeddings, read row by row from their file."""
    for file in weight_files(model):
        # PyTorch, because NumPy has no bfloat16. The file stays open with its rows.
        tensors: Any = safe_open(file, framework="pt")
        for name in tensors.keys():  # noqa: SIM118 - no mapping, but a file.
            if name.endswith(EMBEDDINGS):
                return tensors.get_slice(name)
    raise SalusError(
        f"The weights in {model} have no embeddings by a known name ({', '.join(EMBEDDINGS)}); ask without --nearest."
    )
