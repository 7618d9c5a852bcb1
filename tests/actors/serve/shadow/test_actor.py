"""A replica's way to the shadow's actor: not there yet, killed, gone, and another in its place."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import ray

from actors.contract.actor_address import ActorAddress
from actors.contract.records import PolicyRef
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.journal import read
from actors.serve.feedback.redaction_process import RedactionProcess
from actors.serve.shadow.actor import RemoteShadow
from actors.serve.shadow.config import ShadowConfig
from actors.serve.shadow.records import SHADOW, Taken
from actors.serve.shadow.shadow import Shadow
from tests.actors.serve.shadow.given import SpokenEngine, live
from tests.gone import wait_until_gone

ADDRESS = ActorAddress(actor="spoken-shadow", namespace="salus-tests-shadow")


class SpokenShadow(Shadow):
    """A shadow without a model."""

    def __init__(self, folder: Path) -> None:
        policy = PolicyRef(version="c2-kto", path=str(folder))
        config = ShadowConfig(policy="c2-kto", batch_wait_s=0)
        feedback = FeedbackConfig()
        super().__init__(SpokenEngine(), policy, folder, config, feedback, RedactionProcess(feedback))


def start(folder: Path) -> Any:
    remote: Any = ray.remote(num_cpus=0, max_restarts=3, max_task_retries=3)(SpokenShadow)
    return remote.options(name=ADDRESS.actor, namespace=ADDRESS.namespace).remote(folder)


@pytest.mark.ray
def test_a_shadow_may_come_late_die_and_be_replaced(ray_session: None, tmp_path: Path) -> None:
    way = RemoteShadow(ADDRESS)

    def take(number: int) -> Taken:
        return asyncio.run(way.take(live(f"chatcmpl-{number}")))

    with pytest.raises(ValueError, match="spoken-shadow"):
        take(0)
    actor = start(tmp_path)
    assert take(1) == "stored"
    ray.kill(actor, no_restart=False)
    # Built anew and asked again.
    assert take(2) == "stored"
    ray.kill(actor)
    wait_until_gone(lambda: take(3))
    another = start(tmp_path)
    assert take(4) == "stored"
    ray.kill(another)
    kept = read(tmp_path / SHADOW.name, SHADOW)["answer_id"].to_pylist()
    # A kill takes a moment: the dying one may have kept what it could not say it had.
    assert [answer for answer in kept if answer != "chatcmpl-3"] == ["chatcmpl-1", "chatcmpl-2", "chatcmpl-4"]
