"""The Serve application of the endpoint: PublisherConfig in, replicas that each serve vLLM's OpenAI app out.

Each replica answers HTTP itself, as in `ray.serve.llm`'s direct streaming, so that no token passes through another
process of ours. Without that mode's router, which asks a second server about every request.

`deploy` runs in a short Ray task of its own, so that the publisher's process never imports vLLM and torch.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.contract.actor_address import ActorAddress
from actors.contract.records import PolicyRef
from actors.engine.chat_format import thinks, thought_marks
from actors.engine.config import eager_environment, engine_arguments
from actors.serve.replica.options import (
    OPTIONS_KEY,
    THOUGHT_MARKS,
    THOUGHT_PARSER,
    AdapterOptions,
    LayerOptions,
    ReplicaOptions,
)
from actors.serve.replica.ray_llm import LOCAL_MODEL, build_llm_deployment

if TYPE_CHECKING:
    from ray.serve import Application

    from actors.serve.config import PublisherConfig

_NAME_PREFIX = "PolicyServer:"


def app_name(namespace: str) -> str:
    """The name of the application of one session; Serve puts it into names of actors."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", namespace)


def deployment_name(config: PublisherConfig) -> str:
    """The name under which Serve knows the replicas of the policy."""
    return f"{_NAME_PREFIX}{config.model_id}"


def replica_bundles(config: PublisherConfig) -> list[dict[str, float]]:
    """The placement group of one replica: a bundle per tensor-parallel worker, the CPUs shared evenly."""
    workers = config.tensor_parallel_size
    bundle = {"CPU": config.cpus_per_replica / workers}
    if config.gpus_per_replica:
        bundle["GPU"] = config.gpus_per_replica / workers
    return [dict(bundle) for _ in range(workers)]


def replica_environment(config: PublisherConfig) -> dict[str, str]:
    """The environment of a replica: offline, quiet, and on CPU with threads that keep to their share."""
    environment = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if not config.gpus_per_replica:
        environment |= {
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            # Lets vLLM keep the in-core executor on CPU; the engine core itself stays a process.
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "OMP_NUM_THREADS": str(max(1, int(config.cpus_per_replica))),
            **eager_environment(config.enforce_eager),
        }
    if config.otlp_traces_endpoint is not None:
        environment["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] = config.otlp_traces_protocol
        environment["OTEL_SERVICE_NAME"] = config.model_id
    if 0 < (share := config.gpus_per_replica / config.tensor_parallel_size) < 1:
        # vLLM asks Ray for a whole GPU of each worker's own otherwise, which its placement group does not have.
        environment["VLLM_RAY_PER_WORKER_GPUS"] = f"{share:g}"
    # Hashes of keys, which replicas would not see in their nodes' environment.
    if keys := os.environ.get(config.gateway.keys_env):
        environment[config.gateway.keys_env] = keys
    return environment


def trace_arguments(config: PublisherConfig) -> dict[str, Any]:
    """What vLLM is told of metrics and traces. Its traces are made of its statistics: without them its engine ends."""
    traces = config.otlp_traces_endpoint
    if traces is None:
        return {"disable_log_stats": not config.engine_metrics}
    return {"disable_log_stats": False, "otlp_traces_endpoint": traces}


def thought_arguments(policy: Path) -> dict[str, str]:
    """What vLLM is told so that clients read the answers of a policy that thinks, and not its thoughts."""
    if not thinks(policy):
        return {}
    return {
        "reasoning_parser": THOUGHT_PARSER,
        "reasoning_parser_plugin": str(Path(__file__).with_name("thought_parser.py")),
    }


def thought_environment(policy: Path) -> dict[str, str]:
    """The marks that the parser looks for."""
    return {THOUGHT_MARKS: thought_marks(policy).model_dump_json()} if thinks(policy) else {}


def build_app(
    config: PublisherConfig,
    policy: PolicyRef,
    published: ActorAddress,
    layers: LayerOptions,
    adapters: tuple[AdapterOptions, ...] = (),
) -> Application:
    """The OpenAI-compatible app that serves `policy` first and then whatever the record says, or adapters on it."""
    from ray import serve
    from ray.serve.llm import LLMConfig

    from actors.serve.replica.adapted import lora_arguments
    from actors.serve.replica.server import PolicyServer

    quiet = {"log_level": "WARNING", "enable_access_log": False}
    engine = engine_arguments(config.engine, Path(policy.path))
    options = ReplicaOptions(
        published=published,
        policy=policy,
        record_timeout_s=config.record_timeout_s,
        drain_timeout_s=config.drain_timeout_s,
        hold_s=config.hold_s,
        layers=layers,
        max_model_len=engine["max_model_len"],
        adapters=adapters,
    )
    llm = LLMConfig(
        model_loading_config={"model_id": config.model_id, "model_source": policy.path},
        engine_kwargs={
            **engine,
            **thought_arguments(Path(policy.path)),
            **lora_arguments(adapters),
            **trace_arguments(config),
        },
        placement_group_config={"bundles": replica_bundles(config)},
        runtime_env={"env_vars": replica_environment(config) | thought_environment(Path(policy.path))},
        callback_config=LOCAL_MODEL,
        log_engine_metrics=config.engine_metrics,
        experimental_configs={OPTIONS_KEY: options.model_dump(mode="json")},
        deployment_config={
            **replica_count(config),
            # The replica's CPUs are in its placement group; the actor adds none.
            "ray_actor_options": {"num_cpus": 0},
            "health_check_period_s": config.health_check_period_s,
            "health_check_timeout_s": config.drain_timeout_s + config.record_timeout_s,
            "graceful_shutdown_timeout_s": config.shutdown_timeout_s,
            "logging_config": quiet,
        },
    )
    return build_llm_deployment(llm, _NAME_PREFIX, serve.ingress()(PolicyServer))


def replica_count(config: PublisherConfig) -> dict[str, Any]:
    """How many replicas Serve keeps: a number, or what its autoscaler goes by."""
    if config.autoscaling is None:
        return {"num_replicas": config.replicas}
    return {"autoscaling_config": config.autoscaling.for_serve()}


def deploy(
    config: PublisherConfig,
    policy: PolicyRef,
    published: ActorAddress,
    layers: LayerOptions,
    name: str,
    adapters: tuple[AdapterOptions, ...] = (),
) -> None:
    """Build the app and run it under this name; returns when every replica is up."""
    from ray import serve

    app = build_app(config, policy, published, layers, adapters)
    serve.run(app, name=name, route_prefix=config.route)
