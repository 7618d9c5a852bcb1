"""The trial of a policy before all replicas get it: smoke prompts, then a canary; the publisher does what it says."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from ray.exceptions import RayError

from actors.contract.records import PolicyRef
from actors.errors import SalusError, own_error, reason
from actors.serve.config import CanaryConfig, SmokeConfig
from actors.serve.publisher.endpoint import Endpoint
from actors.serve.replica.canary import ReplicaWatch, Seen, errors_fault, pace_fault, verdict
from actors.serve.replica.smoke import SmokeReply, check_replies
from actors.serve.replica.swap import ReplicaState

if TYPE_CHECKING:
    from actors.serve.config import PublisherConfig

logger = logging.getLogger(__name__)

# What lets a paused replica answer clients again.
SERVE_AGAIN: tuple[Literal["end_swap", "settle"], ...] = ("end_swap", "settle")
# Between two looks at a canary.
LOOK_S = 1.0


Step = Literal["load", "smoke", "canary"]


class UnfitError(SalusError):
    """A trial's word against a policy: the step, and why."""

    def __init__(self, step: Step, why: str) -> None:
        super().__init__(why)
        self.step = step


class Trial:
    """Tries policies on some replicas. Life: run*; the caller puts the replicas right where it raises."""

    def __init__(
        self,
        config: PublisherConfig,
        endpoint: Endpoint,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._endpoint = endpoint
        self._sleep = sleep
        self._monotonic = monotonic

    def run(self, policy: PolicyRef, wanted: Callable[[], bool]) -> str:
        """What came of smoke prompts and canary, in sentences; after it the chosen replicas have the policy loaded.

        With smoke prompts alone their clients still wait; after a canary they are served with the new policy.

        Args:
            wanted: asked now and then; a canary that is not wanted any more ends.

        Raises:
            UnfitError: the policy's fault, as far as can be told.
            SalusError: anything else, and so does RayError.
        """
        chosen = self._choose(policy)
        self._load(chosen, policy)
        said = []
        if self._config.smoke is not None:
            said.append(self._smoke(chosen, self._config.smoke))
        if self._config.canary is not None:
            said.append(self._canary(chosen, policy, self._config.canary, wanted))
        return " ".join(said)

    def smoke(self, policy: PolicyRef, smoke: SmokeConfig) -> str:
        """What one replica of an endpoint that serves `policy`, and that no client is led to yet, says to the prompts.

        Raises:
            UnfitError, SalusError, RayError: as `run`.
        """
        chosen = self._choose(policy)[:1]
        self._all_there("smoke", chosen, self._endpoint.some(chosen, "begin_trial"))
        said = self._smoke(chosen, smoke)
        for call in SERVE_AGAIN:
            self._endpoint.some(chosen, call)
        return said

    def _choose(self, policy: PolicyRef) -> list[str]:
        """The replicas that go first: those that have the policy from a trial that was cut off, then by name."""
        # One that is restarting counts: a canary is a share, and what is right with it is told by the others.
        needed = 1 if self._config.canary is None else 2
        living = self._living(needed)
        count = 1 if self._config.canary is None else self._config.canary.replicas(self._replicas(living))
        living.sort(key=lambda state: (state.policy != policy, state.paused, state.replica))
        return [state.replica for state in living[: min(count, max(1, len(living) - 1))]]

    def _replicas(self, living: Sequence[ReplicaState]) -> int:
        """How many replicas there are; with autoscaling those that live, and never fewer than there always are."""
        return (
            self._config.replicas if self._config.autoscaling is None else max(len(living), self._config.least_replicas)
        )

    def _living(self, needed: int) -> list[ReplicaState]:
        deadline = self._monotonic() + self._config.start_timeout_s
        while True:
            states: list[ReplicaState] = self._endpoint.everywhere("state")
            living = [state for state in states if state.policy is not None]
            if len(living) >= needed:
                return living
            if self._monotonic() > deadline:
                raise SalusError(
                    f"{len(living)} of {self._config.least_replicas} replicas serve and a trial needs {needed}; "
                    "publish again once they are back"
                )
            self._sleep(LOOK_S)

    def _load(self, chosen: Sequence[str], policy: PolicyRef) -> None:
        self._all_there("load", chosen, self._endpoint.some(chosen, "begin_trial"))
        try:
            loaded = self._endpoint.some(chosen, "load_policy", policy)
        except RayError as error:
            raise UnfitError("load", f"it does not load: {reason(error)}") from error
        self._all_there("load", chosen, loaded)

    def _smoke(self, chosen: Sequence[str], smoke: SmokeConfig) -> str:
        try:
            replies: list[tuple[SmokeReply, ...]] = self._endpoint.some(chosen, "answer_smoke", smoke)
        except RayError as error:
            if own_error(error) is not None:
                # The replica's word that it cannot try anything now.
                raise
            raise UnfitError("smoke", f"the smoke prompts could not be asked: {reason(error)}") from error
        self._all_there("smoke", chosen, replies)
        results = [check_replies(smoke, each) for each in replies]
        for result in results:
            if not result.enough(smoke):
                raise UnfitError("smoke", result.sentence())
        return results[0].sentence()

    def _canary(
        self, chosen: Sequence[str], policy: PolicyRef, canary: CanaryConfig, wanted: Callable[[], bool]
    ) -> str:
        # The hold goes on, renewed by every look: without a publisher they go back to the record's policy.
        self._all_there("canary", chosen, self._endpoint.some(chosen, "end_swap"))
        began = self._monotonic()
        logger.info("%d replicas serve %s first.", len(chosen), policy.version)
        while True:
            self._sleep(min(LOOK_S, canary.seconds, self._config.hold_s / 4))
            passed = self._monotonic() - began
            watched: list[ReplicaWatch] = self._endpoint.everywhere("watch", passed)
            ours = [each for each in watched if each.state.replica in chosen]
            self._all_there("canary", chosen, ours)
            if any(each.state.policy != policy for each in ours):
                raise SalusError("a canary went back to the record's policy, as this publisher was silent for too long")
            if not wanted():
                raise SalusError("another policy is wanted by now")
            others = [each for each in watched if each.state.replica not in chosen]
            if sentence := _finding(canary, passed, ours, others):
                return sentence

    def _all_there(self, step: Step, chosen: Sequence[str], found: Sequence[object]) -> None:
        if len(found) >= len(chosen):
            return
        if self._config.autoscaling is not None:
            raise SalusError(
                f"a replica that tried it ({step}) ended meanwhile: it died, or autoscaling took it away; publish again"
            )
        # Its machine may be to blame; a policy that ends an engine must not be tried on the next one to find out.
        raise UnfitError(step, "a replica that tried it died meanwhile")


def _finding(
    canary: CanaryConfig, passed: float, ours: Sequence[ReplicaWatch], others: Sequence[ReplicaWatch]
) -> str | None:
    """The verdict on a canary that is over, None while it is not; UnfitError as soon as it is clear."""
    seen, rest = (Seen.of([each.traffic for each in group]) for group in (ours, others))
    over = passed >= canary.seconds or (canary.answers is not None and len(seen.seconds) >= canary.answers)
    # Early only where enough were asked: one failure of the first request is a large share of them.
    if (over or seen.asked >= canary.min_answers) and (fault := errors_fault(canary, seen, rest, not over)):
        raise UnfitError("canary", fault)
    if not over:
        return None
    if fault := pace_fault(canary, seen, rest):
        raise UnfitError("canary", fault)
    return verdict(canary, seen, rest)
