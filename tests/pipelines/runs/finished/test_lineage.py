"""The lineage as a pure function: every file in one artefact, every input before what is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from actors.contract.records import SPLITS
from actors.contract.run_folder import RunFolder
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.runs.finished.lineage import OUTSIDE, SETTINGS, Node, lineage
from pipelines.runs.finished.manifest import build_manifest, content_hash, faults
from pipelines.runs.finished.shape import RunShape, names_below

FOLDER = RunFolder(Path("/runs/x"))
Winner = Literal["champion", "kto", "dpo"]
BOTH = ("kto", "dpo")


def layout(winners: list[Winner], self_judge: bool = False, adapters: bool = True) -> tuple[set[str], tuple[str, ...]]:
    """The files of a whole run with these winners, each of them published, and its champions."""
    paths = [FOLDER.recipe, FOLDER.run_record, FOLDER.judge_trust, FOLDER.judge_calibration, FOLDER.publications]
    paths += [FOLDER.metrics, FOLDER.figure, FOLDER.summary]
    paths += [FOLDER.prompts(split) / "part-00000.parquet" for split in SPLITS]
    champions = ["c0-base"]
    evaluated: list[tuple[str, str, str]] = []
    for cycle, winner in enumerate(winners, start=1):
        challengers = [FOLDER.challenger(cycle, name).version for name in BOTH]
        evaluated += [("validation", policy, champions[-1]) for policy in (champions[-1], *challengers)]
        if winner != "champion":
            evaluated += [("probe", policy, champions[-1]) for policy in (champions[-1], f"c{cycle}-{winner}")]
        paths += [FOLDER.rollouts(cycle) / "p.parquet", FOLDER.judgments(cycle) / "p.parquet"]
        for name in BOTH:
            output = FOLDER.training(cycle, name)
            paths += [FOLDER.cycle(cycle) / "rows" / name / n for n in ("0.parquet", "report.json")]
            paths += [output / n for n in ("report.json", "assignment.json")]
            paths += [output / "adapter/adapter_model.safetensors"] if adapters else []
            # A loser's are merged where they are loaded.
            paths += [output / "merged/model.safetensors"] if name == winner or not adapters else []
        paths += [FOLDER.decision(cycle), FOLDER.stages(cycle)]
        champions.append(champions[-1] if winner == "champion" else f"c{cycle}-{winner}")
    evaluated += [("test", policy, champions[-1]) for policy in ("c0-base", champions[-1])]
    for split, policy, champion in evaluated:
        judge = champion if self_judge else "ext-judge"
        root = FOLDER.root / "evaluations" / split / policy
        paths += [root / "rollouts/p.parquet", root / "judged_by" / judge / "p.parquet", root / "capability/f.json"]
    return {path.relative_to(FOLDER.root).as_posix() for path in paths}, tuple(champions)


def demo(cycles: int, *changes: str) -> Recipe:
    return load_recipe("demo", [f"cycles={cycles}", *changes])


def shape(winners: list[Winner], *changes: str, adapters: bool = True) -> RunShape:
    made = demo(len(winners), *changes)
    names, champions = layout(winners, made.judge.regimen == "SELF", adapters)
    return RunShape(FOLDER, made, tuple(sorted(names)), champions, champions)


def nodes(of: RunShape) -> dict[str, Node]:
    return {node.path: node for node in lineage(of)}


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_every_file_lies_in_one_artefact_and_every_input_comes_first(data: st.DataObject) -> None:
    winner: st.SearchStrategy[Winner] = st.sampled_from(("champion", "kto", "dpo"))
    winners = data.draw(st.lists(winner, min_size=1, max_size=4))
    regimen = data.draw(st.sampled_from(["EXT", "SELF", "RULES"]))
    whole = shape(winners, f"judge.regimen={regimen}", *(["judge.truth=null"] if regimen == "RULES" else []))
    strange = data.draw(st.lists(st.sampled_from(["note.txt", "cycles/01/note", "prompts.txt"]), unique=True))
    kept = data.draw(st.sets(st.sampled_from(whole.names)))
    some = RunShape(FOLDER, whole.recipe, tuple(sorted({*kept, *strange})), whole.champions, whole.live)
    seen: set[str] = set()
    covered: list[str] = []
    for node in lineage(some):
        assert set(node.made_from) <= {*seen, *OUTSIDE}
        seen.add(node.path)
        covered += some.below(node.path)
    assert sorted(covered) == list(some.names)


@settings(deadline=None)
@given(st.sets(st.text("ab/.0-", min_size=1, max_size=5)), st.text("ab/.0-", min_size=1, max_size=3))
def test_what_lies_below_a_name(names: set[str], name: str) -> None:
    assert names_below(sorted(names), name) == sorted(n for n in names if n == name or n.startswith(f"{name}/"))


def test_rows_come_from_all_judgments_with_replay_and_a_challenger_from_rows_and_champion() -> None:
    found = nodes(shape(["dpo", "kto"]))
    assert found["cycles/02/rows/kto"].made_from == ("cycles/01/judgments", "cycles/02/judgments")
    assert found["cycles/02/kto/adapter"].made_from == ("cycles/02/rows/kto", "cycles/01/dpo/merged")
    assert found["cycles/02/kto/merged"].made_from == ("cycles/02/kto/adapter", "cycles/01/dpo/merged")
    assert found["cycles/02/rollouts"].made_from == ("prompts/train", "cycles/01/dpo/merged")
    assert found["cycles/01/rollouts"].made_from == ("prompts/train", "model:policy")
    assert found["cycles/01/judgments"].made_from == ("cycles/01/rollouts", "model:judge")
    assert found["evaluations/test/c2-kto/rollouts"].made_from == ("prompts/test", "cycles/02/kto/merged")
    # A challenger that lost was merged where it answered.
    assert "cycles/02/dpo/merged" not in found
    lost = ("prompts/validation", "cycles/02/dpo/adapter", "cycles/01/dpo/merged")
    assert found["evaluations/validation/c2-dpo/rollouts"].made_from == lost
    assert found["evaluations/validation/c2-dpo/capability"].made_from[:2] == lost[1:]
    assert "train.challengers.kto" in found["cycles/02/kto/adapter"].settings
    assert "train.challengers.dpo" not in found["cycles/02/kto/adapter"].settings


def test_rows_come_from_the_feedback_of_their_cycle_which_leaves_out_what_is_evaluated() -> None:
    plain = shape(["dpo", "kto"])
    feedback = FOLDER.feedback(2).relative_to(FOLDER.root).as_posix()
    names = tuple(sorted((*plain.names, f"{feedback}/part-00000.parquet", f"{feedback}/report.json")))
    found = nodes(RunShape(FOLDER, plain.recipe, names, plain.champions, plain.live))
    assert found[feedback].made_from == ("prompts/validation", "prompts/test")
    assert all(feedback in found[f"cycles/02/rows/{algorithm}"].made_from for algorithm in BOTH)
    assert not any(feedback in found[f"cycles/01/rows/{algorithm}"].made_from for algorithm in BOTH)


def test_a_scheme_comes_from_its_examples_where_it_has_some() -> None:
    def found(*changes: str) -> dict[str, Node]:
        plain = shape(["dpo"], "schemes={near: {few_shot: 1}, careful: {system_prompt: Be careful.}}", *changes)
        asked = [FOLDER.scheme(name, "c0-base") / "asked" / "p.parquet" for name in ("near", "careful")]
        further = [path.relative_to(FOLDER.root).as_posix() for path in (*asked, FOLDER.pairs / "p.parquet")]
        names = tuple(sorted((*plain.names, *further)))
        return nodes(RunShape(FOLDER, plain.recipe, names, plain.champions, plain.live))

    judged, by_pairs = found(), found("preference.judged=false", "preference.egida_pairs={unpaired: true}")
    for of, examples in ((judged, "cycles/01/judgments"), (by_pairs, "pairs")):
        assert of["schemes/near/c0-base/asked"].made_from == ("prompts/test", examples, "model:policy")
        assert of["schemes/careful/c0-base/asked"].made_from == ("prompts/test", "model:policy")


def test_a_decision_comes_from_the_evaluations_of_those_it_compared() -> None:
    found = nodes(shape(["dpo", "champion"]))
    judged = [n for n in found["cycles/02/decision.json"].made_from if "validation" in n and "judged_by" in n]
    assert [name.split("/")[2] for name in judged] == ["c1-dpo", "c2-kto", "c2-dpo"]
    kept = [name for name in found["cycles/02/decision.json"].made_from if name.endswith("capability")]
    assert [name.split("/")[2] for name in kept] == ["c0-base", "c1-dpo", "c2-kto", "c2-dpo"]


def test_without_replay_without_adapters_and_from_the_base() -> None:
    found = nodes(shape(["kto", "kto"], "preference.replay=false", "train.reference=base", adapters=False))
    assert found["cycles/02/rows/dpo"].made_from == ("cycles/02/judgments",)
    assert found["cycles/02/dpo/merged"].made_from == ("cycles/02/rows/dpo", "cycles/01/kto/merged", "model:policy")


def test_a_policy_that_judges_itself_is_an_input_of_its_judgments() -> None:
    found = nodes(shape(["dpo", "kto"], "judge.regimen=SELF"))
    assert found["cycles/02/judgments"].made_from == ("cycles/02/rollouts", "cycles/01/dpo/merged")
    judged = "evaluations/validation/c1-dpo/judged_by"
    assert found[f"{judged}/c0-base"].made_from[-1] == "model:policy"
    assert found[f"{judged}/c1-dpo"].made_from[-1] == "cycles/01/dpo/merged"
    assert f"{judged}/c1-dpo" in found["cycles/02/decision.json"].made_from
    assert f"{judged}/c0-base" not in found["cycles/02/decision.json"].made_from


@pytest.mark.parametrize("setting", sorted({name for names in SETTINGS.values() for name in names}))
def test_every_setting_named_is_one_of_the_recipe(setting: str) -> None:
    tree = demo(1, "judge.ensemble={also: [RULES]}", "preference.egida_pairs={per_cycle: 1}").model_dump(mode="json")
    *sections, last = setting.split(".")
    for section in sections:
        tree = tree[section]
    assert last in tree


def test_the_content_hash_depends_on_content_and_on_names_within_the_folder_alone() -> None:
    sums = {"a/x": "1" * 64, "a/y": "2" * 64, "b/x": "1" * 64, "b/y": "2" * 64, "b2": "3" * 64}
    assert content_hash(sums, "a") == content_hash(sums, "b")
    assert content_hash(sums, "b2") == "3" * 64
    assert content_hash(sums | {"a/x": "4" * 64}, "a") != content_hash(sums, "a")


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_any_change_of_a_file_is_a_fault_of_the_manifest(data: st.DataObject) -> None:
    whole = shape(["dpo", "kto"])
    sums = {name: f"{i:064x}" for i, name in enumerate(whole.names)}
    manifest = build_manifest(whole, sums, ())
    assert list(faults(manifest, sums)) == []
    name = data.draw(st.sampled_from(whole.names))
    assert any(faults(manifest, sums | {name: "f" * 64}))
    assert any(faults(manifest, {n: s for n, s in sums.items() if n != name}))
    assert list(faults(manifest, sums | {"late.json": "f" * 64})) == ["late.json is not in it"]


def test_a_decision_comes_from_the_probe_and_from_what_is_live() -> None:
    found = nodes(shape(["dpo", "kto"]))
    asked = [n for n in found["cycles/01/decision.json"].made_from if n.startswith("evaluations/probe/")]
    assert [name.split("/")[2] for name in asked] == ["c0-base", "c1-dpo"]
    assert found["evaluations/probe/c2-kto/rollouts"].made_from == ("cycles/02/kto/merged",)
    # Under SELF the new champion has judged the answers of what is live, which cycle 1's winner is not.
    made, champions = demo(2, "judge.regimen=SELF"), ("c0-base", "c1-dpo", "c1-dpo")
    names, _ = layout(["dpo", "champion"], self_judge=True)
    rejudged = "evaluations/validation/c0-base/judged_by/c1-dpo"
    held_back = RunShape(FOLDER, made, tuple(sorted({*names, f"{rejudged}/p.parquet"})), champions, ("c0-base",) * 3)
    assert nodes(held_back)[rejudged].kind == "judgments"
    assert rejudged in nodes(held_back)["cycles/02/decision.json"].made_from
