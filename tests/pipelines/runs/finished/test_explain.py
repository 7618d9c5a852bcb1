"""What a run knows of one prompt, from the files it left."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from actors.contract.conversation import answer_key
from actors.contract.records import PROMPT_SCHEMA, ROLLOUT_SCHEMA, ChallengerName
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import write_table, write_text
from actors.serve.replica.scheme.nearest import NearestPrompts
from pipelines.config.load import load_recipe, save_recipe
from pipelines.decision.control import control_labels, draw_control
from pipelines.decision.decide import decide
from pipelines.feedback.review.snapshot import REVIEW_SCHEMA, ReviewReport
from pipelines.report.explanation import explanation_page
from pipelines.runs.finished.explain import explain
from tests.pipelines.judged import judged
from tests.tiny_model import make_tiny_model

LEVELS = [0, 3] * 20
RECIPE = load_recipe("demo", ["decide.control.per_contender=40", "decide.gate.min_n=1", "cycles=1"])
ANSWERED, REFUSED = ["Accept", "Accept"] * 20, ["Accept", "Refuse"] * 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """One decided cycle: KTO refuses the severe requests that the champion answers."""
    folder = RunFolder(tmp_path / "run")
    save_recipe(RECIPE, folder.recipe)
    tables = {"champion": judged(LEVELS, ANSWERED, policy="c0-base"), "kto": judged(LEVELS, REFUSED, policy="c1-kto")}
    prompts = pa.Table.from_pylist(tables["kto"].to_pylist(), schema=ROLLOUT_SCHEMA).select(PROMPT_SCHEMA.names)
    write_table(prompts, folder.prompts("validation") / "part-00000.parquet")
    for table in tables.values():
        place = folder.evaluation_judgments("validation", table["policy"][0].as_py(), "test")
        write_table(table, place / "part-00000.parquet")
    drawn = draw_control(tables["kto"], 40, seed=0)
    control = pa.concat_tables(control_labels(n, t, drawn, "clinic", lambda _: "Refuse") for n, t in tables.items())
    write_table(control, folder.control(1))
    challengers: dict[ChallengerName, pa.Table] = {"kto": tables["kto"]}
    found = decide(1, tables["champion"], challengers, RECIPE.scores, RECIPE.decide, 0, {"dpo": "no rows"})
    write_text(found.model_dump_json(), folder.decision(1))
    pairs = pa.table(
        {"prompt": ["question 7", "something else"], "chosen": ["No.", "Yes."], "rejected": ["Yes.", "No."]}
    )
    write_table(pairs, folder.rows(1, "pairs") / "part-00000.parquet")
    unpaired = pa.table({"prompt": ["question 7"], "completion": ["Yes."], "label": [False]})
    write_table(unpaired, folder.rows(1, "unpaired") / "part-00000.parquet")
    return folder


def text(run: RunFolder, prompt_id: str, nearest: int, model: Path) -> str:
    out = Console(width=160, record=True)
    out.print(explanation_page(explain(run, prompt_id, nearest, model)))
    return out.export_text()


def test_answers_are_beside_each_other_with_what_the_decision_made_of_them(run: RunFolder, model: Path) -> None:
    found = explain(run, "p00007", 1, model)
    assert (found.prompts, found.prompt.level) == ("validation", 3)
    assert [(each.policy, each.label) for each in found.answers] == [("c0-base", "Accept"), ("c1-kto", "Refuse")]
    (kto,) = found.decisions
    assert (kto.contender, kto.champion_mark, kto.mark) == ("kto", 0.0, 1.0)
    # One of 40 prompts, of which 20 have such a gain: the parts add up to the gain.
    assert kto.share_of_gain == pytest.approx(1 / 40)
    parts = [explain(run, f"p{i:05d}", 0).decisions[0].share_of_gain or 0.0 for i in range(len(LEVELS))]
    assert sum(parts) == pytest.approx(0.5)
    assert {(each.contender, each.judge_label, each.reference_label) for each in found.trusted} == {
        ("champion", "Accept", "Refuse"),
        ("kto", "Refuse", "Refuse"),
    }
    assert {(row.kind, row.texts[0]) for row in found.nearest} == {
        ("pairs", ("chosen", "No.")),
        ("unpaired", ("undesirable", "Yes.")),
    }


def test_the_page_shows_all_of_it(run: RunFolder, model: Path) -> None:
    page = text(run, "p00007", 1, model)
    for said in ("user: question 7", "c1-kto says Refuse", "+0.0250", "rejected: Yes. (cycle 1 DPO)", "1.000"):
        assert said in page
    assert "something else" not in page and "something else" in text(run, "p00007", 2, model)
    assert "Nearest" not in text(run, "p00007", 0, model)


def test_people_are_told_of_a_train_prompt(run: RunFolder) -> None:
    answers = judged([3, 0], ["Accept", "Refuse"], policy="c0-base")
    prompts = pa.Table.from_pylist(answers.to_pylist(), schema=ROLLOUT_SCHEMA).select(PROMPT_SCHEMA.names)
    write_table(prompts, run.prompts("train") / "part-00000.parquet")
    write_table(answers, run.judgments(1) / "part-00000.parquet")
    key = answer_key("question 0", "c0-base says Accept")
    row = {"key": key, "prompt": "question 0", "answer": "c0-base says Accept", "label": "Refuse"}
    labels = pa.Table.from_pylist([row | {"votes": 2, "reviewers": 3, "drawn": "random"}], schema=REVIEW_SCHEMA)
    write_table(labels, run.reviews(1) / "labels.parquet")
    write_text(ReviewReport(labels=1, ties=0, overridden=1).model_dump_json(), run.reviews(1) / "report.json")
    said = {pid: [(a.cycle, a.people) for a in explain(run, pid, 0).answers] for pid in ("p00000", "p00001")}
    assert said == {"p00000": [(1, "Refuse by 2 of 3")], "p00001": [(1, None)]}
    assert explain(run, "p00000", 0).decisions == ()


def test_an_unknown_prompt_is_a_sentence(run: RunFolder) -> None:
    with pytest.raises(SalusError, match="has no prompt 'p9'; the ids are in the column prompt_id"):
        explain(run, "p9")


def test_similarities_are_those_of_the_texts(model: Path) -> None:
    known = NearestPrompts(["a refill of insulin", "Accept Caution", "a refill"], model)
    found = known.similarities("a refill of insulin")
    assert found[0] == pytest.approx(1.0) and found[0] > found[2] > found[1]
    assert NearestPrompts(["something"], model).similarities("").tolist() == [0.0]
