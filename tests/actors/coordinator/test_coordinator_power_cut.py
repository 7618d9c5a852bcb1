"""A coordinator whose machine loses its power: at every file-system call the run is whole, and nothing told is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.contract.actor_address import ActorAddress
from actors.contract.publication import Publication, read_publications
from actors.contract.records import PolicyRef
from actors.contract.run_folder import RunFolder
from actors.coordinator.coordinator import Coordinator, CycleOutcome
from actors.coordinator.recorded import RecordedVerdict
from actors.files.records import find_record
from actors.serve.replica.published import PolicyOnDisk
from tests.actors.coordinator.test_coordinator import BASE, BOTH, Endpoint, Rule, coordinator, judged, report
from tests.power_cut import recorded

STEPS = ("live", "assigned", "trained", "decided")


class KeptEndpoint(Endpoint):
    """An endpoint whose published policy is kept as a run keeps it."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._published = PolicyOnDisk(ActorAddress(namespace="one"), RunFolder(root).published)

    def start(self, policy: PolicyRef) -> Publication:
        self._published.record(policy)
        return super().start(policy)

    def publish(self, policy: PolicyRef, cycle: int) -> Publication:
        self._published.record(policy)
        return super().publish(policy, cycle)

    def published(self) -> PolicyRef | None:
        return self._published.published()


def go_through(of: Coordinator, root: Path, step: str) -> CycleOutcome | None:
    if step == "live":
        of.start_publisher()
    elif step == "assigned":
        of.assign(1)
    elif step == "trained":
        for algorithm in BOTH:
            of.training_done(report(root, 1, algorithm))
    else:
        return of.decide(1)
    return None


def test_a_run_is_whole_at_every_call_and_keeps_what_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "run"
    for version in ("c0-base", "c1-kto", "c1-dpo"):
        judged(root, version)
    with recorded(root, monkeypatch) as tape:
        of = coordinator(root, Rule("dpo"), KeptEndpoint(root))
        for step in STEPS:
            go_through(of, root, step)
            tape.acknowledge(step)
    states = 0
    for done in tape.crashes():
        states += 1
        # It would choose another one now.
        endpoint = KeptEndpoint(root)
        of = coordinator(root, Rule("kto"), endpoint)
        log = [publication.version for publication in read_publications(RunFolder(root).publications)]
        decision = find_record(RecordedVerdict, RunFolder(root).decision(1), "a decision")
        assert decision is None or decision.chosen == "dpo"
        if "live" in done:
            assert endpoint.published() in (BASE, RunFolder(root).challenger(1, "dpo")) and log[:1] == ["c0-base"]
        if "assigned" in done:
            assert all(isinstance(of.assignment(algorithm, 0), object) for algorithm in BOTH)
            assert set(of.training_state(1)) == set(BOTH)
        if "trained" in done:
            assert all(state.ended for state in of.training_state(1).values())
        if "decided" in done:
            assert decision is not None and log == ["c0-base", "c1-dpo"]
            assert of.champion().version == "c1-dpo" and endpoint.published() == of.champion()
        outcome = [go_through(of, root, step) for step in STEPS if step not in done or step in ("live", "decided")][-1]
        assert outcome is not None and outcome.published == outcome.champion
        assert outcome.champion.version in (["c1-dpo"] if "decided" in done else ["c1-dpo", "c1-kto"])
        assert read_publications(RunFolder(root).publications)[-1].version == outcome.champion.version
    assert states > 30
