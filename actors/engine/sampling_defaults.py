"""A model's own sampling defaults: the endpoint adds them to a request that leaves them out, and so do Salus's engines.

vLLM's server reads them from `generation_config.json` (`ModelConfig.get_diff_sampling_param`, vLLM 0.29), and its
offline engine does not. They are read here without vLLM, so that a run, a policy and its card can name them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from actors.contract.records import Record
from actors.engine.port import Sampling
from actors.errors import SalusError

GENERATION_CONFIG = "generation_config.json"
# What a sampling may leave to the model. Temperature is not among them: Salus always names one.
LEFT_TO_MODEL = ("top_p", "top_k", "min_p", "repetition_penalty")
# Where the config.json of models with several parts keeps that of the language model; transformers looks there too.
_TEXT_CONFIGS = ("decoder", "generator", "text_config")


class SamplingDefaults(Record):
    """What a model's folder sets for requests that do not say; None: it sets nothing, and vLLM changes nothing."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    max_new_tokens: int | None = None

    def settled(self, sampling: Sampling) -> Sampling:
        """The sampling with the model's values where it names none itself."""
        own = {name: getattr(self, name) for name in LEFT_TO_MODEL if getattr(sampling, name) is None}
        return sampling.model_copy(update=own)

    @property
    def named(self) -> dict[str, float]:
        """What is set, by name."""
        return self.model_dump(exclude_none=True)

    def in_words(self) -> str:
        """As "repetition_penalty 1.3, top_p 0.9"; "none" where nothing is set."""
        return ", ".join(f"{name} {value:g}" for name, value in self.named.items()) or "none"


def sampling_defaults(folder: Path) -> SamplingDefaults:
    """The defaults of a model folder, as vLLM's server takes them.

    They are those of `generation_config.json`. Without that file they are those of config.json, where older models
    keep them.

    Raises:
        SalusError: one of these files cannot be read, or holds a value of another kind.
    """
    path = folder / GENERATION_CONFIG
    if not path.is_file():
        path = folder / "config.json"
    if not path.is_file():
        return SamplingDefaults()
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        if path.name != GENERATION_CONFIG:
            text: dict[str, Any] = next((found[part] for part in _TEXT_CONFIGS if found.get(part)), {})
            found = text | {name: value for name, value in found.items() if value is not None}
        return SamplingDefaults.model_validate(found)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        what = "no generation config" if path.name == GENERATION_CONFIG else "no model config"
        raise SalusError(f"{path} is {what} ({type(error).__name__}); take it from a copy, or remove it.") from error
