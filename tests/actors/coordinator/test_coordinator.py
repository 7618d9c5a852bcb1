"""The coordinator without Ray: assignments, failures, decisions, publications."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest

from actors.contract.publication import (
    Publication,
    PublicationRefusedError,
    RefusedPublication,
    find_refusal,
    read_publications,
)
from actors.contract.records import ChallengerName, PolicyRef, Record, TrainReport
from actors.contract.run_folder import RunFolder
from actors.contract.run_names import RunNames
from actors.coordinator.coordinator import Coordinator, CycleOutcome
from actors.errors import SalusError
from actors.files.full_disk import FullDiskError
from actors.files.shards import write_table, write_text
from tests.rows import judgments, prompt
from tests.small_disk import fill, small_disk

BASE = PolicyRef(version="c0-base", path="/models/base")
BOTH: tuple[ChallengerName, ...] = ("kto", "dpo")


class Verdict(Record):
    chosen: Literal["champion", "kto", "dpo"]
    publish: bool
    ended: str | None = None


class Rule:
    """Chooses what the test says, and remembers what it was shown."""

    def __init__(
        self, *chosen: Literal["champion", "kto", "dpo"], publish: bool = True, ended: str | None = None
    ) -> None:
        self.chosen = list(chosen)
        self.ended = ended
        self.publish = publish
        self.shown: list[tuple[int, Any, dict[ChallengerName, Any], dict[ChallengerName, str]]] = []

    def __call__(
        self,
        cycle: int,
        champion: pa.Table,
        challengers: Mapping[ChallengerName, pa.Table],
        failed: Mapping[ChallengerName, str],
    ) -> Verdict:
        answered = {name: table["answer"][0].as_py() for name, table in challengers.items()}
        self.shown.append((cycle, champion["answer"][0].as_py(), answered, dict(failed)))
        chosen = self.chosen.pop(0)
        return Verdict(chosen=chosen, publish=self.publish and chosen != "champion", ended=self.ended)


def gone_live(policy: PolicyRef, cycle: int) -> Publication:
    return Publication(
        version=policy.version,
        path=policy.path,
        cycle=cycle,
        published_at="2026-01-01T00:00:00.000+00:00",
        swap_s=0.1,
        replicas=1,
        previous=None,
    )


def refusal(version: str) -> RefusedPublication:
    return RefusedPublication(version=version, step="smoke", refused=f"{version} loops.", refused_at="2026-01-01")


class Endpoint:
    """A publisher and its record in one, without a server."""

    def __init__(self, *refuses: str) -> None:
        self.refuses = set(refuses)
        self.tried: list[str] = []
        self.policy: PolicyRef | None = None
        self.attached: PolicyRef | None = None
        self.dies = False
        self.stopped = False

    def start(self, policy: PolicyRef) -> Publication:
        self.policy = policy
        return gone_live(policy, 0)

    def attach(self, policy: PolicyRef) -> None:
        self.attached = policy

    def publish(self, policy: PolicyRef, cycle: int) -> Publication:
        self.tried.append(policy.version)
        if policy.version in self.refuses:
            raise PublicationRefusedError(refusal(policy.version))
        self.policy = policy
        if self.dies:
            raise ConnectionError("the process is killed between the swap and the log")
        return gone_live(policy, cycle)

    def stop(self) -> None:
        self.stopped = True

    def published(self) -> PolicyRef | None:
        return self.policy


def coordinator(root: Path, rule: Rule, endpoint: Endpoint | None = None, **more: Any) -> Coordinator:
    settings: dict[str, Any] = {"seed": 1, "reference": "champion", "judge": "judge", "session": "one"}
    settings |= {"challengers": {"kto": "kto", "dpo": "dpo"}} | more
    published = endpoint.published if endpoint else lambda: None
    return Coordinator(str(root), BASE, rule=rule, publisher=endpoint, published=published, **settings)


def judged(root: Path, version: str, judge: str = "judge") -> None:
    folder = RunFolder(root).evaluation_judgments("validation", version, judge)
    write_table(judgments([(prompt(1), f"answer of {version}", "Accept")]), folder / "0.parquet")


def report(root: Path, cycle: int, algorithm: ChallengerName) -> TrainReport:
    return TrainReport(
        algorithm=algorithm,
        cycle=cycle,
        challenger=RunFolder(root).challenger(cycle, algorithm),
        adapter="adapter",
        rows=10,
        steps=5,
        train_s=1.0,
        wall_s=2.0,
        workers=2,
        trainable_parameters=3,
        adapter_change=0.1,
        metrics={},
    )


def trained(of: Coordinator, root: Path, cycle: int, algorithms: tuple[ChallengerName, ...] = BOTH) -> None:
    of.assign(cycle)
    for algorithm in algorithms:
        of.training_done(report(root, cycle, algorithm))
        judged(root, f"c{cycle}-{algorithm}")


def test_a_trainer_waits_works_and_stops(tmp_path: Path) -> None:
    of = coordinator(tmp_path, Rule())
    assert of.assignment("kto", 0) is None
    jobs = of.assign(1)
    assert of.assign(1) == jobs
    assert of.assignment("kto", 0) == jobs["kto"]
    assert of.assignment("kto", 1) is None
    of.stop_training()
    assert of.assignment("kto", 0) == jobs["kto"]
    assert of.assignment("kto", 1) == "stop"
    assert jobs["kto"].seed != jobs["dpo"].seed


def test_progress_and_reports_are_kept_per_job(tmp_path: Path) -> None:
    of = coordinator(tmp_path, Rule())
    of.assign(1)
    of.training_progress("kto", 3, 9)
    assert (of.training_state(1)["kto"].step, of.training_state(1)["kto"].ended) == (3, False)
    of.training_done(report(tmp_path, 1, "kto"))
    of.training_progress("kto", 4, 9)
    assert of.training_state(1)["kto"].ended
    assert not of.training_state(1)["dpo"].ended
    with pytest.raises(SalusError, match="no dpo training job for cycle 2"):
        of.training_done(report(tmp_path, 2, "dpo"))


def test_a_winners_whole_weights_are_there_before_its_decision_is(tmp_path: Path) -> None:
    kept: list[tuple[PolicyRef, PolicyRef, bool]] = []

    def keep(winner: PolicyRef, champion: PolicyRef) -> None:
        kept.append((winner, champion, RunFolder(tmp_path).decision(1).exists()))

    of = coordinator(tmp_path, Rule("dpo", "champion"), keep_whole=keep)
    judged(tmp_path, BASE.version)
    trained(of, tmp_path, 1)
    of.decide(1)
    dpo = RunFolder(tmp_path).challenger(1, "dpo")
    assert kept == [(dpo, BASE, False)]
    # Of a champion that stays there is nothing to write.
    trained(of, tmp_path, 2)
    of.decide(2)
    assert len(kept) == 1


def test_the_winner_is_trained_on_referred_to_and_published(tmp_path: Path) -> None:
    endpoint = Endpoint()
    of = coordinator(tmp_path, rule := Rule("dpo", "champion"), endpoint)
    of.start_publisher()
    assert of.published_policy() == BASE
    judged(tmp_path, "c0-base")
    trained(of, tmp_path, 1)
    outcome = of.decide(1)
    dpo = RunFolder(tmp_path).challenger(1, "dpo")
    assert (outcome.chosen, outcome.champion, outcome.published) == ("dpo", dpo, dpo)
    assert endpoint.policy == dpo
    assert rule.shown[0] == (
        1, "answer of c0-base", {"kto": "answer of c1-kto", "dpo": "answer of c1-dpo"}, {}
    )  # fmt: skip
    record = json.loads(RunFolder(tmp_path).decision(1).read_text())
    assert record == {"chosen": "dpo", "publish": True, "ended": None}
    trained(of, tmp_path, 2)
    job = of.assign(2)["kto"]
    assert job.champion == job.reference == dpo
    assert of.decide(2).champion == dpo
    log = RunFolder(tmp_path).publications.read_text().splitlines()
    assert [json.loads(line)["version"] for line in log] == ["c0-base", "c1-dpo"]


def test_a_decision_may_be_recorded_before_it_is_published(tmp_path: Path) -> None:
    endpoint = Endpoint()
    # Asked once: it has no second answer.
    of = coordinator(tmp_path, rule := Rule("dpo"), endpoint)
    of.start_publisher()
    judged(tmp_path, "c0-base")
    trained(of, tmp_path, 1)
    recorded = of.decide(1, publish=False)
    dpo = RunFolder(tmp_path).challenger(1, "dpo")
    assert (recorded.champion, recorded.published, endpoint.policy) == (dpo, BASE, BASE)
    record = RunFolder(tmp_path).decision(1).read_bytes()
    published = of.decide(1)
    assert (published.champion, published.published, endpoint.policy) == (dpo, dpo, dpo)
    assert RunFolder(tmp_path).decision(1).read_bytes() == record
    assert len(rule.shown) == 1 and rule.chosen == []
    log = RunFolder(tmp_path).publications.read_text().splitlines()
    assert [json.loads(line)["version"] for line in log] == ["c0-base", "c1-dpo"]


@pytest.mark.parametrize("changed", ["judgments", "record", "figures", "control"])
def test_a_decision_of_other_inputs_is_made_again(tmp_path: Path, changed: str) -> None:
    of = coordinator(tmp_path, rule := Rule("dpo", "kto"))
    folder = RunFolder(tmp_path)
    judged(tmp_path, "c0-base")
    trained(of, tmp_path, 1)
    of.decide(1, publish=False)
    if changed == "judgments":
        table = judgments([(prompt(1), "another answer", "Accept")])
        write_table(table, folder.evaluation_judgments("validation", "c1-dpo", "judge") / "0.parquet")
    elif changed == "record":
        folder.decision(1).unlink()
    elif changed == "control":
        write_text("labels", folder.control(1))
    else:
        write_text("{}", folder.evaluation_capability("validation", "c1-dpo") / "figures.json")
    assert of.decide(1).chosen == "kto"
    assert len(rule.shown) == 2
    assert json.loads(folder.decision(1).read_text())["chosen"] == "kto"


def test_a_damaged_record_is_not_taken_for_the_decision(tmp_path: Path) -> None:
    of = coordinator(tmp_path, Rule("dpo", "dpo"))
    judged(tmp_path, "c0-base")
    trained(of, tmp_path, 1)
    of.decide(1, publish=False)
    record = RunFolder(tmp_path).decision(1)
    written = record.read_bytes()
    record.write_bytes(written.replace(b"dpo", b"kto"))
    assert of.decide(1).chosen == "dpo"
    assert record.read_bytes() == written


def test_the_outcome_says_that_no_cycle_follows(tmp_path: Path) -> None:
    of = coordinator(tmp_path, Rule("champion", ended="It stayed too often."))
    judged(tmp_path, "c0-base")
    trained(of, tmp_path, 1)
    assert of.decide(1).ended == "It stayed too often."


def test_what_is_written_holds_wherever_the_run_lies(tmp_path: Path) -> None:
    def written(root: Path) -> tuple[bytes, Path]:
        endpoint = Endpoint()
        of = coordinator(root, rule := Rule("dpo"), endpoint)
        of.start_publisher()
        judged(root, "c0-base")
        jobs = of.assign(1)
        of.training_failed("kto", jobs["kto"].index, f"Every prompt in {root}/cycles/01/rows/kto is too long.")
        of.training_done(report(root, 1, "dpo"))
        judged(root, "c1-dpo")
        of.decide(1)
        assert rule.shown[0][3] == {"kto": "Every prompt in cycles/01/rows/kto is too long."}
        return RunFolder(root).publications.read_bytes(), root

    (here, _), (there, root) = written(tmp_path / "here"), written(tmp_path / "cache" / "there")
    assert here == there and str(tmp_path).encode() not in here
    base, dpo = read_publications(RunFolder(root).publications)
    assert (base.path, dpo.path) == ("model:policy", RunFolder(root).challenger(1, "dpo").path)
    # As earlier versions wrote it.
    earlier = gone_live(PolicyRef(version="c1-dpo", path="/a/run"), 1).model_dump_json() + "\n"
    RunFolder(root).publications.write_text(earlier)
    assert read_publications(RunFolder(root).publications)[0].path == "/a/run"


def test_the_reference_may_stay_the_base_model(tmp_path: Path) -> None:
    of = coordinator(tmp_path, Rule(), reference="base")
    of.recall(CycleOutcome(cycle=1, chosen="kto", champion=PolicyRef(version="c1-kto", path="/p"), published=None))
    job = of.assign(2)["dpo"]
    assert (job.champion.version, job.reference) == ("c1-kto", BASE)


def test_one_failed_challenger_is_told_to_the_rule_and_the_other_goes_on(tmp_path: Path) -> None:
    of = coordinator(tmp_path, rule := Rule("dpo"))
    judged(tmp_path, "c0-base")
    jobs = of.assign(1)
    of.training_failed("kto", jobs["kto"].index, "the loss was NaN")
    of.training_done(report(tmp_path, 1, "dpo"))
    judged(tmp_path, "c1-dpo")
    assert of.decide(1).champion.version == "c1-dpo"
    assert rule.shown[0][2:] == ({"dpo": "answer of c1-dpo"}, {"kto": "the loss was NaN"})


def test_a_challenger_without_rows_is_told_to_the_rule_and_the_other_goes_on(tmp_path: Path) -> None:
    of = coordinator(tmp_path, rule := Rule("kto"))
    judged(tmp_path, "c0-base")
    made = RunFolder(tmp_path).rows(1, "pairs")
    made.mkdir(parents=True)
    (made / "report.json").write_text("{}")
    jobs = of.assign(1)
    states = of.training_state(1)
    assert states["dpo"].ended and not states["kto"].ended
    # A resident trainer asked for its job, and found no rows.
    of.training_failed("dpo", jobs["dpo"].index, "There are no Parquet files.")
    of.training_done(report(tmp_path, 1, "kto"))
    judged(tmp_path, "c1-kto")
    assert of.decide(1).champion.version == "c1-kto"
    assert rule.shown[0][3] == {"dpo": "no pairs: no prompt has two answers with different marks"}


def test_a_full_disk_fails_no_challenger_but_ends_whoever_waits_for_them(tmp_path: Path) -> None:
    of = coordinator(tmp_path, Rule())
    of.assign(1)
    of.training_halted("The disk of /a is full.")
    with pytest.raises(FullDiskError, match="The disk of /a is full"):
        of.training_state(1)
    # The next process of the run knows nothing of it.
    states = coordinator(tmp_path, Rule(), session="two").assign(1)
    assert set(states) == set(BOTH)


def test_a_full_disk_leaves_no_half_line_in_the_log(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kib=64) as root:
        of = coordinator(root, Rule(), Endpoint())
        of.start_publisher()
        fill(root / "ballast")
        with pytest.raises(FullDiskError, match="No space left"):
            of.publish(PolicyRef(version="c1-kto" + "x" * 5000, path="/x"), 1)
        assert [p.version for p in read_publications(RunFolder(root).publications)] == ["c0-base"]


def test_a_winner_outside_the_publish_gate_is_trained_on_but_not_published(tmp_path: Path) -> None:
    endpoint = Endpoint()
    of = coordinator(tmp_path, Rule("kto", publish=False), endpoint)
    of.start_publisher()
    judged(tmp_path, "c0-base")
    trained(of, tmp_path, 1)
    outcome = of.decide(1)
    assert (outcome.champion.version, outcome.published, endpoint.policy) == ("c1-kto", BASE, BASE)


def test_what_a_gate_held_back_does_not_go_live_when_the_run_is_taken_up_again(tmp_path: Path) -> None:
    live, held_back = PolicyRef(version="c1-dpo", path="/dpo"), PolicyRef(version="c2-kto", path="/kto")
    endpoint = Endpoint()
    of = coordinator(tmp_path, Rule(), endpoint)
    of.recall(CycleOutcome(cycle=1, chosen="dpo", champion=live, published=live))
    of.recall(CycleOutcome(cycle=2, chosen="kto", champion=held_back, published=live))
    # Killed before the endpoint is up.
    again = coordinator(tmp_path, Rule(), endpoint)
    again.start_publisher()
    assert (again.champion(), endpoint.policy) == (held_back, live)


def test_judging_itself_the_champion_of_the_cycle_is_the_judge(tmp_path: Path) -> None:
    of = coordinator(tmp_path, rule := Rule("kto"), judge=None)
    of.assign(1)
    judged(tmp_path, "c0-base", judge="c0-base")
    for algorithm in BOTH:
        of.training_done(report(tmp_path, 1, algorithm))
        judged(tmp_path, f"c1-{algorithm}", judge="c0-base")
    of.decide(1)
    assert rule.shown[0][1] == "answer of c0-base"


def test_finished_training_is_adopted_from_disk(tmp_path: Path) -> None:
    of = coordinator(tmp_path, Rule())
    folder = RunFolder(tmp_path)
    made = report(tmp_path, 1, "kto").model_copy(update={"adapter": str(folder.training(1, "kto") / "adapter")})
    for written in (made, RunNames(folder).written(made)):
        write_text(written.model_dump_json(), folder.training(1, "kto") / "report.json")
        of.adopt(1)
        assert of.training_state(1)["kto"].report == made
    state = of.training_state(1)
    assert state["dpo"].failure == "it was never trained to its end"


def test_without_judgments_the_sentence_names_the_folder(tmp_path: Path) -> None:
    of = coordinator(tmp_path, Rule("kto"))
    of.assign(1)
    with pytest.raises(SalusError, match=r"No Parquet files in .*validation/c0-base"):
        of.decide(1)


def test_a_coordinator_in_the_place_of_a_dead_one_goes_on(tmp_path: Path) -> None:
    endpoint = Endpoint()
    of = coordinator(tmp_path, Rule("dpo"), endpoint)
    of.start_publisher()
    judged(tmp_path, "c0-base")
    trained(of, tmp_path, 1)
    of.decide(1)
    jobs = of.assign(2)
    of.training_failed("kto", jobs["kto"].index, "the loss was NaN")
    again = coordinator(tmp_path, rule := Rule("champion"), endpoint)
    assert endpoint.attached == endpoint.policy == RunFolder(tmp_path).challenger(1, "dpo")
    assert again.champion() == of.champion()
    assert again.assign(2) == jobs
    assert again.assignment("dpo", 1) == jobs["dpo"]
    assert again.training_state(2) == of.training_state(2)
    again.training_progress("dpo", 3, 9)
    again.training_done(report(tmp_path, 2, "dpo"))
    judged(tmp_path, "c2-dpo")
    assert again.decide(2).chosen == "champion"
    assert rule.shown[0][3] == {"kto": "the loss was NaN"}
    again.stop_training()
    assert coordinator(tmp_path, Rule(), endpoint).assignment("kto", 2) == "stop"


def test_a_publication_that_was_cut_short_is_made_up_for_by_the_record(tmp_path: Path) -> None:
    endpoint = Endpoint()
    of = coordinator(tmp_path, Rule("dpo"), endpoint)
    of.start_publisher()
    judged(tmp_path, "c0-base")
    trained(of, tmp_path, 1)
    endpoint.dies = True
    with pytest.raises(ConnectionError):
        of.decide(1)
    endpoint.dies = False
    # In the dead one's place, and with a rule that has no answer.
    outcome = coordinator(tmp_path, Rule(), endpoint).decide(1)
    assert outcome.champion == outcome.published == RunFolder(tmp_path).challenger(1, "dpo")
    # The swap was done, the log was not written: it is now.
    log = RunFolder(tmp_path).publications.read_text().splitlines()
    assert [json.loads(line)["version"] for line in log] == ["c0-base", "c1-dpo"]


def test_a_decision_that_was_cut_short_is_made_again_from_the_same_champion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = Endpoint()
    of = coordinator(tmp_path, first := Rule("dpo"), endpoint)
    of.start_publisher()
    judged(tmp_path, "c0-base")
    trained(of, tmp_path, 1)

    def killed() -> None:
        raise ConnectionError("the process is killed between the record and its own state")

    with monkeypatch.context() as patched, pytest.raises(ConnectionError):
        patched.setattr(of, "_keep", killed)
        of.decide(1)
    assert RunFolder(tmp_path).decision(1).is_file() and endpoint.policy == BASE
    outcome = coordinator(tmp_path, second := Rule("dpo"), endpoint).decide(1)
    assert second.shown == first.shown
    assert outcome.champion == outcome.published == RunFolder(tmp_path).challenger(1, "dpo")


def test_another_session_begins_with_the_decisions_alone(tmp_path: Path) -> None:
    of = coordinator(tmp_path, Rule())
    of.assign(1)
    of.stop_training()
    later = coordinator(tmp_path, Rule(), session="two")
    assert later.training_state(1) == {}
    assert later.assignment("kto", 0) is None


class TestRefused:
    """A winner that the endpoint tried and refused."""

    @staticmethod
    def refused(root: Path, rule: Rule) -> tuple[Coordinator, Endpoint]:
        endpoint = Endpoint("c1-dpo")
        of = coordinator(root, rule, endpoint)
        of.start_publisher()
        judged(root, "c0-base")
        trained(of, root, 1)
        return of, endpoint

    def test_the_old_one_stays_the_record_says_why_and_the_run_goes_on(self, tmp_path: Path) -> None:
        of, endpoint = self.refused(tmp_path, Rule("dpo", "kto"))
        outcome = of.decide(1)
        assert (outcome.champion.version, outcome.published, endpoint.policy) == ("c1-dpo", BASE, BASE)
        assert outcome.refused == "c1-dpo loops."
        record = json.loads(RunFolder(tmp_path).decision(1).read_text())
        assert record == {
            "chosen": "dpo",
            "publish": True,
            "ended": None,
            "publication": refusal("c1-dpo").model_dump(),
        }
        assert [p.version for p in read_publications(RunFolder(tmp_path).publications)] == ["c0-base"]
        # It is trained on from, and its successor may go live.
        trained(of, tmp_path, 2)
        assert of.assign(2)["kto"].champion.version == "c1-dpo"
        second = of.decide(2)
        assert (second.published, second.refused) == (RunFolder(tmp_path).challenger(2, "kto"), None)

    def test_it_is_not_tried_again_by_a_call_that_is_repeated(self, tmp_path: Path) -> None:
        of, endpoint = self.refused(tmp_path, Rule("dpo", "dpo", "dpo"))
        recorded = of.decide(1, publish=False)
        assert (recorded.refused, endpoint.tried) == (None, [])
        first = of.decide(1)
        record = RunFolder(tmp_path).decision(1).read_bytes()
        # In the place of one that died after it wrote the record and before it answered.
        again = coordinator(tmp_path, Rule("dpo"), endpoint)
        assert again.decide(1) == first
        assert endpoint.tried == ["c1-dpo"]
        assert RunFolder(tmp_path).decision(1).read_bytes() == record

    def test_another_session_starts_with_what_was_live(self, tmp_path: Path) -> None:
        of, endpoint = self.refused(tmp_path, Rule("dpo"))
        outcome = of.decide(1)
        later = coordinator(tmp_path, Rule(), endpoint, session="two")
        later.recall(outcome)
        later.start_publisher()
        assert (later.champion().version, endpoint.policy, endpoint.tried) == ("c1-dpo", BASE, ["c1-dpo"])

    @pytest.mark.parametrize("before", [None, "c1-kto"])
    def test_what_was_decided_and_never_tried_is_tried_before_it_serves(
        self, tmp_path: Path, before: str | None
    ) -> None:
        """A run that was killed between a decision and its publication."""
        folder = RunFolder(tmp_path)
        former = BASE if before is None else folder.challenger(1, "kto")
        winner = folder.challenger(2, "dpo")
        folder.publications.write_text(
            "".join(gone_live(p, 0).model_dump_json() + "\n" for p in ([former] if before else []))
        )
        folder.decision(2).parent.mkdir(parents=True)
        folder.decision(2).write_text('{"chosen": "dpo", "loss": 1e-07}')
        endpoint = Endpoint("c2-dpo")
        of = coordinator(tmp_path, Rule(), endpoint)
        of.recall(CycleOutcome(cycle=1, chosen="kto", champion=folder.challenger(1, "kto"), published=former))
        of.recall(CycleOutcome(cycle=2, chosen="dpo", champion=winner, published=winner))
        of.start_publisher()
        assert (endpoint.policy, endpoint.tried) == (former, ["c2-dpo"])
        assert find_refusal(folder.decision(2)) == refusal("c2-dpo")
        assert json.loads(folder.decision(2).read_text())["loss"] == 1e-07
        assert of.champion() == winner
        endpoint.refuses.clear()
        healed = coordinator(tmp_path, Rule(), endpoint, session="two")
        healed.recall(CycleOutcome(cycle=2, chosen="dpo", champion=winner, published=winner))
        healed.start_publisher()
        assert endpoint.policy == winner
        assert [(p.version, p.cycle) for p in read_publications(folder.publications)][-1] == ("c2-dpo", 2)


def test_challengers_of_one_kind_share_their_rows_and_none_its_seed_or_folder(tmp_path: Path) -> None:
    names = {"kto": "kto", "dpo": "dpo", "dpo-ipo": "dpo"}
    jobs = coordinator(tmp_path, Rule(), challengers=names).assign(1)
    assert {name: (job.name, job.algorithm) for name, job in jobs.items()} == {n: (n, a) for n, a in names.items()}
    assert jobs["dpo"].rows == jobs["dpo-ipo"].rows != jobs["kto"].rows
    assert len({job.seed for job in jobs.values()}) == len({job.output for job in jobs.values()}) == 3
    # As they were before challengers had names.
    assert jobs["kto"].seed == 439265299
    assert jobs["dpo"].seed == 1194338679
    assert jobs["dpo-ipo"].version == "c1-dpo-ipo"
    assert RunFolder(tmp_path).find_challenger("c1-dpo-ipo") == (1, RunFolder(tmp_path).challenger(1, "dpo-ipo"))
