"""The publisher: starts the endpoint on Ray Serve and puts policies live in place, losing no request."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from ray.exceptions import RayError

from actors.contract.actor_address import ActorAddress
from actors.contract.growth import may_have
from actors.contract.publication import Publication, PublicationRefusedError, RefusedPublication, not_published
from actors.contract.records import PolicyRef
from actors.engine.model_folder import check_model_folder, check_same_shape
from actors.errors import SalusError, reason
from actors.serve.address import check_address
from actors.serve.config import PublisherConfig, check_lengths, publisher_cpus, publisher_gpus
from actors.serve.publisher.endpoint import Endpoint, ServeEndpoint
from actors.serve.publisher.trial import SERVE_AGAIN, Trial, UnfitError
from actors.serve.replica.published import PolicyInActor, PublishedPolicy
from actors.serve.replica.swap import ReplicaState
from actors.serve.shadow.config import ShadowLink

logger = logging.getLogger(__name__)


class Publisher:
    """Starts, swaps and stops the endpoint. Life: (start | attach) -> publish* -> stop.

    Where the settings ask for it, a policy is tried before.

    - (0a) The canary replicas, or one for smoke prompts alone, let running answers end and keep new questions outside.
      They load the policy, while the others go on with the old one.
    - (0b) Their engines answer the smoke prompts. That lengthens the wait of these replicas' clients, or of all where
      there is but one.
    - (0c) The canary serves its clients with the new policy for its time and is compared with the others.

    Whatever goes wrong, all load the old policy again. Where that was the policy's fault, `PublicationRefusedError`
    says what it was. A rollback and the first policy are not tried: one must take seconds, the other has no former one.

    A publication goes through all replicas phase by phase: (1) all pause, (2) all load, and (3) every reply is checked
    for the new version. Then (4) the record names it, (5) all resume, and (6) all settle with the record. So no answer
    of the old policy follows one of the new, except in and before a canary, when both are given. The record never names
    a policy that did not load, or did not pass its trial.
    What dies, starts or fails in between converges:

    - A replica that dies while it tries a policy restarts with the record's, the old one. The policy is refused.
    - A replica that dies in (1) to (5) is left out. It restarts, asks the record before and after its load and at every
      health check, and ends at what the record says.
    - A replica that was starting in (1) to (3), as one that Serve's autoscaler adds, was not reached. It finds the
      difference after its load, in (6), or at its next health check.
    - Where one fails to load, the publication fails: all load the old policy again and resume. One that cannot even do
      that stays paused, and goes to the record's policy when its hold ends.
    - Where the publisher's process dies, paused or advanced replicas and canaries go to the record's policy when their
      hold ends (`hold_s`). That is the old one before (4), and the new one after.

    Calls block: from an asynchronous actor, make them in a thread. Not for two threads at once.
    """

    def __init__(
        self,
        config: PublisherConfig,
        published: PublishedPolicy | None = None,
        endpoint: Endpoint | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        pages: ActorAddress | None = None,
        shadow: ShadowLink | None = None,
    ) -> None:
        """`pages`: the actor behind the pages of review and dashboard; `shadow`: the challenger beside; None: none."""
        self._config = config
        self._published: PublishedPolicy = published or PolicyInActor()
        self._endpoint: Endpoint = endpoint or ServeEndpoint(config, self._published.address.namespace, pages, shadow)
        self._trial = Trial(config, self._endpoint)
        self._clock = clock
        self._live: PolicyRef | None = None

    @property
    def url(self) -> str:
        """The base address of the endpoint; `/v1` follows."""
        return self._config.url

    def attach(self, policy: PolicyRef) -> None:
        """Take over an endpoint that a publisher of a process now dead started, and last recorded `policy` for."""
        self._live = policy

    def start(self, policy: PolicyRef) -> Publication:
        """Deploy the endpoint with `policy` and return when it has answered a chat request.

        An endpoint that was taken over may have come up halfway: it is taken down first.
        Errors: SalusError for a bad folder, a port in use, too few CPUs or GPUs, an engine that cannot start.
        """
        check_model_folder(Path(policy.path))
        check_lengths(self._config, Path(policy.path))
        if self._live is not None:
            self.stop()
        check_address(self._config)
        began_at = self._now()
        self._check_resources()
        self._published.record(policy)
        try:
            self._endpoint.start(policy, self._published.address)
        except SalusError:
            self.stop()
            raise
        self._live = policy
        return self._publication(policy, 0, began_at, swap_s=0.0, replicas=self._config.first_replicas, previous=None)

    def publish(
        self, policy: PolicyRef, cycle: int, *, trial: bool = True, wanted: Callable[[], bool] = lambda: True
    ) -> Publication:
        """Put `policy` live on every replica in place; SalusError where that fails, and the old one stays.

        Args:
            policy: what is to be served.
            cycle: whose decision this carries out; 0: none's.
            trial: whether it is tried before, where the settings say so.
            wanted: asked in a canary now and then: where it says no, the publication is given up.

        Raises:
            PublicationRefusedError: the policy did not pass its trial.
            SalusError: anything else went wrong.
        """
        publication = self._replace(policy, cycle, wanted if trial else None)
        self._live = policy
        return publication

    def try_smoke(self, stays: str) -> str | None:
        """Ask the served policy the smoke prompts; for an endpoint that no client is led to yet. None without any.

        Args:
            stays: the version that clients are served meanwhile, and further where this one is refused.

        Raises:
            PublicationRefusedError: it did not pass.
            SalusError: it could not be asked.
        """
        if self._config.smoke is None:
            return None
        policy = self._served()
        try:
            return self._trial.smoke(policy, self._config.smoke)
        except UnfitError as unfit:
            raise self._refused(policy, stays, unfit) from unfit
        except RayError as error:
            raise SalusError(f"Policy {policy.version} was not asked the smoke prompts: {reason(error)}") from error

    def replica_versions(self) -> list[str]:
        """The version of each living replica, in order; "unknown" while one loads."""
        self._served()
        return sorted(s.policy.version if s.policy else "unknown" for s in self._endpoint.everywhere("state"))

    def served_version(self) -> str:
        """The version every replica reports; SalusError while they differ (a replica is still converging)."""
        versions = self.replica_versions()
        if len(set(versions)) != 1:
            found = ", ".join(sorted(set(versions))) or "none"
            raise SalusError(f"The replicas do not serve one version (found: {found}); ask again in some seconds.")
        return versions[0]

    def stop(self) -> None:
        """Take the endpoint down, and Serve itself where it was the last; harmless where it does not run."""
        self._endpoint.stop()
        self._live = None
        if isinstance(self._published, PolicyInActor):
            self._published.close()

    def _served(self) -> PolicyRef:
        if self._live is None:
            raise SalusError("The endpoint does not run; call start first.")
        return self._live

    def _check_resources(self) -> None:
        have = may_have()
        for kind, need in (("CPU", publisher_cpus(self._config)), ("GPU", publisher_gpus(self._config))):
            if need > have.get(kind, 0.0):
                raise SalusError(
                    f"The endpoint needs {need:g} logical {kind}s, the cluster has {have.get(kind, 0.0):g}; "
                    f"lower {_count(self._config)} or publish.{kind.lower()}s_per_replica. If the cluster can grow, say"
                    " how far with cluster.gpus and cluster.logical_cpus."
                )

    def _replace(self, policy: PolicyRef, cycle: int, wanted: Callable[[], bool] | None) -> Publication:
        """`wanted`: None where the policy is not to be tried."""
        served = self._served()
        check_model_folder(Path(policy.path))
        check_same_shape(served, policy)
        began_at, began = self._now(), time.monotonic()
        tried = self._try(policy, served, wanted) if wanted is not None and self._tries else None
        swap_began = time.monotonic()
        replicas = self._swap(policy, served)
        swap_s = time.monotonic() - swap_began
        done = self._publication(policy, cycle, began_at, swap_s, replicas, served.version)
        return done.model_copy(update={"trial": tried, "trial_s": round(swap_began - began, 4)}) if tried else done

    @property
    def _tries(self) -> bool:
        return self._config.smoke is not None or self._config.canary is not None

    def _try(self, policy: PolicyRef, served: PolicyRef, wanted: Callable[[], bool]) -> str:
        """Phase 0."""
        try:
            return self._trial.run(policy, wanted)
        except UnfitError as unfit:
            self._restore(served)
            raise self._refused(policy, served.version, unfit) from unfit
        except (RayError, SalusError) as error:
            self._restore(served)
            raise SalusError(not_published(policy, served, error)) from error

    def _refused(self, policy: PolicyRef, stays: str, unfit: UnfitError) -> PublicationRefusedError:
        why = f"Policy {policy.version} was refused ({unfit.step}) and {stays} stays: {unfit.sentence}"
        return PublicationRefusedError(
            RefusedPublication(version=policy.version, step=unfit.step, refused=_ended(why), refused_at=self._now())
        )

    def _publication(
        self, policy: PolicyRef, cycle: int, began_at: str, swap_s: float, replicas: int, previous: str | None
    ) -> Publication:
        return Publication(
            version=policy.version,
            path=policy.path,
            cycle=cycle,
            published_at=self._now(),
            began_at=began_at,
            swap_s=round(swap_s, 4),
            replicas=replicas,
            previous=previous,
        )

    def _now(self) -> str:
        return self._clock().isoformat(timespec="milliseconds")

    def _swap(self, policy: PolicyRef, served: PolicyRef) -> int:
        """Phases 1 to 6; the number of replicas that took part."""
        try:
            self._endpoint.everywhere("begin_swap")
            states = self._endpoint.everywhere("load_policy", policy)
            _check_loaded(states, policy)
            self._published.record(policy)
        except (RayError, SalusError) as error:
            self._restore(served)
            raise SalusError(not_published(policy, served, error)) from error
        self._resume()
        return len(states)

    def _restore(self, served: PolicyRef) -> None:
        try:
            self._endpoint.everywhere("load_policy", served)
        except (RayError, SalusError) as error:
            logger.warning("A replica could not go back to %s at once: %s", served.version, reason(error))
        self._resume()

    def _resume(self) -> None:
        # Not fatal: the record has spoken; a replica that cannot resume is restarted or heals after its hold.
        for call in SERVE_AGAIN:
            try:
                self._endpoint.everywhere(call)
            except RayError as error:
                logger.warning("A replica did not %s: %s", call, reason(error))


def _count(config: PublisherConfig) -> str:
    """The setting that says how many replicas there may be."""
    return "publish.replicas" if config.autoscaling is None else "publish.autoscaling.max_replicas"


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith(".") else f"{sentence}."


def _check_loaded(states: list[ReplicaState], policy: PolicyRef) -> None:
    if not states:
        raise SalusError("no replica is alive")
    if any(state.policy != policy for state in states):
        raise SalusError("not every replica reports the new version")
