"""What replicas use of `ray.llm` and vLLM beyond their public API, all of it in this file; Ray 2.60, vLLM 0.29.

Importing it is cheap. What needs vLLM and torch imports them where it is called, in replicas and the deploying task.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.llm._internal.common.callbacks.base import CallbackBase, CallbackConfig

from actors.contract.conversation import Turn
from actors.engine.model_files import engine_folder
from actors.errors import SalusError

if TYPE_CHECKING:
    from ray.serve import Application
    from ray.serve.llm import LLMConfig


class LocalModel(CallbackBase):
    """Skips Ray's model download step and the worker process it takes: the model is a folder."""

    async def on_before_node_init(self) -> None:
        self.ctx.run_init_node = False


LOCAL_MODEL = CallbackConfig(callback_class=LocalModel)


def build_llm_deployment(llm: LLMConfig, name_prefix: str, server: Any) -> Application:
    """The application of one deployment whose replicas are of the class `server`."""
    from ray.llm._internal.serve.core.server.builder import build_llm_deployment as build

    return build(llm, name_prefix=name_prefix, deployment_cls=server)


def broadcast(handle: Any, call: str, arguments: list[Any]) -> list[Any]:
    """`call` on every living replica behind a deployment's handle, all at once: what they reply."""
    from ray.llm._internal.serve.utils.broadcast import broadcast as on_all

    replies: list[Any] = on_all(handle, call, args=arguments)
    return replies


@functools.cache
def engine_class() -> Any:
    """Ray's vLLM engine, in which one CPU worker shares the process of the engine core.

    Ray has vLLM start a process of its own for it, which imports torch and vLLM once more.
    """
    from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine

    class ReplicaEngine(VLLMEngine):
        def _start_async_llm_engine(self, engine_args: Any, engine_config: Any, placement_group: Any) -> Any:
            parallel = engine_config.parallel_config
            if engine_config.device_config.device_type == "cpu" and parallel.world_size == 1:
                parallel.distributed_executor_backend = "uni"
            return super()._start_async_llm_engine(engine_args, engine_config, placement_group)

    return ReplicaEngine


def load_from(config: Any, path: str) -> None:
    """Have the engine of an `LLMConfig`, which has not started, load the model of this folder."""
    from ray.serve.llm import ModelLoadingConfig

    source = str(engine_folder(Path(path)))
    config.model_loading_config = ModelLoadingConfig(model_id=config.model_id, model_source=source)
    config.get_engine_config().hf_model_id = source


def engine_died(engine: Any) -> bool:
    """Whether the engine core behind Ray's engine has ended or failed for good."""
    return bool(engine._engine_client.errored)


def restrict_app(app: Any, max_tokens: int | None) -> None:
    """Hide the model's folder in vLLM's OpenAI app, and bound an answer's tokens; None: only by the model's length."""
    for path in app.state.openai_serving_models.registry.base_model_paths:
        # Told to every client that lists the models: a folder of this machine, and that of the first policy for ever.
        path.model_path = path.name
    state = app.state
    for answering in (state.openai_serving_chat, state.openai_serving_completion, state.openai_serving_responses):
        # vLLM takes the least of this, what a request (or else the model) names, and what the prompt leaves.
        answering.override_max_tokens = max_tokens


async def conversation_ids(app: Any, model: str, turns: Sequence[Turn]) -> list[int]:
    """The tokens that vLLM's OpenAI app asks its engine with for a conversation of a client.

    Raises:
        SalusError: it cannot be rendered.
    """
    from vllm.entrypoints.serve.tokenize.protocol import TokenizeChatRequest, TokenizeResponse

    messages: Any = [turn.model_dump() for turn in turns]
    request = TokenizeChatRequest(model=model, messages=messages)
    found = await app.state.serving_tokenization.create_tokenize(request, None)
    if not isinstance(found, TokenizeResponse):
        raise SalusError(found.error.message)
    return list(found.tokens)


def model_card(app: Any, model: str) -> dict[str, Any]:
    """What vLLM's OpenAI app says of one of its models, without any folder of this machine."""
    models = app.state.openai_serving_models
    return {
        "id": model,
        "object": "model",
        "owned_by": "vllm",
        "root": model,
        "parent": None,
        "max_model_len": models.model_config.max_model_len,
    }


def reads_tools(app: Any) -> bool:
    """Whether vLLM's OpenAI app reads calls of tools out of answers; without a parser it refuses requests for them."""
    chat = app.state.openai_serving_chat
    return bool(chat.enable_auto_tools and chat.parser_cls is not None and chat.parser_cls.tool_parser_cls is not None)


async def greedy_reply(server: Any, model: str, text: str, max_tokens: int) -> str:
    """What the engine of an `LLMServer` replies to one question, past all that is before it for clients.

    Raises:
        SalusError: it failed, said nothing, or ended otherwise than by a stop or the limit.
    """
    from ray.llm._internal.serve.core.configs.openai_api_models import (
        ChatCompletionRequest,
        ChatCompletionResponse,
        ErrorResponse,
    )

    request = ChatCompletionRequest(
        model=model,
        messages=[{"role": "user", "content": text}],
        temperature=0.0,
        max_tokens=max_tokens,
        # Or all questions of one call would get Serve's id of that call.
        request_id=uuid.uuid4().hex,
    )
    async for response in await server.chat(request):
        if isinstance(response, ErrorResponse):
            raise SalusError(response.error.message)
        if not isinstance(response, ChatCompletionResponse):
            raise SalusError(f"the engine said {type(response).__name__}")
        (choice,) = response.choices
        if choice.finish_reason not in ("stop", "length"):
            raise SalusError(f"it ended by {choice.finish_reason}")
        return choice.message.content or ""
    raise SalusError("the engine said nothing")
