"""A replica of the endpoint: `ray.serve.llm`'s LLMServer that keeps to the policy the record names.

Importing this module imports vLLM and torch; only replicas and the deploying task do.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve.llm import LLMConfig
from ray.serve.llm.deployment import LLMServer

from actors.contract.records import PolicyRef
from actors.engine.chat_format import thinks
from actors.engine.faults.device import check_device
from actors.engine.rendering import check_same_ids, rendered_conversations
from actors.engine.tokenizer import load_tokenizer
from actors.serve.config import SmokeConfig
from actors.serve.gateway.traffic import ReplicaTraffic, TrafficWindow
from actors.serve.replica.adapted import adapted_app
from actors.serve.replica.canary import ReplicaWatch
from actors.serve.replica.engine_death import EngineDeathWatch, end_replica
from actors.serve.replica.layers import Layers
from actors.serve.replica.options import OPTIONS_KEY, ReplicaOptions
from actors.serve.replica.pause import Pause
from actors.serve.replica.published import ask_published
from actors.serve.replica.ray_llm import (
    conversation_ids,
    engine_class,
    engine_died,
    greedy_reply,
    load_from,
    reads_tools,
    restrict_app,
)
from actors.serve.replica.scheme.middleware import SchemeMiddleware
from actors.serve.replica.smoke import SmokeReply, ask_all
from actors.serve.replica.swap import EngineSwap, ReplicaState


class PolicyServer(LLMServer):
    """One replica. Life: ask the record -> load -> ask again -> serve, with swaps and health checks -> end.

    It asks again because a load takes seconds and a publication may have happened meanwhile. The health
    check, which Serve also calls before the first request, asks once more, and heals what went wrong since.
    """

    _default_engine_cls = engine_class()

    async def __init__(  # type: ignore[misc]  # Serve awaits a deployment's constructor.
        self, llm_config: LLMConfig, **collaborators: Any
    ) -> None:
        self._options = ReplicaOptions.model_validate(llm_config.experimental_configs[OPTIONS_KEY])
        self._replica = serve.get_replica_context().replica_id.unique_id
        self._pause = Pause()
        self._traffic = TrafficWindow()
        self._swap = EngineSwap(
            self,
            self._published,
            drain_timeout_s=self._options.drain_timeout_s,
            hold_s=self._options.hold_s,
            pause=self._pause,
            replica=self._replica,
        )
        await super().__init__(llm_config, **collaborators)

    async def start(self) -> None:
        # Whole GiB, inherited from the process that started Ray: it would override the configured `kv_cache_gib`.
        os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)
        bundles = (self._llm_config.placement_group_config or {}).get("bundles", ())
        # The GPUs are those of its engine's workers: this process may see none.
        check_device("cuda" if any(bundle.get("GPU") for bundle in bundles) else "cpu", 0, "A replica")
        policy = await self._published()
        load_from(self._llm_config, policy.path)
        if thinks(Path(policy.path)):
            # vLLM's own command would load the plugin.
            import actors.serve.replica.thought_parser  # noqa: F401
        await super().start()  # type: ignore[no-untyped-call]
        self._model = Path(policy.path)
        self._swap.adopt(policy)
        await self._swap.follow()

    async def __serve_build_asgi_app__(self) -> Any:
        app = await super().__serve_build_asgi_app__()  # type: ignore[no-untyped-call]
        await self._check_rendering(app)
        restrict_app(app, self._options.layers.gateway.max_tokens_per_request)
        app.add_middleware(EngineDeathWatch, dead=self._engine_died)
        tools, ready = reads_tools(app), lambda: self._swap.ready
        if self._options.adapters:
            return adapted_app(app, self._options.adapters, ready, self._pause, self._traffic, tools)
        if self._options.layers.scheme:
            # Innermost: within the pause, so that the policy that answers is the one whose scheme is applied.
            app.add_middleware(
                SchemeMiddleware, policy=lambda: self._swap.state.policy, max_model_len=self._options.max_model_len
            )
        options = self._options.layers.model_copy(update={"tools": tools})
        layers = Layers(options, lambda: self._swap.version, ready, self._pause, self._traffic)
        return layers.put_before(app)

    async def _start_engine(self) -> None:
        # Without the parent's usage report, which starts one more (detached) actor.
        engine: Any = self.engine
        await engine.start()

    async def _check_rendering(self, app: Any) -> None:
        """Raise SalusError where clients' conversations would become other tokens than those the policy learnt."""
        tokenizer = load_tokenizer(self._model)
        for turns, expected in rendered_conversations(tokenizer):
            found = await conversation_ids(app, self._llm_config.model_id, turns)
            check_same_ids(tokenizer, expected, found, "The endpoint")

    async def _published(self) -> PolicyRef:
        published = await ask_published(self._options.published, self._options.record_timeout_s)
        return published or self._options.policy

    def _engine_died(self) -> bool:
        return engine_died(self.engine)

    async def check_health(self) -> None:
        if self._engine_died():
            # Where no client asks.
            end_replica()
        await super().check_health()
        await self._swap.follow()

    async def traffic(self) -> ReplicaTraffic:
        """What this replica answered in the last minute."""
        return self._traffic.seen()

    async def addressed(self, replicas: tuple[str, ...], call: str, *arguments: Any) -> Any:
        """What `call` gives on this replica where it is one of `replicas`, else None: Ray's broadcast asks all."""
        return await getattr(self, call)(*arguments) if self._replica in replicas else None

    # What a publisher broadcasts; see EngineSwap.

    async def state(self) -> ReplicaState:
        return self._swap.state

    async def begin_trial(self) -> ReplicaState:
        return await self._swap.begin_trial()

    async def answer_smoke(self, smoke: SmokeConfig) -> tuple[SmokeReply, ...]:
        return await self._swap.try_out(lambda: ask_all(smoke, self._reply))

    async def watch(self, seconds: float) -> ReplicaWatch:
        """The state, and the answers to what was asked in the last `seconds`; a hold goes on."""
        return ReplicaWatch(state=self._swap.keep_hold(), traffic=self._traffic.begun_within(seconds))

    async def begin_swap(self) -> ReplicaState:
        return await self._swap.begin_swap()

    async def load_policy(self, policy: PolicyRef) -> ReplicaState:
        return await self._swap.load_policy(policy)

    async def end_swap(self) -> ReplicaState:
        return await self._swap.end_swap()

    async def settle(self) -> ReplicaState:
        return await self._swap.settle()

    async def _reply(self, text: str, max_tokens: int) -> str:
        return await greedy_reply(self, self._llm_config.model_id, text, max_tokens)
