"""How a named actor is found, and on which node what reserves nothing is placed."""

from __future__ import annotations

from typing import Any, Literal

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.contract.records import Record


class ActorAddress(Record):
    """The name and namespace under which an actor is found; by default the one that says which policy is published."""

    actor: str = "salus-published-policy"
    namespace: str = "salus"


def find_actor(address: ActorAddress) -> Any:
    """The handle of an actor. Raises ValueError where none of this name lives."""
    return ray.get_actor(address.actor, namespace=address.namespace)


def beside_me() -> NodeAffinitySchedulingStrategy:
    """On the node of the process that asks, with which it would have to end anyway.

    For who reserves nothing. A soft affinity would not do: Ray's spreading goes before it.
    """
    return NodeAffinitySchedulingStrategy(node_id=ray.get_runtime_context().get_node_id(), soft=False)


def near_gpus() -> NodeAffinitySchedulingStrategy | Literal["DEFAULT"]:
    """Rather on a node with GPUs, whose host memory is made for models; anywhere where no node has any."""
    nodes = sorted(node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU"))
    return NodeAffinitySchedulingStrategy(node_id=nodes[0], soft=True) if nodes else "DEFAULT"
