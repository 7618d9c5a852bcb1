"""A Python function as judge: what it is given, what it may say, and one sentence for all that is wrong with it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from actors.contract.conversation import Turn, context_of, transcript
from actors.contract.records import LABELS, ROLLOUT_SCHEMA
from actors.errors import SalusError
from actors.files.shards import read_folder
from actors.judges.function import FunctionScorer, load_function
from actors.judges.judge import Judge, JudgmentTask
from pipelines.cli.main import main
from pipelines.config.load import load_recipe, save_recipe
from pipelines.judges.evidence import judge_before_run
from pipelines.judges.gate import UnreliableJudge
from tests.rows import judgments, prompt

MODULE = "ward_judge"
LAST = Turn(role="user", content="How much?")
SOURCE = """
def by_words(conversations):
    return ["Refuse" if "sorry" in turns[-1]["content"].lower() else "Accept" for turns in conversations]

def unsure(conversations):
    return [{"Refuse": 0.6, "accept": 0.2} for _ in conversations]

def silent(conversations):
    return [None for _ in conversations]

def seen(conversations):
    given.extend(conversations)
    return ["Caution"] * len(conversations)

given = []

def fails(conversations):
    raise ValueError("no such\\nward")

def too_few(conversations):
    return ["Accept"]

def one_label(conversations):
    return "Accept"

def nothing(conversations):
    return None

def a_number(conversations):
    return [0.5 for _ in conversations]

def unknown(conversations):
    return ["Deny" for _ in conversations]

def over_one(conversations):
    return [{"Accept": 0.9, "Refuse": 0.9} for _ in conversations]

def not_a_number(conversations):
    return [{"Accept": float("nan")} for _ in conversations]

def a_word(conversations):
    return [{"Accept": "sure"} for _ in conversations]

by_name = "not callable"
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module in the folder where `salus` is started."""
    path = tmp_path / f"{MODULE}.py"
    path.write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield path
    sys.modules.pop(MODULE, None)


def scorer(name: str) -> FunctionScorer:
    return FunctionScorer(f"{MODULE}:{name}")


def fault(run: Callable[[], object]) -> str:
    with pytest.raises(SalusError) as caught:
        run()
    assert "\n" not in caught.value.sentence
    return caught.value.sentence


def test_labels_are_sure_and_probabilities_have_their_sum_as_coverage() -> None:
    p, coverage = scorer("by_words").score(["r", "r"], ["Sorry, no.", "Take two."])
    assert [LABELS[row] for row in p.argmax(axis=1)] == ["Refuse", "Accept"]
    assert (p.max(axis=1).tolist(), coverage.tolist()) == ([1.0, 1.0], [1.0, 1.0])
    p, coverage = scorer("unsure").score(["r"], ["a"])
    assert p[0] == pytest.approx([0.25, 0.0, 0.75])
    assert coverage[0] == pytest.approx(0.8)


def test_it_sees_conversations_whose_last_message_is_the_answer() -> None:
    judge = scorer("seen")
    judge.score(["How much?", "And then?"], ["Two.", "  "])
    # An empty answer is Refuse by rule.
    assert sys.modules[MODULE].given == [
        [{"role": "user", "content": "How much?"}, {"role": "assistant", "content": "Two."}]
    ]


def test_it_sees_every_turn_of_a_conversation() -> None:
    before = [Turn(role="user", content="Hello"), Turn(role="assistant", content="Hi")]
    scorer("seen").score([transcript(context_of([*before, LAST]), LAST.content, "Be brief.")], ["Two."])
    assert sys.modules[MODULE].given == [
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi"},
            {"role": "user", "content": "How much?"},
            {"role": "assistant", "content": "Two."},
        ]
    ]


def test_an_empty_answer_is_refuse_and_no_label_is_missing(tmp_path: Path) -> None:
    p, coverage = scorer("fails").score([""], [""])
    assert (LABELS[int(p[0].argmax())], coverage[0]) == ("Refuse", 1.0)
    rows = judgments([(prompt(0), "an answer", None), (prompt(1), "", None)]).select(ROLLOUT_SCHEMA.names)
    task = JudgmentTask(rollouts="none", output=str(tmp_path / "out" / "0.parquet"))
    Judge(scorer("silent"), min_coverage=0.5).label(rows, task)
    table = read_folder(tmp_path / "out")
    assert table["label"].to_pylist() == [None, "Refuse"]
    assert set(table["judge"].to_pylist()) == {"python-ward_judge.silent"}
    assert np.isfinite(table["p_accept"].to_numpy()).all()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fails", "raised ValueError: ward over 2 conversation(s)"),
        ("too_few", "returned 1 entries for 2 conversation(s)"),
        ("one_label", "returned str for 2 conversation(s)"),
        ("nothing", "returned NoneType for 2 conversation(s)"),
        ("a_number", "returned 0.5 for a conversation; an entry is a label"),
        ("unknown", "returned the label 'Deny'; labels are Accept, Caution, Refuse"),
        ("over_one", "returned probabilities that sum to 1.8"),
        ("not_a_number", "returned the probability nan"),
        ("a_word", "returned the probability 'sure'"),
    ],
)
def test_what_is_wrong_with_it_is_one_sentence(name: str, said: str) -> None:
    sentence = fault(lambda: scorer(name).score(["r", "r"], ["a", "b"]))
    assert f"judge.function {MODULE}:{name}" in sentence and said in sentence


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("ward_judge_2:f", "cannot be imported (ModuleNotFoundError: No module named 'ward_judge_2')"),
        (f"{MODULE}:nobody", "module ward_judge has no function nobody"),
        (f"{MODULE}:by_name", "module ward_judge has no function by_name"),
    ],
)
def test_what_cannot_be_imported_is_one_sentence(function: str, said: str) -> None:
    assert said in fault(lambda: load_function(function))


def test_a_module_that_fails_while_it_is_imported_is_one_sentence(module: Path) -> None:
    module.write_text("import nowhere_at_all\n")
    assert "No module named 'nowhere_at_all'" in fault(lambda: scorer("by_words"))


def settings(name: str) -> list[str]:
    return ["judge.regimen=PYTHON", f"judge.function={MODULE}:{name}", "judge.source=folder", "judge.truth=null"]


def test_it_is_refused_unmeasured_as_other_judges_are() -> None:
    with pytest.raises(UnreliableJudge, match="was not held against human labels"):
        judge_before_run(load_recipe("demo", settings("by_words")))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["judge.regimen=PYTHON"], "regimen PYTHON needs function: package.module:name"),
        (["judge.regimen=PYTHON", "judge.function=os.system"], "judge.function"),
        (["judge.ensemble.also=[PYTHON]"], "regimen PYTHON needs function"),
    ],
)
def test_a_recipe_names_it(overrides: list[str], said: str) -> None:
    assert said in fault(lambda: load_recipe("llama-3.1-8b", overrides))


def test_the_plan_finds_what_cannot_be_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "ward.yaml"
    accepted = [*settings("by_word"), "judge.accept_unreliable=true", "publish.enabled=false"]
    save_recipe(load_recipe("demo", accepted), recipe)
    with pytest.raises(SystemExit) as ended:
        main(["plan", str(recipe)])
    assert ended.value.code == 2
    assert "module ward_judge has no function by_word; name one that it has." in capsys.readouterr().err
