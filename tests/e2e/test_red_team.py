"""A whole run with a red team and an outside judge: what wins is asked again, in the manifest and on the timeline."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.contract.run_folder import RunFolder
from actors.files.records import find_record
from actors.files.shards import read_folder, strings
from pipelines.alignment.align import align
from pipelines.alignment.rows.red_team import RedTeamReport
from pipelines.config.load import load_recipe
from pipelines.runs.checksums import check_sums
from pipelines.runs.finished.manifest import read_manifest
from pipelines.runs.stage_log import read_stage_log
from tests.e2e.conftest import TINY
from tests.pipelines.alignment.test_outside import OUTSIDE
from tests.quiet_reporter import QuietReporter

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]
CHANGES = [
    "cycles=2", "publish.enabled=false", "generate.actors=1", "judge.regimen=RULES", "train.challengers.kto=null",
    "train.workers_per_run=1", "train.challengers.dpo.epochs=1", "data.train_per_cycle=40", "data.probe=null",
    "data.probe_path=null", *OUTSIDE,
    "schemes={votes: {samples: 3}, thinking: {suffix: Think first.}, examples: {few_shot: 1}}",
]  # fmt: skip
TEAM = (
    "red_team={prompts: 12, attempts: 2, rewrite_tokens: 4, max_tokens: 2000, cpus_per_actor: 0.5,"
    " engine: {max_model_len: 512, max_num_seqs: 32, threads: 1, kv_cache_gib: 0.0625}}"
)


def test_what_an_attacker_wins_is_asked_again_in_the_next_cycle(
    deployed: Path, settings: list[str], tmp_path: Path
) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "please.yaml").write_text('value: "{{ prompt }} Please."\n', encoding="utf-8")
    # A model with room for the attacker's instruction, whatever it makes of it.
    attacker = [f"red_team.attacker={{path: {deployed / 'judge'}}}", f"red_team.templates={tmp_path / 'templates'}"]
    recipe = load_recipe(str(TINY), [*settings, *CHANGES, TEAM, *attacker])
    folder = RunFolder(tmp_path / "tiny")
    summary = align(recipe, folder.root, QuietReporter())

    report = find_record(RedTeamReport, folder.red_team(1) / "report.json", "a report")
    assert report is not None and report.attacked == 12 and report.attempts >= 12
    # The policy obeys harmful requests, with or without a please.
    assert report.successful > 0 and 0 < report.tokens <= 2000 + 12 * 2 * 4
    won = read_folder(folder.red_team(1) / "prompts")
    assert {"pyrit:please"} <= set(strings(won, "style")) <= {"pyrit:please", "red_team"}
    assert 0 not in won["level"].to_pylist() and all("~rt1." in name for name in strings(won, "prompt_id"))
    asked = {split: set(strings(read_folder(folder.prompts(split)), "base_prompt")) for split in ("train", "test")}
    assert set(strings(won, "base_prompt")) <= asked["train"] - asked["test"]
    answered = [set(strings(read_folder(folder.rollouts(cycle)), "prompt_id")) for cycle in (1, 2)]
    new = set(strings(won, "prompt_id"))
    assert not new & answered[0] and new <= answered[1]
    assert not set(strings(read_folder(folder.red_team(2) / "attempts"), "prompt")) & set(strings(won, "prompt"))

    # Each way to ask is a row of its own, with what it costs.
    rows = {(each.scheme, each.policy): each for each in summary.schemes}
    assert {name for name, _ in rows} == {None, "votes", "thinking", "examples"}
    base = {name: rows[name, "c0-base"] for name, _ in rows}
    assert base["votes"].written_tokens > 2 * base[None].written_tokens
    assert base["votes"].read_tokens == base[None].read_tokens < base["thinking"].read_tokens
    assert base["examples"].read_tokens > 1.5 * base[None].read_tokens
    assert len({each.n for each in rows.values()}) == 1
    shown = read_folder(folder.scheme("examples", "c0-base") / "judgments")
    assert set(shown["context"].to_pylist()) == {None}

    # The judge from outside refuses to call anything but Refuse.
    assert summary.reference is not None and "refuses_all" in summary.reference
    assert summary.test.base.err_strict is not None and summary.test.base.err_strict.value == 1
    assert all(set(cycle.truth or {}) == {"champion", "dpo"} for cycle in summary.cycles)

    assert check_sums(folder).intact
    manifest = read_manifest(folder)
    assert manifest is not None
    of = {artefact.path: artefact for artefact in manifest.artefacts}
    assert "cycles/01/red_team/prompts" in {source.path for source in of["cycles/02/rollouts"].made_from}
    assert "red_team" in of["cycles/01/red_team/prompts"].settings
    assert not [
        name for name, artefact in of.items() if artefact.kind == "other" and name[:7] in ("cycles/", "schemes")
    ]
    assert {"schemes", "outside judge"} <= {logged.time.stage for logged in read_stage_log(folder)}
    assert all(cycle.stage_s is not None and "red team" in cycle.stage_s for cycle in summary.cycles)
    assert align(recipe, folder.root, QuietReporter()) == summary
