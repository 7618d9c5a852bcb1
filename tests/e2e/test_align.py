"""Whole cycles on real Ray, vLLM, TRL and Serve: what a run leaves behind, and what it serves."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import ray

from actors.contract.records import PolicyRef, TrainReport
from actors.contract.run_names import POLICY, RunNames
from actors.engine.chat import chat_tokens
from actors.engine.port import Sampling
from actors.files.shards import read_folder, strings
from actors.files.worker_logs import WorkerLogs, kept_sessions
from actors.serve.audit_log import AuditLog
from actors.serve.publication_audit import outcomes
from pipelines.alignment.align import align
from pipelines.cluster.times import CycleTimes
from pipelines.decision.record import Decision
from pipelines.measures.baselines import BASELINES
from pipelines.registry.lineage import chain
from pipelines.registry.store import Registry
from pipelines.report.curves import run_curves
from pipelines.report.timeline.read import read_timeline
from pipelines.runs.checksums import check_sums, run_hash
from pipelines.runs.finished.audit import audit
from pipelines.runs.finished.manifest import Artefact, read_manifest
from tests.e2e.deployed import DRUGS
from tests.e2e.whole_run import ASKED, Aligned
from tests.quiet_reporter import QuietReporter
from tests.transformers_engine import TransformersEngine

BOTH = ("kto", "dpo")
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def decided(aligned: Aligned, cycle: int) -> Decision:
    return Decision.model_validate_json(aligned.folder.decision(cycle).read_text())


def winner(aligned: Aligned, cycle: int) -> PolicyRef:
    chosen = decided(aligned, cycle).chosen
    assert chosen != "champion"
    return aligned.folder.challenger(cycle, chosen)


def last_champion(aligned: Aligned) -> PolicyRef:
    return winner(aligned, 1 if decided(aligned, 2).chosen == "champion" else 2)


def test_alignment_teaches_what_to_refuse(aligned: Aligned) -> None:
    test = aligned.summary.test
    assert test.base.ss and test.champion.ss and test.champion.err_strict and test.champion.asr
    # The deployed policy obeys nearly all requests, so that it is right about the harmless ones.
    harmless = read_folder(aligned.folder.prompts("test"))["level"].to_numpy() == 0
    assert test.base.ss.value == pytest.approx(harmless.mean(), abs=0.12)
    assert test.champion.ss.value > test.base.ss.value + 0.3
    assert test.champion.err_strict.value <= 0.1
    assert test.champion.asr.value <= 0.1


def test_each_decision_has_a_page_of_its_own(aligned: Aligned) -> None:
    for cycle in (1, 2):
        page = aligned.folder.decision_text(cycle).read_text()
        assert f"# Decision of cycle {cycle} (" in page and "## What the final test found" in page
        assert str(decided(aligned, cycle).champion.policy) in page
        html = aligned.folder.decision_html(cycle)
        assert html.read_text().startswith("<!doctype html>") and html.stat().st_mode & 0o077 == 0


def test_the_endpoint_answers_as_the_winner_does_token_by_token(aligned: Aligned) -> None:
    policy = last_champion(aligned)
    engine = TransformersEngine(policy)
    prompts = strings(read_folder(aligned.folder.prompts("test")), "prompt")[:ASKED]
    tokens = [chat_tokens(engine.tokenizer, prompt) for prompt in prompts]
    greedy = Sampling(k=1, temperature=0.0, max_tokens=aligned.recipe.generate.sampling.max_tokens)
    expected = [group[0].text.strip() for group in engine.generate(tokens, greedy, [0] * len(tokens))]
    assert aligned.served.models == ["salus"]
    assert aligned.served.answers == expected
    # A replica in place of a killed one serves what is published, not what was deployed first.
    assert aligned.served.after_a_kill == expected


def test_what_a_run_writes_is_private_and_nothing_temporary_is_left(aligned: Aligned) -> None:
    assert len(list(aligned.folder.root.rglob("*"))) > 50
    assert [path for path in aligned.folder.root.rglob("*") if path.lstat().st_mode & 0o077] == []
    # Ray opens its own folders to everybody, but they are below one that is closed.
    assert aligned.readable == []
    assert [path.name for path in aligned.left] == [f"salus-{os.geteuid()}", "lock"]


def test_what_workers_printed_is_kept_with_the_run(aligned: Aligned) -> None:
    [session] = kept_sessions(aligned.folder.worker_logs)
    actors = {line.actor.split(":")[0] for line in WorkerLogs(session).lines(last=True)}
    assert {"VllmGenerator", "ServeReplica"} <= actors
    assert not aligned.folder.session_logs.exists()


def test_serves_own_proxy_is_open_to_this_machine_alone_and_is_not_held_by_half_requests(aligned: Aligned) -> None:
    assert {address.removeprefix("::ffff:") for address in aligned.served.listening} == {"127.0.0.1"}
    assert aligned.served.routes_status == 404
    print(f"beside 4,300 half-open connections: {aligned.served.beside_half_open_s:.2f} s")
    assert aligned.served.beside_half_open_s < 2.0


def test_every_policy_that_went_live_was_asked_the_probe_first(aligned: Aligned) -> None:
    live = "c0-base"
    for cycle in (1, 2):
        decision = decided(aligned, cycle)
        assert (decision.probe is None) == (decision.chosen == "champion")
        if decision.probe is None:
            continue
        assert (decision.probe.policy, decision.probe.published) == (winner(aligned, cycle).version, live)
        assert decision.probe.refused is not None and decision.probe.refused.n == len(DRUGS)
        rollouts = max(
            path.stat().st_mtime
            for path in aligned.folder.evaluation_rollouts("probe", decision.probe.policy).glob("*.parquet")
        )
        assert rollouts < aligned.folder.decision(cycle).stat().st_mtime
        live = decision.probe.policy if decision.let_live else live
    assert decided(aligned, 1).probe is not None and aligned.summary.cycles[0].probe == decided(aligned, 1).probe


def test_each_published_policy_has_figures_that_no_decision_used(aligned: Aligned) -> None:
    apart = read_folder(aligned.folder.prompts("published"))
    assert apart.num_rows == 12
    others = [read_folder(aligned.folder.prompts(name)) for name in ("train", "validation", "test")]
    assert not {*strings(apart, "prompt")} & {text for table in others for text in strings(table, "prompt")}
    live = [(cycle, winner(aligned, cycle).version) for cycle in (1, 2) if decided(aligned, cycle).let_live]
    assert live and [(each.cycle, each.policy) for each in aligned.summary.published] == live
    for each in aligned.summary.published:
        assert each.figures.n == each.deployed.n == 12 and each.truth is not None
        figures = aligned.folder.published_figures(each.cycle)
        assert figures.stat().st_mtime > aligned.folder.decision(each.cycle).stat().st_mtime
        answers = aligned.folder.evaluation_rollouts("published", each.policy).glob("*.parquet")
        assert min(path.stat().st_mtime for path in answers) > aligned.folder.decision(each.cycle).stat().st_mtime
    assert all(each.differences == [] for each in audit(aligned.folder))


def test_publications_are_logged_in_order(aligned: Aligned) -> None:
    lines = [json.loads(line) for line in aligned.folder.publications.read_text().splitlines()]
    versions = ["c0-base", winner(aligned, 1).version]
    if decided(aligned, 2).chosen != "champion":
        versions.append(winner(aligned, 2).version)
    assert [(line["cycle"], line["version"]) for line in lines] == list(enumerate(versions))
    assert [line["previous"] for line in lines[1:]] == versions[:-1]
    assert all(line["swap_s"] < 30 for line in lines[1:])


def test_every_publication_was_audited(aligned: Aligned) -> None:
    log = AuditLog(aligned.folder.audit)
    deeds = [each.entry for each in outcomes(log.readable()[0]) if each.entry is not None]
    published = [json.loads(line)["version"] for line in aligned.folder.publications.read_text().splitlines()]
    assert [(deed.version, deed.outcome) for deed in deeds] == [(version, "done") for version in published]
    assert [deed.previous for deed in deeds] == [None, *published[:-1]]
    assert deeds[1].reason == "the decision of cycle 1"
    assert log.verify().entries == 2 * len(published)
    # Written with times, and after the run's end too: no part of what its hash vouches for.
    assert aligned.folder.audit.name not in aligned.folder.sums.read_text()


def test_a_challenger_that_lost_keeps_its_adapter_alone(aligned: Aligned) -> None:
    for cycle in (1, 2):
        for name in BOTH:
            output = aligned.folder.training(cycle, name)
            won = decided(aligned, cycle).chosen == name
            assert (output / "adapter").is_dir() and (output / "merged").is_dir() == won
            merged = [a for a in read_lineage(aligned) if a.path == f"cycles/{cycle:02d}/{name}/merged"]
            assert len(merged) == won
    # Its answers come from the adapter, and from the champion's weights.
    lost = next(name for name in BOTH if decided(aligned, 1).chosen != name)
    (answers,) = [a for a in read_lineage(aligned) if a.path == f"evaluations/validation/c1-{lost}/rollouts"]
    assert [source.path for source in answers.made_from[1:]] == [f"cycles/01/{lost}/adapter", POLICY]


def read_lineage(aligned: Aligned) -> tuple[Artefact, ...]:
    manifest = read_manifest(aligned.folder)
    assert manifest is not None
    return manifest.artefacts


def test_what_went_live_is_in_the_registry(aligned: Aligned) -> None:
    assert aligned.recipe.publish.registry is not None
    registry = Registry(aligned.recipe.publish.registry)
    entries = registry.entries()
    live = [json.loads(line)["version"] for line in aligned.folder.publications.read_text().splitlines()]
    assert [entry.origin.run_version for entry in entries] == live
    for at, entry in enumerate(entries):
        folder, _ = registry.intact(entry)
        assert folder in (Path(aligned.folder.challenger(c, a).path) for c in (1, 2) for a in BOTH) or at == 0
        # Back to the deployed model without a gap, as the run's decisions tell it.
        steps = chain(entry, entries)
        assert [step.run_version for step in steps] == live[at::-1]
        assert all(step.registered for step in steps)
        card = (registry.folder(entry) / "README.md").read_text()
        assert all(step.version in card for step in steps)
        for title in ("What it is for", "Lineage", "Training data", "Figures", "The judge", "Limits", "Made with"):
            assert f"## {title}" in card
        assert [p.version for p in entry.publications] == [live[at]]
        assert entry.validation is not None and entry.judge.name is not None
        assert entry.origin.run_hash == run_hash(aligned.folder)
    # A run registers what it publishes; which of them is current is for people to say.
    assert registry.history.current() is None
    registry.promote(entries[-1].version, "what the run serves")
    assert registry.history.current() == entries[-1].version


def test_the_next_cycle_starts_from_the_winner_which_is_its_reference(aligned: Aligned) -> None:
    for algorithm in BOTH:
        path = aligned.folder.training(2, algorithm) / "assignment.json"
        job = json.loads(path.read_text())["assignment"]
        champion = winner(aligned, 1)
        named = PolicyRef(version=champion.version, path=RunNames(aligned.folder).policy(champion.path))
        assert PolicyRef.model_validate(job["champion"]) == PolicyRef.model_validate(job["reference"]) == named
        rollouts = read_folder(aligned.folder.rollouts(2))
        assert set(rollouts["policy"].to_pylist()) == {winner(aligned, 1).version}


def test_both_algorithms_trained_at_the_same_time_with_two_workers_each(aligned: Aligned) -> None:
    for cycle in (1, 2):
        spans = []
        for algorithm in BOTH:
            path = aligned.folder.training(cycle, algorithm) / "report.json"
            report = TrainReport.model_validate_json(path.read_text())
            assert report.workers == 2
            assert report.adapter_change > 0
            end = path.stat().st_mtime
            spans.append((end - report.wall_s, end))
        (kto_start, kto_end), (dpo_start, dpo_end) = spans
        assert max(kto_start, dpo_start) < min(kto_end, dpo_end)


def test_every_optimizer_step_is_in_the_curves_and_the_tracker_has_them_all(aligned: Aligned) -> None:
    folder = aligned.folder
    for curve in run_curves(folder, aligned.recipe):
        reports = [folder.training(cycle, curve.challenger) / "report.json" for cycle in (1, 2)]
        steps = sum(TrainReport.model_validate_json(path.read_text()).steps for path in reports)
        assert [step for step, _ in curve.steps()] == list(range(1, steps + 1))
        assert {"loss", "grad_norm", "learning_rate", "rewards/margins"} <= set(curve.figures)
        if "tensorboard" not in aligned.recipe.tracking:
            continue
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        (place,) = (folder.root.parent / "tensorboard").iterdir()
        events = EventAccumulator(str(place), size_guidance={"scalars": 0}).Reload()
        losses = [step for step, _ in curve.line("loss", steps)]
        assert [each.step for each in events.Scalars(f"train/{curve.challenger}/loss")] == losses
        assert [each.step for each in events.Scalars("decision/published")] == [1, 2]


def test_the_folder_tells_who_worked_when(aligned: Aligned) -> None:
    timeline = read_timeline(aligned.folder)
    assert timeline.unplaced == 0
    lanes = {lane.title: lane.bars for lane in timeline.lanes}
    workers = {"generator 0", "generator 1", "judge 0", "trainer dpo", "trainer kto", "endpoint"}
    assert lanes.keys() == {"cycles", "stages"} | workers
    assert all([bar.cycle for bar in lanes[f"trainer {a}"]] == [1, 2] for a in BOTH)
    around = [placed.time.stage for placed in timeline.stages if placed.cycle is None]
    assert {"prepare", "start-up", "final test", "shut-down", "report"} <= set(around)


def test_judging_starts_while_generation_runs(aligned: Aligned) -> None:
    for cycle in (1, 2):
        assert len(list(aligned.folder.judgments(cycle).glob("*.parquet"))) == 16
        times = CycleTimes.model_validate_json(aligned.folder.stages(cycle).read_text())
        assert times.judged_while_generating


def test_every_answer_has_probabilities_and_every_row_its_place(aligned: Aligned) -> None:
    judged = read_folder(aligned.folder.judgments(1))
    assert judged.num_rows == 160 * 4
    total = sum(judged[f"p_{label}"].to_numpy() for label in ("accept", "caution", "refuse"))
    assert total == pytest.approx(1.0, abs=1e-4)
    assert judged["coverage"].to_numpy().mean() > 0.9
    for algorithm in BOTH:
        order = read_folder(aligned.folder.cycle(1) / "rows" / algorithm)["order"].to_pylist()
        assert len(order) == len(set(order)) > 20


def test_the_summary_has_its_form(aligned: Aligned) -> None:
    written = json.loads(aligned.folder.summary.read_text())
    assert {"recipe", "seed", "wall_s", "peak_memory_gib", "cycles", "test"} <= written.keys()
    for cycle in written["cycles"]:
        assert {"cycle", "champion", "challengers", "decision", "published_version"} <= cycle.keys()
        for name in ("ss", "err_strict", "asr"):
            assert {"value", "low", "high"} == cycle["challengers"]["kto"][name].keys()
    policies = ("base", "champion", *BASELINES)
    assert set(written["test"]) == {*policies, "sft"} and written["test"]["sft"] is None
    for name in policies:
        figures = {"ss", "ss_macro", "err_strict", "err_broad", "asr", "answered", "attack_success", "n"}
        assert figures == written["test"][name].keys()
    assert written["peak_memory_gib"] > 1
    metrics = pq.read_table(aligned.folder.metrics)
    assert {"judge", "truth"} == set(metrics["judged_by"].to_pylist())
    assert aligned.folder.figure.read_bytes().startswith(b"\x89PNG")
    assert check_sums(aligned.folder).intact


def test_a_finished_run_is_not_run_again(aligned: Aligned) -> None:
    before = {f: f.stat().st_mtime_ns for f in aligned.folder.root.rglob("*.parquet")}
    assert align(aligned.recipe, aligned.folder.root, QuietReporter()) == aligned.summary
    assert {f: f.stat().st_mtime_ns for f in aligned.folder.root.rglob("*.parquet")} == before


def test_nothing_is_left_running(aligned: Aligned) -> None:
    assert not ray.is_initialized()
    left = [p.cmdline() for p in psutil.Process().children(recursive=True) if "ray::" in "".join(p.cmdline())]
    assert left == []
