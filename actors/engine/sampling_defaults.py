"""A model's own sampling defaults: the endpoint adds them to a request that leaves them out, and so do Salus's engines.

vLLM's server reads them from `generation_config.json` (`ModelConfig.get_diff_sampling_param`, vLLM 0.29), and its
offline engine does not. They are read here without vLLM, so that a run, a policy and its card can name them.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ConfigDict

from actors.contract.records import Record
from actors.engine.port import Sampling
from actors.errors import SalusError

GENERATION_CONFIG = "generation_config.json"
# What a sampling may leave to the model. Temperature is not among them: Salus always names one.
LEFT_TO_MODEL = ("top_p", "top_k", "min_p", "repetition_penalty")


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

    Older models keep them in config.json, where transformers 5 and with it vLLM no longer look.

    Raises:
        SalusError: `generation_config.json` cannot be read, or holds a value of another kind.
    """
    path = folder / GENERATION_CONFIG
    if not path.is_file():
        return SamplingDefaults()
    try:
        return SamplingDefaults.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SalusError(
            f"{path} is no generation config ({type(error).__name__}); take it from a copy, or remove it."
        ) from error
