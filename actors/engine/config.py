"""An inference engine's settings, and what vLLM is told by them: one place for every engine that Salus starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from actors.engine.extra import check_extra
from actors.engine.model_folder import longest_sequence, sees_images
from actors.engine.precision import cpu_dtype
from actors.errors import SalusError

# Set in the environment of every process that holds a CPU engine, before vLLM is imported there.
CPU_ENGINE_ENVIRONMENT: Mapping[str, str] = {
    # The engine core runs in the actor's own process: ready in a third of the time.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # Idle OpenMP threads sleep: spinning ones starve the trainers and engines that share the cores.
    "OMP_WAIT_POLICY": "PASSIVE",
    "KMP_BLOCKTIME": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def eager_environment(enforce_eager: bool) -> dict[str, str]:
    """What an eager CPU engine needs besides: vLLM's sampler compiles a kernel of its own whatever it is told."""
    return {"TORCHDYNAMO_DISABLE": "1"} if enforce_eager else {}


# The most tokens of prompts that a CPU engine reads in one step, unless one prompt may be longer.
BATCHED_TOKENS = 8192
# What an engine on a GPU has where nothing else is set: the precision that GPUs are made for, and CUDA graphs.
CUDA_DEFAULTS: Mapping[str, Any] = {"dtype": "bfloat16", "enforce_eager": False}


def with_defaults(given: Any, on_gpu: Callable[[Mapping[str, Any]], bool]) -> Any:
    """The settings of an engine with those of `CUDA_DEFAULTS` that are left out, where it is on a GPU."""
    return {**CUDA_DEFAULTS, **given} if isinstance(given, Mapping) and on_gpu(given) else given


class EngineConfig(BaseModel):
    """One inference engine: precision, lengths and the devices it spans."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Tokens of prompt and answer together, where none are set and the model holds as many.
    usual_length: ClassVar[int] = 256
    # Names that `extra` may hold beside those of vLLM's engine.
    extra_also: ClassVar[frozenset[str]] = frozenset()

    device: Literal["cpu", "cuda"] = Field("cpu", description="where the engine runs; cuda: on NVIDIA GPUs")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32",
        description="precision of the weights and of computing; 16 bits take half the memory. On a GPU bfloat16 unless"
        " set. A CPU without instructions for bfloat16 takes float32 in its place",
    )
    max_model_len: int | None = Field(
        None,
        ge=16,
        description="prompt and answer together, in tokens; None: what the model holds, at most 256 (a guard: 2048)",
    )
    max_num_seqs: int = Field(256, ge=1, description="sequences decoded at once")
    tensor_parallel: int = Field(1, ge=1, description="GPUs one engine spans")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of each GPU's memory")
    kv_cache_gib: float = Field(0.25, gt=0, description="KV cache of a CPU engine")
    threads: int = Field(2, ge=1, description="CPU threads of one engine")
    enforce_eager: bool = Field(
        True, description="no CUDA graphs or compilation: quicker start, slower decode. On a GPU false unless set"
    )
    extra: dict[str, Any] = Field(
        {}, description="further arguments of vLLM's engine, by vLLM's own names; none that loads pickles or runs code"
    )

    @model_validator(mode="before")
    @classmethod
    def _made_for_gpus(cls, given: Any) -> Any:
        return with_defaults(given, lambda settings: settings.get("device") == "cuda")

    @model_validator(mode="after")
    def _extra_is_vllms(self) -> Self:
        if self.extra:
            check_engine_extra(self.extra, self.device, self.extra_also)
        return self

    @property
    def longest(self) -> int:
        """The most tokens that an engine of any model has with these settings."""
        return self.usual_length if self.max_model_len is None else self.max_model_len

    @property
    def computing_dtype(self) -> str:
        """The precision that an engine has on this machine."""
        return cpu_dtype(self.dtype) if self.device == "cpu" else self.dtype

    def length(self, model: Path, section: str = "engine") -> int:
        """Tokens of prompt and answer together that an engine of this model has.

        Args:
            model: the model's folder.
            section: where these settings are, for the error.

        Raises:
            SalusError: more are set than the model holds.
        """
        held = longest_sequence(model)
        if held is None:
            return self.longest
        if self.max_model_len is not None and self.max_model_len > held:
            raise SalusError(
                f"{section}.max_model_len={self.max_model_len} is more than the {held} tokens that the model in"
                f" {model} holds; set {held} or fewer, or leave the setting out."
            )
        return min(self.longest, held)

    def environment(self) -> dict[str, str]:
        """Environment variables of the engine's process."""
        if self.device == "cuda":
            return {"VLLM_LOGGING_LEVEL": "WARNING", "VLLM_NO_USAGE_STATS": "1"}
        return {
            **CPU_ENGINE_ENVIRONMENT,
            **eager_environment(self.enforce_eager),
            "OMP_NUM_THREADS": str(self.threads),
        }


def engine_arguments(config: EngineConfig, model: Path) -> dict[str, Any]:
    """What vLLM is told of an engine of this model, in vLLM's own names; beside the model, and what is logged.

    Raises:
        SalusError: more tokens are set than the model holds.
    """
    length = config.length(model)
    arguments: dict[str, Any] = {
        # The Hugging Face files, as the trainers read them. vLLM would prefer Mistral's own, whose tokenizer reads
        # the control tokens of a text as letters.
        "tokenizer_mode": "hf",
        "config_format": "hf",
        "load_format": "safetensors",
        # Set by hand, so that no default can change it: a folder's own code is never run.
        "trust_remote_code": False,
        "dtype": config.computing_dtype,
        "max_model_len": length,
        "max_num_seqs": config.max_num_seqs,
        "enforce_eager": config.enforce_eager,
        "tensor_parallel_size": config.tensor_parallel,
        **config.extra,
    }
    if sees_images(model):
        # Texts alone are asked: without it vLLM tries the largest image at its start.
        arguments["language_model_only"] = True
    if config.device == "cuda":
        # Chunked prefill stays on: vLLM draws seeded tokens by their positions there, and warns where it is off.
        return arguments | {"gpu_memory_utilization": config.gpu_memory_utilization}
    return arguments | _cpu_arguments(config.kv_cache_gib, length)


def _cpu_arguments(kv_cache_gib: float, length: int) -> dict[str, Any]:
    return {
        "kv_cache_memory_bytes": int(kv_cache_gib * 2**30),
        # On CPU a seeded request whose prompt is read in parts ends the engine ("CPU Generator does not use offset").
        # Without chunks a step must have room for the longest prompt whole.
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(BATCHED_TOKENS, length),
    }


def check_engine_extra(extra: Mapping[str, Any], device: str, also: Iterable[str] = ()) -> None:
    """Hold an engine's `extra` against vLLM's names and its other settings; raises ValueError as `check_extra`."""
    check_extra(extra, _cpu_arguments(0, 0) if device == "cpu" else (), also)
