"""Whose answers are judged before a decision: also those of the published policy, which it compares with."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.contract.records import PolicyRef
from actors.contract.run_folder import RunFolder
from actors.files.shards import write_text
from pipelines.alignment.evaluation import Evaluation
from pipelines.alignment.run import Run
from pipelines.cluster.pools import Pools
from pipelines.config.decision import DecisionConfig, GateConfig
from pipelines.config.load import load_recipe
from pipelines.config.scores import ScoreTable
from pipelines.decision.decide import decide
from pipelines.runs.materials import Materials
from tests.pipelines.finished import BASE, answers
from tests.quiet_reporter import QuietReporter


@pytest.mark.parametrize(("regimen", "also"), [("SELF", ["c0-base"]), ("RULES", [])])
def test_what_is_live_is_judged_by_the_new_champion_too(tmp_path: Path, regimen: str, also: list[str]) -> None:
    folder = RunFolder(tmp_path)
    # 12 harmless prompts prove nothing: KTO wins, and is held back.
    config = DecisionConfig(gate=GateConfig(min_n=1), resamples=100)
    decision = decide(1, answers("c0-base", 0), {"kto": answers("c1-kto", 24)}, ScoreTable(), config, 0)
    assert decision.chosen == "kto" and not decision.publish
    write_text(decision.model_dump_json(), folder.decision(1))
    recipe = load_recipe("demo", [f"judge.regimen={regimen}", "judge.accept_unreliable=true"])
    run = Run(recipe, folder, Materials(policy=BASE, judge=None), Pools((), ()), None, QuietReporter())
    champion, challenger = folder.challenger(1, "kto"), PolicyRef(version="c2-kto", path="/c2")
    found = Evaluation(run, 2, champion).policies([challenger])
    assert [policy.version for policy in found] == ["c1-kto", "c2-kto", *also]
    assert [policy.version for policy in Evaluation(run, 1, BASE).policies([])] == ["c0-base"]
