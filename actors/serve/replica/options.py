"""The actors an endpoint's replicas speak to, and what is before the served app; cheap to import."""

from __future__ import annotations

from actors.contract.actor_address import ActorAddress
from actors.contract.records import PolicyRef, Record
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.keys import ApiKey
from actors.serve.guard.config import GuardConfig
from actors.serve.shadow.config import ShadowLink

FEEDBACK_ACTOR = "salus-feedback"
# Where a replica finds its options in LLMConfig.experimental_configs.
OPTIONS_KEY = "salus_replica"

# The name of our reasoning parser in vLLM, and the variable that holds the marks it looks for.
THOUGHT_PARSER = "salus_thoughts"
THOUGHT_MARKS = "SALUS_THOUGHT_MARKS"


class LayerOptions(Record):
    """What is before the served app of a replica."""

    gateway: GatewayConfig
    feedback: FeedbackConfig = FeedbackConfig()
    # The writer of feedback; None: none is taken.
    feedback_writer: ActorAddress | None = None
    # What judges answers before they go out; None: nothing.
    guard: GuardConfig | None = None
    # The guard's model; None where rules judge.
    guard_actor: ActorAddress | None = None
    # Behind the pages of review and dashboard; None: there are none.
    pages: ActorAddress | None = None
    # The challenger that answers beside, unseen; None: none does.
    shadow: ShadowLink | None = None
    # The model that ids of answers name, for a router that finds the way back by them; None: no router is before it.
    answers_of: str | None = None
    # The only model that requests may name; None: the app says which there are.
    only_model: str | None = None
    # Whether the engine reads calls of tools out of answers.
    tools: bool = False
    # Whether policies are asked by their inference schemes.
    scheme: bool = False
    # The system's own, beside those of the gateway's file and variable.
    keys: tuple[ApiKey, ...] = ()


class AdapterOptions(Record):
    """One policy that a replica serves as a LoRA adapter of its engine."""

    # The name clients ask for, which is the adapter's name in the engine too.
    model: str
    version: str
    path: str
    rank: int
    layers: LayerOptions


class ReplicaOptions(Record):
    """What a replica is told beside Ray's own LLMConfig; travels in `LLMConfig.experimental_configs`."""

    published: ActorAddress
    # The policy to load where the record names none yet.
    policy: PolicyRef
    # How long the record may take to answer.
    record_timeout_s: float
    # How long a replica waits for its running answers before it gives up a swap.
    drain_timeout_s: float
    # How long after the last word of a publisher a replica leaves its state alone before it follows the record.
    hold_s: float
    layers: LayerOptions
    # Tokens of prompt and answer together.
    max_model_len: int
    # Policies on `policy` as their base, in whose place they are served; empty: it is served itself.
    adapters: tuple[AdapterOptions, ...] = ()
