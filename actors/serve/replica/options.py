"""The actors an endpoint's replicas speak to, and what stands before the served app; cheap to import."""

from __future__ import annotations

from actors.contract.actor_address import ActorAddress
from actors.contract.records import Record
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.gateway.config import GatewayConfig
from actors.serve.gateway.keys import ApiKey
from actors.serve.guard.config import GuardConfig
from actors.serve.shadow.config import ShadowLink

FEEDBACK_ACTOR = "salus-feedback"


class FrontOptions(Record):
    """What a replica needs to know of its front."""

    gateway: GatewayConfig
    feedback: FeedbackConfig = FeedbackConfig()
    # The keeper of feedback; None: none is taken.
    feedback_desk: ActorAddress | None = None
    # Who judges answers before they go out; None: nobody.
    guard: GuardConfig | None = None
    # The guard's model; None where rules judge.
    guard_desk: ActorAddress | None = None
    # Behind the pages of review and dashboard; None: there are none.
    office: ActorAddress | None = None
    # The challenger that answers beside, unseen; None: none does.
    shadow: ShadowLink | None = None
    # The model that ids of answers name, for a router that finds the way back by them; None: no router stands before.
    answers_of: str | None = None
    # The system's own, beside those of the gateway's file and variable.
    keys: tuple[ApiKey, ...] = ()
