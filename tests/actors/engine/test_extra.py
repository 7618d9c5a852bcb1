"""vLLM arguments that a recipe passes through: by vLLM's own names, and none that Salus sets or that run code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from actors.engine.config import EngineConfig, engine_arguments
from actors.engine.extra import SERVER_ARGUMENTS, engine_argument_names
from actors.errors import SalusError
from actors.serve.config import PublisherConfig
from pipelines.config.load import load_recipe
from tests.tiny_model import make_tiny_model


def test_the_names_are_read_from_vllms_source() -> None:
    names = engine_argument_names()
    assert {"model", "max_num_seqs", "enable_prefix_caching", "block_size", "reasoning_parser"} <= names
    assert len(names) > 150


@pytest.mark.slow
def test_they_are_the_fields_of_its_engine_arguments() -> None:
    import dataclasses

    from vllm import EngineArgs
    from vllm.entrypoints.launchers.cli_args import FrontendArgs

    assert engine_argument_names() == {field.name for field in dataclasses.fields(EngineArgs)}
    assert {field.name for field in dataclasses.fields(FrontendArgs)} >= SERVER_ARGUMENTS


def test_what_salus_tells_vllm_is_set_by_salus(tmp_path: Path) -> None:
    """A new argument of `engine_arguments` may not be set twice."""
    folder = make_tiny_model(tmp_path / "model")
    for name in engine_arguments(EngineConfig(max_model_len=64), folder):
        with pytest.raises(ValidationError, match=f"extra may not hold {name}[,:]"):
            EngineConfig.model_validate({"extra": {name: 1}})


def test_others_reach_vllm_as_they_are(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "model")
    extra: dict[str, Any] = {"enable_prefix_caching": False, "block_size": 32}
    told = engine_arguments(EngineConfig(max_model_len=64, extra=extra), folder)
    assert told == engine_arguments(EngineConfig(max_model_len=64), folder) | extra
    batched = {"max_num_batched_tokens": 4096}
    told = engine_arguments(EngineConfig(device="cuda", max_model_len=64, extra=batched), folder)
    assert told.items() >= batched.items()


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ("{enable_prefix_cashing: true}", "'enable_prefix_cashing' of extra, did you mean 'enable_prefix_caching'"),
        ("{max_model_len: 64}", "extra may not hold max_model_len, which Salus sets itself: set max_model_len beside"),
        ("{max_num_batched_tokens: 64}", "which Salus sets itself: it follows from what is set beside extra"),
        ("{override_generation_config: {}}", "change generation_config.json of the model"),
        ("{data_parallel_size: 2}", "extra may not hold data_parallel_size"),
        ("{tool_call_parser: hermes}", "vLLM has no argument 'tool_call_parser'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_sentence(extra: str, sentence: str) -> None:
    with pytest.raises(SalusError) as caught:
        load_recipe("demo", [f"generate.engine.extra={extra}"])
    assert sentence in caught.value.sentence and "\n" not in caught.value.sentence


@pytest.mark.parametrize(
    "name",
    [
        "trust_remote_code", "load_format", "worker_cls", "worker_extension_cls", "scheduler_cls", "logits_processors",
        "model_class_overrides", "reasoning_parser_plugin", "io_processor_plugin", "kv_transfer_config",
        "compilation_config", "speculative_config", "distributed_executor_backend", "enable_prompt_embeds",
        "pt_load_map_location", "allowed_local_media_path", "some_later_plugin", "new_thing_cls", "tool_parser_plugin",
    ],
)  # fmt: skip
def test_what_loads_pickles_or_runs_code_is_refused(name: str) -> None:
    for section in ("generate.engine.extra", "judge.engine.extra", "publish.engine_extra"):
        with pytest.raises(SalusError, match=f"extra may not hold {name}: it could load pickles, run code"):
            load_recipe("demo", [f"{section}={{{name}: true}}"])


SUSPECT = {"cls", "plugin", "trust", "class", "code", "processors", "embeds", "path", "backend"}
# A choice among vLLM's own.
HARMLESS = {
    "attention_backend", "mm_encoder_attn_backend", "moe_backend", "linear_backend", "mamba_backend", "offload_backend",
    "kv_offloading_backend", "gdn_prefill_backend", "kda_prefill_backend", "data_parallel_backend", "dcp_comm_backend",
    "all2all_backend",
}  # fmt: skip


def test_no_argument_of_this_vllm_that_names_code_is_left() -> None:
    """Names that speak of classes, plugins, paths or code, each refused by its name or by the list."""
    for name in engine_argument_names():
        if SUSPECT & set(name.split("_")) and name not in HARMLESS:
            with pytest.raises(ValidationError):
                EngineConfig.model_validate({"extra": {name: True}})


def test_the_endpoint_also_takes_a_tool_parser() -> None:
    extra = {"enable_auto_tool_choice": True, "tool_call_parser": "hermes", "reasoning_parser": "qwen3"}
    assert PublisherConfig(engine_extra=extra).engine.extra == extra
