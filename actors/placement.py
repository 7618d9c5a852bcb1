"""Where in a cluster those stand who may not be lost with any other node."""

from __future__ import annotations

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def beside_me() -> NodeAffinitySchedulingStrategy:
    """On the node of the process that asks, if there is room: with that node it would have to end anyway."""
    return NodeAffinitySchedulingStrategy(node_id=ray.get_runtime_context().get_node_id(), soft=True)
