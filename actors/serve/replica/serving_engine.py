"""The engine of a replica: Ray's vLLM engine, where one CPU worker runs in the replica's own process.

vLLM otherwise starts a process for the core and one for the worker, each importing torch and vLLM again.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine
from vllm.utils.network_utils import get_open_zmq_ipc_path
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.core import EngineCoreProc
from vllm.v1.engine.utils import EngineZmqAddresses
from vllm.v1.executor.uniproc_executor import UniProcExecutor

from actors.serve.replica.app import OPTIONS_KEY, ReplicaOptions


class ThreadCore(EngineCoreProc):
    """vLLM's engine core in a thread; it talks to its client over the same sockets as from a process."""

    def __init__(self, config: Any, addresses: EngineZmqAddresses, log_stats: bool) -> None:
        self._addresses = addresses
        super().__init__(
            vllm_config=config,
            local_client=True,
            handshake_address="",
            executor_class=UniProcExecutor,
            log_stats=log_stats,
        )

    @contextmanager
    def _perform_handshakes(
        self, handshake_address: str, identity: bytes, local_client: bool, vllm_config: Any, *rest: Any
    ) -> Iterator[EngineZmqAddresses]:
        # The addresses are known here: no handshake with a parent process.
        yield self._addresses
        vllm_config.__post_init__()

    def start(self) -> None:
        """Run the busy loop in a daemon thread until the process ends."""
        threading.Thread(target=self._run, name="engine-core", daemon=True).start()

    def _run(self) -> None:
        try:
            self.run_busy_loop()
        finally:
            # However the loop ended, the client must learn that nobody answers: its health check then fails.
            self._send_engine_dead()  # type: ignore[no-untyped-call]


class ServingEngine(VLLMEngine):
    """Ray's engine, except that one CPU worker runs in this process where the config asks for it."""

    def _start_async_llm_engine(self, engine_args: Any, engine_config: Any, placement_group: Any) -> Any:
        parallel = engine_config.parallel_config
        one_cpu = engine_config.device_config.device_type == "cpu" and parallel.world_size == 1
        if not one_cpu:
            return super()._start_async_llm_engine(engine_args, engine_config, placement_group)
        parallel.distributed_executor_backend = "uni"
        options = ReplicaOptions.model_validate(self.llm_config.experimental_configs[OPTIONS_KEY])
        if not options.engine_in_process:
            return super()._start_async_llm_engine(engine_args, engine_config, placement_group)
        return self._start_in_process(engine_args, engine_config)

    def _start_in_process(self, engine_args: Any, engine_config: Any) -> AsyncLLM:
        addresses = EngineZmqAddresses(inputs=[get_open_zmq_ipc_path()], outputs=[get_open_zmq_ipc_path()])
        log_stats = not engine_args.disable_log_stats
        # Built before its client, so that a model that does not load raises here instead of timing out there.
        core = ThreadCore(copy.deepcopy(engine_config), addresses, log_stats)
        core.start()
        return AsyncLLM(
            vllm_config=engine_config,
            executor_class=UniProcExecutor,
            log_requests=engine_args.enable_log_requests,
            log_stats=log_stats,
            stat_loggers=self._stat_loggers(),
            client_addresses={"input_address": addresses.inputs[0], "output_address": addresses.outputs[0]},
        )

    def _stat_loggers(self) -> list[Any] | None:
        if not self.llm_config.log_engine_metrics:
            return None
        from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger

        return [RayPrometheusStatLogger]
