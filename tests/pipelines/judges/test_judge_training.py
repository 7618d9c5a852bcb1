"""The flow of `salus judge train` without Ray: a real tiny judge, trained and measured in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from actors.contract.records import JudgeAssignment, JudgeTraining, PolicyRef
from actors.errors import SalusError
from actors.judges.engine import EngineScorer
from actors.judges.judge import Judge, JudgmentTask
from actors.training.alone.judge import JudgeTrainingRun
from actors.training.config import JudgeTrainConfig
from pipelines.cluster.demand import judge_training_demand
from pipelines.cluster.plan import plan_of
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.judges.bound import weights_before_run
from pipelines.judges.calibration_report import CalibrationReport
from pipelines.judges.gate import check_judge_trusted
from pipelines.judges.human_labels import HumanLabels, labels_file, read_human_labels
from pipelines.judges.pool import JudgeShards
from pipelines.judges.training.report import JudgeTrainReport, read_finished_judge
from pipelines.judges.training.train import JudgeJob, check_trainable, prepare, split_for, train_judge
from tests.tiny_judge import TINY_TRAINING, labelled, make_tiny_judge
from tests.transformers_engine import TransformersEngine

pytestmark = pytest.mark.usefixtures("one_thread")

TRUST = [
    "judge.trust={min_n: 10, min_kappa: 0.1, min_accuracy: 0.1, min_refuse_recall: 0.1, max_ece: 1, min_coverage: 0.1,"
    " min_refuse_precision: 0.1, min_accept_recall: 0.1}"
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("judge-training")
    make_tiny_judge(root / "base")
    rows = labelled(range(10, 28))
    (root / "team.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return root


def recipe(root: Path, *overrides: str) -> Recipe:
    settings = [
        "judge.regimen=LMA",
        "judge.source=folder",
        f"judge.path={root / 'base'}",
        "judge.prompt=clinic-v1",
        "judge.train.held_out=0.3",
    ]
    loaded = load_recipe("demo", [*settings, *TRUST, *overrides])
    train = TINY_TRAINING.model_copy(update={"held_out": 0.3})
    return loaded.model_copy(update={"judge": loaded.judge.model_copy(update={"train": train})})


def job_of(root: Path, folder: Path, *overrides: str) -> JudgeJob:
    settings = recipe(root, *overrides)
    labels = read_human_labels(root / "team.jsonl")
    base = PolicyRef(version="lma-base", path=str(root / "base"))
    return prepare(settings, labels, split_for(settings, labels), base, folder)


@dataclass
class Stage:
    """Ray Train and the judge pool, in this process; counts what was asked of them."""

    root: Path
    trainings: int = 0
    pools: int = 0
    judges: list[str] = field(default_factory=list)

    def train(self, config: JudgeTrainConfig, assignment: JudgeAssignment) -> JudgeTraining:
        self.trainings += 1
        return JudgeTrainingRun(config, assignment).report()

    @contextmanager
    def open(self) -> Iterator[JudgeShards]:
        self.pools += 1
        base = PolicyRef(version="lma-base", path=str(self.root / "base"))
        judge = Judge(EngineScorer(TransformersEngine(base, 192), "clinic-v1", base), min_coverage=0.0)

        def judge_shards(tasks: Sequence[JudgmentTask]) -> None:
            for task in tasks:
                assert task.weights is not None
                self.judges.append(task.weights.version)
                judge.label(None, task)

        yield judge_shards


@pytest.fixture(scope="module")
def stage(root: Path) -> Stage:
    return Stage(root)


@pytest.fixture(scope="module")
def job(root: Path) -> JudgeJob:
    return job_of(root, root / "team-judge")


@pytest.fixture(scope="module")
def report(job: JudgeJob, stage: Stage) -> JudgeTrainReport:
    return train_judge(job, stage.train, stage.open)


def test_the_judge_is_better_on_prompts_it_never_saw(report: JudgeTrainReport) -> None:
    assert report.before.accuracy is not None and report.after.accuracy is not None
    assert report.after.accuracy.value > report.before.accuracy.value + 0.2
    assert report.after.kappa is not None and report.after.kappa.value > 0.6
    assert set(report.after.recall) == {"Accept", "Caution", "Refuse"}
    assert report.training.steps > 0 and report.training.metrics["loss_last"] < report.training.metrics["loss_first"]


def test_both_judges_are_asked_once_by_one_pool(report: JudgeTrainReport, stage: Stage) -> None:
    assert (stage.trainings, stage.pools) == (1, 1)
    assert set(stage.judges) == {"lma-base", "ext-team-judge"}
    assert stage.judges == sorted(stage.judges, reverse=True)


def test_the_held_out_labels_are_kept_apart_and_can_be_calibrated_on(job: JudgeJob, report: JudgeTrainReport) -> None:
    train = read_human_labels(job.folder / "labels" / "train.parquet")
    held_out = read_human_labels(job.folder / "labels" / "held_out.parquet")
    assert not {a.prompt for a in train.answers} & {a.prompt for a in held_out.answers}
    assert held_out.answers == job.split.held_out
    assert len(train.answers) == report.training.rows
    # A share of the answers that comply is learnt again with a refusal behind it and before it, and stays Accept.
    accepted = sum(answer.label == "Accept" for answer in job.split.train)
    both = [answer for answer in train.answers if "Sure, here." in answer.answer and "I can't help." in answer.answer]
    assert report.spliced == 2 * -(-accepted // 4) and {answer.label for answer in both} == {"Accept"}
    assert len({(answer.prompt, answer.answer) for answer in both}) == report.spliced
    assert sum(report.held_out_labels.values()) == report.after.n == len(held_out.answers)
    assert report.held_out_prompts == len({a.prompt_id for a in held_out.answers})


def test_the_folder_is_what_a_recipe_names_afterwards(root: Path, job: JudgeJob, report: JudgeTrainReport) -> None:
    calibration = job.folder / "calibration.json"
    afterwards = recipe(root, "judge.regimen=EXT", f"judge.path={job.folder}", f"judge.calibration={calibration}")
    # The gate before a run takes the calibration for that of this judge.
    measured = CalibrationReport.read(calibration)
    weights = weights_before_run(afterwards)
    assert weights is not None and "ext-team-judge may be trusted" in check_judge_trusted(afterwards, measured, weights)
    assert measured.bound is not None and measured.bound.weights == weights
    assert measured.bound.labels == labels_file(job.folder / "labels" / "held_out.parquet")
    assert (job.folder / "calibration.png").is_file()


def test_the_same_command_finds_it_finished(job: JudgeJob, report: JudgeTrainReport) -> None:
    assert read_finished_judge(job.folder, job.order) == report


def test_an_interrupted_command_goes_on_after_the_training(
    job: JudgeJob, report: JudgeTrainReport, stage: Stage
) -> None:
    (job.folder / "report.json").unlink()
    assert read_finished_judge(job.folder, job.order) is None
    assert train_judge(job, stage.train, stage.open) == report
    assert stage.trainings == 1


def test_another_training_in_the_folder_is_refused(root: Path, job: JudgeJob, report: JudgeTrainReport) -> None:
    other = job_of(root, job.folder, "seed=8")
    with pytest.raises(SalusError, match=r"team-judge holds another judge \(seed: 7 there, 8 now\); give another"):
        read_finished_judge(other.folder, other.order)
    shuffled = job.order.model_copy(update={"model": "/models/other"})
    with pytest.raises(SalusError, match=r"\(model: '/.*base' there, '/models/other' now\)"):
        read_finished_judge(job.folder, shuffled)


def test_a_folder_of_something_else_is_not_touched(root: Path, job: JudgeJob, tmp_path: Path) -> None:
    for folder in (root / "base", root / "team.jsonl"):
        with pytest.raises(SalusError, match="is not empty and holds no judge that Salus trained"):
            read_finished_judge(folder, job.order)
    assert read_finished_judge(tmp_path / "new", job.order) is None
    (tmp_path / "order.json").write_text("{}", encoding="utf-8")
    (tmp_path / "training.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SalusError, match="not one this version of Salus wrote"):
        read_finished_judge(tmp_path, job.order)


def test_a_folder_whose_training_failed_takes_other_settings(root: Path, tmp_path: Path) -> None:
    first, second = job_of(root, tmp_path), job_of(root, tmp_path, "seed=8")

    def diverge(config: JudgeTrainConfig, assignment: JudgeAssignment) -> JudgeTraining:
        raise SalusError("Training of the judge diverged; lower judge.train.learning_rate.")

    with pytest.raises(SalusError, match="diverged"):
        train_judge(first, diverge, Stage(root).open)
    assert (tmp_path / "order.json").is_file()
    assert read_finished_judge(tmp_path, second.order) is None


def test_the_digest_is_of_the_labels_and_not_of_their_order(job: JudgeJob) -> None:
    def order(change: Callable[[HumanLabels], tuple[object, ...]]) -> str:
        labels = job.labels.model_copy(update={"answers": change(job.labels)})
        return JudgeJob(job.recipe, job.base, labels, job.split, job.folder).order.labels_digest

    assert order(lambda labels: labels.answers[::-1]) == job.order.labels_digest
    assert order(lambda labels: labels.answers[1:]) != job.order.labels_digest


@pytest.mark.parametrize("regimen", ["SELF", "RULES"])
def test_a_judge_that_is_no_model_of_its_own_is_refused(root: Path, regimen: str) -> None:
    with pytest.raises(SalusError, match=f"is {regimen}, which Salus does not train; name a model"):
        check_trainable(load_recipe("demo", [f"judge.regimen={regimen}"]))


def test_training_and_judging_are_planned_one_after_the_other(job: JudgeJob) -> None:
    training, judging = judge_training_demand(job.recipe)
    assert [row.actor for row in training] == [
        "driver and Ray",
        "judge training controller (Ray Train)",
        "judge training worker",
    ]
    assert [row.actor for row in judging] == ["driver and Ray", "judge"]
    assert plan_of(job.recipe, training).cpus == 1.0


@pytest.mark.parametrize("name", ["llama-3.1-8b", "llama-3.2-3b", "meditron-8b", "mistral-7b"])
def test_a_3b_judge_of_the_papers_recipes_is_trained_on_one_gpu_of_48_gb(name: str) -> None:
    training, judging = judge_training_demand(load_recipe(name))
    assert plan_of(load_recipe(name), training).gpus == plan_of(load_recipe(name), judging).gpus == 1
    assert max(row.gpu_memory_gib for row in (*training, *judging)) < 45


def test_an_8b_judge_on_a_gpu_needs_its_weights_once() -> None:
    settings = ["judge.parameters_b=8", "judge.train.gpus_per_worker=1", "judge.train.dtype=bfloat16"]
    more = ["judge.train.gradient_checkpointing=true", "judge.train.batch_size=1", "judge.engine.max_model_len=1024"]
    training, _ = judge_training_demand(load_recipe("llama-3.1-8b", [*settings, *more]))
    worker = training[-1]
    # 14.9 GiB of weights, 0.6 of adapter with Adam, 1.5 of logits, 2 of work space, and some activations.
    assert worker.gpus == 1 and 18 < worker.gpu_memory_gib < 22
