"""The training rows whose prompts are nearest to a request, as the policy's own token embeddings see them.

A text is the mean of the input embeddings of its tokens. Their weights are inverse document frequencies over the rows'
prompts. (Arora, Liang and Ma, ICLR 2017, take away a projection too.) Only the embedding matrix is read. So a model of
any size takes no GPU and no forward pass.
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


def similarities(request: str, prompts: Sequence[str], model: Path) -> Floats:
    """The cosine of the request with each prompt, shape (prompts,). Arguments and faults as of `all_similarities`."""
    found: Floats = all_similarities([request], prompts, model)[0]
    return found


def all_similarities(requests: Sequence[str], prompts: Sequence[str], model: Path) -> Floats:
    """The cosine of each request with each prompt, shape (requests, prompts).

    Args:
        requests: the texts that are asked about, at least one.
        prompts: of the training rows, at least one.
        model: a Hugging Face folder with safetensors weights and a tokenizer.

    Raises:
        SalusError: the folder has no tokenizer, or no embeddings that are known by name.
    """
    ids = [
        np.asarray(each) for each in load_tokenizer(model)([*requests, *prompts], add_special_tokens=False)["input_ids"]
    ]
    known = np.unique(np.concatenate(ids)) if any(map(len, ids)) else np.zeros(0, dtype=np.int64)
    counts = np.zeros((len(ids), len(known)))
    for row, tokens in enumerate(ids):
        np.add.at(counts[row], np.searchsorted(known, tokens), 1.0)
    own = len(requests)
    frequency = (counts[own:] > 0).sum(axis=0)
    weights = np.log((1.0 + len(prompts)) / (1.0 + frequency))
    vectors = (counts * weights) @ _embeddings(model, known)
    lengths = np.linalg.norm(vectors, axis=1)
    # A text without a known token is near nothing.
    unit = vectors / np.where(lengths > 0.0, lengths, 1.0)[:, None]
    found: Floats = unit[:own] @ unit[own:].T
    return found


def _embeddings(model: Path, tokens: NDArray[Any]) -> Floats:
    """The input embeddings of these tokens, shape (tokens, width)."""
    for file in weight_files(model):
        # PyTorch, because NumPy has no bfloat16.
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - no mapping, but a file.
                if name.endswith(EMBEDDINGS):
                    rows = tensors.get_tensor(name)[tokens.tolist()].float().numpy()
                    found: Floats = rows.astype(np.float64)
                    return found
    raise SalusError(
        f"The weights in {model} have no embeddings by a known name ({', '.join(EMBEDDINGS)}); ask without --nearest."
    )
