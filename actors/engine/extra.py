"""vLLM arguments that a recipe passes on as `extra`: vLLM's own names, but none that Salus sets or that run code."""

from __future__ import annotations

import ast
import difflib
import importlib.util
import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

# Salus sets these from settings of their own, or from what it plans and trains.
_SET_BY_SALUS: Mapping[str, str] = {
    "model": "it is the policy's or the judge's folder",
    "dtype": "set dtype beside extra",
    "max_model_len": "set max_model_len beside extra",
    "max_num_seqs": "set max_num_seqs beside extra",
    "enforce_eager": "set enforce_eager beside extra",
    "tensor_parallel_size": "set tensor_parallel beside extra, or publish.tensor_parallel_size",
    "gpu_memory_utilization": "set gpu_memory_utilization beside extra",
    "disable_log_stats": "set publish.engine_metrics",
    "otlp_traces_endpoint": "set publish.otlp_traces_endpoint",
    "seed": "the recipe's seed decides every draw",
    "logprobs_mode": "judges read probabilities in the usual mode",
    **dict.fromkeys(("generation_config", "override_generation_config"), "change generation_config.json of the model"),
    **dict.fromkeys(("hf_overrides", "hf_config_path"), "change config.json of the model, which trainers read too"),
    **dict.fromkeys(
        ("tokenizer", "tokenizer_mode", "config_format", "model_weights", "skip_tokenizer_init", "runner", "convert"),
        "the model's folder is read in one way everywhere",
    ),
    **dict.fromkeys(("revision", "code_revision", "tokenizer_revision"), "set model.revision or judge.revision"),
    **dict.fromkeys(("hf_token", "download_dir"), "models are fetched before an engine starts"),
    "served_model_name": "set publish.model_id",
    **dict.fromkeys(
        (
            "pipeline_parallel_size",
            "prefill_context_parallel_size",
            "decode_context_parallel_size",
            "nnodes",
            "node_rank",
            "master_addr",
            "master_port",
            "device_ids",
        ),
        "Salus places engines by its own plan",
    ),
}
# They load pickles, import what they name, or let requests reach files and hosts.
_UNSAFE = frozenset(
    {
        "trust_remote_code",
        "load_format",
        "model_loader_extra_config",
        "ignore_patterns",
        "pt_load_map_location",
        "model_class_overrides",
        "logits_processors",
        "worker_cls",
        "worker_extension_cls",
        "scheduler_cls",
        "distributed_executor_backend",
        "reasoning_parser_plugin",
        "tool_parser_plugin",
        "io_processor_plugin",
        "structured_outputs_config",
        "compilation_config",
        "additional_config",
        "speculative_config",
        "spec_model",
        "diffusion_config",
        "pooler_config",
        "kv_transfer_config",
        "kv_events_config",
        "ec_transfer_config",
        "ec_manager_config",
        "weight_transfer_config",
        "fault_tolerance_config",
        "profiler_config",
        "default_mm_loras",
        "enable_prompt_embeds",
        "enable_mm_embeds",
        "mm_encoder_fp8_scale_path",
        "mm_encoder_fp8_scale_save_path",
        "allowed_local_media_path",
        "allowed_media_domains",
    }
)
# What a later vLLM may call arguments that name code.
_NAMES_CODE = re.compile(r"trust|plugin|_cls$|_class(_|$)|module_path|processors$|^_")
# Of vLLM's server, which only the endpoint starts.
SERVER_ARGUMENTS = frozenset({"enable_auto_tool_choice", "tool_call_parser", "exclude_tools_when_tool_choice_none"})


def check_extra(extra: Mapping[str, Any], set_on_device: Collection[str], also: Iterable[str] = ()) -> None:
    """Hold the names of `extra` against vLLM's, without importing it.

    Args:
        extra: vLLM's argument names and their values.
        set_on_device: names that Salus also sets where this engine runs.
        also: names that are allowed beside those of vLLM's `EngineArgs`.

    Raises:
        ValueError: a name is unknown to vLLM, is set by Salus, or could load pickles or run code. A settings model
            makes one sentence of it.
    """
    known = {*engine_argument_names(), *also}
    set_here = {**_SET_BY_SALUS, **dict.fromkeys(set_on_device, "it follows from what is set beside extra")}
    for name in extra:
        by_plan = "Salus places engines by its own plan" if name.startswith("data_parallel_") else None
        if (why := set_here.get(name, by_plan)) is not None:
            raise ValueError(f"extra may not hold {name}, which Salus sets itself: {why}")
        if name in _UNSAFE or _NAMES_CODE.search(name):
            raise ValueError(
                f"extra may not hold {name}: it could load pickles, run code, or open files and hosts to others;"
                " leave it out"
            )
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            meant = f", did you mean {close[0]!r}" if close else ""
            raise ValueError(f"vLLM has no argument {name!r} of extra{meant}; its engine arguments name them all")


@cache
def engine_argument_names() -> frozenset[str]:
    """The fields of vLLM's `EngineArgs`, read from its source: importing vLLM takes seconds.

    Raises:
        ValueError: vLLM is not installed.
    """
    package = importlib.util.find_spec("vllm")
    if package is None or not package.submodule_search_locations:
        raise ValueError("extra cannot be checked, as vLLM is not installed here; install it, or leave extra out")
    source = Path(package.submodule_search_locations[0]) / "engine" / "arg_utils.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == "EngineArgs":
            fields = (each.target for each in node.body if isinstance(each, ast.AnnAssign))
            return frozenset(field.id for field in fields if isinstance(field, ast.Name))
    raise ValueError("extra cannot be checked against this version of vLLM; leave it out")
