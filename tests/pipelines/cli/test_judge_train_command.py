"""`salus judge train` before anything starts: what is refused in one sentence, what is found finished."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from actors.contract.records import LABELS, JudgeTraining, PolicyRef
from actors.training.made_from import finished_judge
from pipelines.cli.judge import show_trained
from pipelines.cli.main import main
from pipelines.config.load import load_recipe
from pipelines.judges.human_labels import read_human_labels
from pipelines.judges.training.report import JudgeTrainReport, write_record
from pipelines.judges.training.train import prepare, split_for
from pipelines.judges.trust import Trust
from pipelines.measures.agreement import agreement
from tests.pipelines.cli.refused import refused
from tests.tiny_judge import labelled, make_tiny_judge

ROWS = labelled(range(30))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_judge(tmp_path_factory.mktemp("models") / "base")


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def settings(model: Path) -> list[str]:
    return ["judge.regimen=LMA", "judge.source=folder", f"judge.path={model}"]


def command(labels: Path, out: Path, changes: list[str]) -> list[str]:
    options = [part for change in changes for part in ("--set", change)]
    return ["judge", "train", "demo", "--labels", str(labels), "--out", str(out), *options]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"prompt": "a", "answer": "b"}], "line 1: there is no column 'label'"),
        ([*ROWS, ROWS[0] | {"label": "Maybe"}], "line 91: 'label' is 'Maybe', not one of"),
        ([row for row in ROWS if row["label"] != "Caution"], "team.jsonl has no answer labelled Caution"),
        ([], "team.jsonl is empty"),
    ],
)
def test_bad_labels(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path, rows: list[dict[str, str]], words: str
) -> None:
    labels = write(tmp_path / "team.jsonl", rows)
    assert words in refused(capsys, *command(labels, tmp_path / "out", settings(model)))
    assert not (tmp_path / "out").exists()


def test_bad_models_and_settings(capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path) -> None:
    labels = write(tmp_path / "team.jsonl", ROWS)

    def said(*changes: str) -> str:
        return refused(capsys, *command(labels, tmp_path / "out", [*settings(model), *changes]))

    assert f"{tmp_path / 'nowhere'} does not exist" in said(f"judge.path={tmp_path / 'nowhere'}")
    assert "is RULES, which Salus does not train" in said("judge.regimen=RULES")
    assert "unknown key 'judge.train.epoch', did you mean 'epochs'" in said("judge.train.epoch=3")
    assert "judge.train.held_out" in said("judge.train.held_out=0.9")
    assert "judge.train: fsdp shards over GPUs" in said("judge.train.fsdp=true")
    assert not (tmp_path / "out").exists()


def test_labels_that_begin_alike_in_the_judges_tokenizer(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path
) -> None:
    alike = make_tiny_judge(tmp_path / "alike")
    tokenizer = json.loads((alike / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["content"] not in LABELS]
    tokenizer["normalizer"] = {"type": "Prepend", "prepend": "~"}
    (alike / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    labels = write(tmp_path / "team.jsonl", ROWS)
    words = refused(capsys, *command(labels, tmp_path / "out", settings(alike)))
    assert "begin with the same token in the judge's tokenizer" in words


def test_an_out_folder_of_something_else(capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path) -> None:
    labels = write(tmp_path / "team.jsonl", ROWS)
    assert "holds no judge that Salus trained" in refused(capsys, *command(labels, model, settings(model)))


def test_a_finished_folder_says_so_and_starts_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path
) -> None:
    labels, out = write(tmp_path / "team.jsonl", ROWS), tmp_path / "judge"
    finished(labels, out, settings(model))
    with pytest.raises(SystemExit) as ended:
        main(command(labels, out, settings(model)))
    captured = capsys.readouterr()
    assert ended.value.code == 0
    assert f"{out} holds this judge already; nothing was trained." in captured.err.replace("\n", "")
    assert f"--set judge.path={out}" in captured.out and "--set judge.regimen=EXT" in captured.out
    # Another model, or other labels, are another judge.
    more = write(tmp_path / "team.jsonl", [*ROWS, ROWS[0] | {"answer": "Sure."}])
    assert "holds another judge (labels_digest:" in refused(capsys, *command(more, out, settings(model)))


def test_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path) -> None:
    labels = write(tmp_path / "team.jsonl", ROWS)
    report = finished(labels, tmp_path / "judge", settings(model))
    show_trained(report, "demo", Path("runs/[b]a judge[/b]"))
    printed = capsys.readouterr().out
    assert "--set 'judge.path=runs/[b]a judge[/b]'" in printed
    for words in ("kappa", "recall of Caution", "before", "after", report.trust.sentence):
        assert words in printed


def finished(labels: Path, out: Path, changes: list[str]) -> JudgeTrainReport:
    """A report as a training of these labels would have left it."""
    recipe, human = load_recipe("demo", changes), read_human_labels(labels)
    split = split_for(recipe, human)
    base = PolicyRef(version="lma-base", path=changes[-1].removeprefix("judge.path="))
    job = prepare(recipe, human, split, base, out)
    truth = [answer.label for answer in split.held_out]
    training = JudgeTraining(
        judge=str(out),
        adapter=str(out / "adapter"),
        rows=9,
        steps=3,
        train_s=1.0,
        wall_s=2.0,
        workers=1,
        trainable_parameters=10,
        adapter_change=0.1,
        metrics={"loss_mean": 1.0, "loss_first": 2.0, "loss_last": 0.5},
    )
    report = JudgeTrainReport(
        order=job.order,
        training=training,
        train_labels={"Accept": 3, "Caution": 3, "Refuse": 3},
        held_out_labels={"Accept": 3, "Caution": 3, "Refuse": 3},
        held_out_prompts=3,
        before=agreement(truth, ["Accept"] * len(truth)),
        after=agreement(truth, truth),
        trust=Trust(trusted=True, sentence="ext-judge may be trusted to select policies: kappa 1."),
    )
    write_record(job.order, out / "order.json")
    write_record(report, out / "report.json")
    (out / "training.json").write_text(training.model_dump_json(), encoding="utf-8")
    assert finished_judge(recipe.judge.train, job.assignment) is None
    return report
