"""Where in a cluster those stand who may not be lost with any other node."""

from __future__ import annotations

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def beside_me() -> NodeAffinitySchedulingStrategy:
    """On the node of the process that asks, with which it would have to end anyway.

    For who reserves nothing. A soft affinity would not do: Ray's spreading goes before it.
    """
    return NodeAffinitySchedulingStrategy(node_id=ray.get_runtime_context().get_node_id(), soft=False)
