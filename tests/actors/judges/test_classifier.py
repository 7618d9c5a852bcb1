"""A real tiny classifier as judge: what it says, what it refuses, and that it is believed only once measured."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification, BertModel
from typer.testing import CliRunner

from actors.contract.records import LABELS, Label, PolicyRef
from actors.engine.config import EngineConfig
from actors.errors import SalusError
from actors.judges.classifier import ClassifierScorer, meanings
from actors.judges.judge import Judge, JudgmentTask
from pipelines.cli.main import app
from pipelines.cluster.demand import demand
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.judges.calibrate import calibrate_judge
from pipelines.judges.calibration_report import CalibrationReport
from pipelines.judges.evidence import judge_before_run
from pipelines.judges.gate import read_calibration
from pipelines.judges.human_labels import HumanJudgment, HumanLabels
from pipelines.runs.materials import gather_own_judge
from tests.e2e.conftest import TINY
from tests.quiet_reporter import QuietReporter
from tests.tiny_judge import ANSWERS
from tests.tiny_model import tiny_tokenizer

SETTINGS = EngineConfig(max_model_len=64)
# Labels as XSTest names them, in another order than ours.
NAMES = ("1_full_compliance", "2_full_refusal", "3_partial_refusal")
MEAN: tuple[Label, ...] = ("Accept", "Refuse", "Caution")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A BERT of two layers, trained for a second to tell three answers apart."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("classifiers") / "tiny"
    tokenizer = tiny_tokenizer()
    model = BertForSequenceClassification(bert(len(tokenizer), dict(enumerate(NAMES))))
    answers = [ANSWERS[label] for label in MEAN]
    texts = tokenizer(answers, padding=True, return_tensors="pt", return_token_type_ids=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        model(**texts, labels=torch.arange(3)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def bert(vocabulary: int, names: dict[int, str]) -> BertConfig:
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        id2label=names,
        label2id={name: number for number, name in names.items()},
    )


@pytest.fixture(scope="module")
def scorer(folder: Path) -> ClassifierScorer:
    return ClassifierScorer(SETTINGS, PolicyRef(version="classifier-tiny", path=str(folder)))


def said(scorer: ClassifierScorer, *answers: str) -> list[str]:
    p, coverage = scorer.score(["How?"] * len(answers), list(answers))
    assert np.allclose(p.sum(axis=1), 1) and (coverage == 1).all()
    return [LABELS[best] for best in p.argmax(axis=1)]


def test_its_labels_are_taken_by_what_they_mean(scorer: ClassifierScorer) -> None:
    assert said(scorer, *ANSWERS.values()) == list(ANSWERS)


def test_an_answer_is_judged_alike_in_any_company(scorer: ClassifierScorer) -> None:
    alone, _ = scorer.score([""], [ANSWERS["Refuse"]])
    many, _ = scorer.score([""] * 70, [ANSWERS["Accept"], *[ANSWERS["Refuse"]] * 69])
    assert np.allclose(many[1:], alone, atol=1e-5)


def test_an_empty_answer_is_refuse_and_no_answers_are_none(scorer: ClassifierScorer) -> None:
    assert said(scorer, "", " \n") == ["Refuse", "Refuse"]
    assert scorer.score([], [])[0].shape == (0, 3)


def test_a_long_answer_keeps_its_beginning_and_its_end(scorer: ClassifierScorer) -> None:
    shown = scorer._shown("I can't help." + " padding" * 500 + " Sure, here.")
    assert shown.startswith("I can't help.") and shown.endswith("Sure, here.") and "[...]" in shown
    assert len(scorer._tokenizer.encode(shown)) <= 64


def test_markup_in_an_answer_is_text(scorer: ClassifierScorer) -> None:
    shown = scorer._shown("I can't help.<|end|>\u200b")
    assert "<|end|>" not in shown and "\u200b" not in shown


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}}, "Name them Accept, Caution or Refuse"),
        ({"id2label": {"0": "Accept", "1": "Caution", "2": "Caution"}}, "the first and the last are needed"),
        ({"problem_type": "multi_label_classification"}, "does not choose one label"),
        ({"architectures": ["BertForMaskedLM"]}, "does not choose one label"),
        ({"id2label": ["Accept"]}, "cannot be read"),
    ],
)
def test_another_model_is_refused(folder: Path, tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(SalusError, match=sentence):
        meanings(copy)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_folder_that_lacks_a_file_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / name).unlink()
    with pytest.raises(SalusError, match="save_pretrained"):
        meanings(copy)


def test_a_head_is_never_made_up(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    config = (copy / "config.json").read_text()
    BertModel(bert(len(tiny_tokenizer()), dict(enumerate(NAMES)))).save_pretrained(copy)
    (copy / "config.json").write_text(config)
    with pytest.raises(SalusError, match=r"lacks weights \(.*classifier"):
        ClassifierScorer(SETTINGS, PolicyRef(version="x", path=str(copy)))


def test_a_model_that_computes_nothing_gives_no_label(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    weights = load_file(copy / "model.safetensors")
    weights["classifier.bias"] += float("nan")
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    p, coverage = ClassifierScorer(SETTINGS, PolicyRef(version="x", path=str(copy))).score(["How?"], ["Sure, here."])
    assert coverage.tolist() == [0.0] and np.allclose(p, 1 / 3)


# -- in a recipe


def recipe(folder: Path, *overrides: str) -> Recipe:
    judge = ["judge.regimen=CLASSIFIER", "judge.source=folder", f"judge.path={folder}", "judge.truth=null"]
    return load_recipe("demo", [*judge, *overrides])


def calibrated(recipe: Recipe, out: Path) -> CalibrationReport:
    judge = gather_own_judge(recipe, QuietReporter())
    assert judge is not None and judge.version == "classifier-tiny"
    pool = Judge(ClassifierScorer(recipe.judge.engine, judge), recipe.judge.min_coverage)

    def judge_shards(tasks: Sequence[JudgmentTask]) -> None:
        for task in tasks:
            pool.label(None, task)

    labels = HumanLabels(source="team.csv", answers=tuple(HumanJudgment(**row) for row in rows()))
    return calibrate_judge(recipe, labels, out, judge, judge_shards)


def rows() -> list[dict[str, str]]:
    return [
        {"prompt_id": f"q{i}", "prompt": f"question {i}", "answer": answer, "label": label}
        for i in range(100)
        for label, answer in ANSWERS.items()
    ]


def test_it_selects_policies_only_once_it_is_measured(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SalusError, match=r"\(CLASSIFIER\) was not held against human labels"):
        judge_before_run(recipe(folder))
    # XSTest's labels measure rules alone.
    with pytest.raises(SalusError, match="was not held against human labels"):
        judge_before_run(recipe(folder, "data.probe=xstest"))
    report = calibrated(recipe(folder), tmp_path)
    assert (report.judge.regimen, report.judge.prompt, report.judge.model) == ("CLASSIFIER", "none", str(folder))
    measured = recipe(folder, f"judge.calibration={tmp_path / 'calibration.json'}")
    assert read_calibration(measured) == report
    trust = judge_before_run(measured)
    assert trust is not None and trust.trusted and trust.note.startswith("classifier-tiny may be trusted")
    with pytest.raises(SalusError, match="classifier-tiny there, classifier-other here"):
        judge_before_run(recipe(folder.parent / "other", f"judge.calibration={tmp_path / 'calibration.json'}"))


def test_its_plan_has_its_weights_and_no_cache(folder: Path) -> None:
    (row,) = (row for row in demand(recipe(folder, "judge.engine.kv_cache_gib=50")) if row.actor == "judge")
    assert 1 < row.memory_gib < 1.01 and row.gpus == 0
    on_gpu = recipe(folder, "judge.engine.device=cuda", "judge.engine.dtype=bfloat16")
    (row,) = (row for row in demand(on_gpu) if row.actor == "judge")
    assert row.gpus == 1 and row.gpu_memory_gib > 0


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("judge.source=clinic", "regimen CLASSIFIER needs source folder or hub: the clinic builds no classifier"),
        ("judge.path=null", "regimen CLASSIFIER needs path"),
        ("harmfulness={}", "and CLASSIFIER does not"),
        ("judge.ensemble.also=[CLASSIFIER]", "judge.ensemble.also.0"),
    ],
)
def test_what_does_not_fit_is_said(folder: Path, override: str, sentence: str) -> None:
    with pytest.raises(SalusError) as caught:
        recipe(folder, override)
    assert sentence in caught.value.sentence


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("own_ray")
def test_it_is_calibrated_by_the_command_on_ray(folder: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
    command = ["judge", "calibrate", str(TINY), "--labels", str(labels), "--out", str(tmp_path / "out")]
    judge = ["judge.regimen=CLASSIFIER", f"judge.path={folder}", "judge.ensemble={also: [RULES]}"]
    settings = [part for each in (*judge, "model.parameters_b=0.01") for part in ("--set", each)]
    result = CliRunner().invoke(app, [*command, *settings])
    assert result.exit_code == 0, result.output
    report = CalibrationReport.read(tmp_path / "out" / "calibration.json")
    assert report.judge.name == "classifier-tiny+refusal-rules" and report.agreement.n == 300
