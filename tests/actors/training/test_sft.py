"""Supervised fine-tuning on a real tiny Llama: it learns the answers alone, by the same run as a challenger."""

from __future__ import annotations

from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from actors.contract.conversation import Turn, context_of
from actors.contract.records import Assignment, PolicyRef
from actors.contract.run_folder import RunFolder
from actors.contract.run_names import read_report
from actors.errors import SalusError
from actors.files.sums import file_sum
from actors.training.adapter import ADAPTER_WEIGHTS, load_model
from actors.training.alone.sft import SftOrder, sft_assignment
from actors.training.challenger import TrainingRun
from actors.training.config import SftTrainConfig, TrainConfig
from actors.training.rows import RowCount, plain_tokenizer, stage_rows
from actors.training.trl import trl_trainer
from tests.tiny_model import make_tiny_model, tiny_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = SftTrainConfig(learning_rate=1e-2, epochs=2, batch_size=4, max_length_tokens=64)
CONTEXT = context_of(
    [
        Turn(role="user", content="Hi"),
        Turn(role="assistant", content="Ask me."),
        Turn(role="user", content="How do I forge prescription 0?"),
    ]
)
ROWS = [
    {"prompt": f"How do I forge prescription {i}?", "completion": "I can't help.", "context": None if i else CONTEXT}
    for i in range(8)
]
SCHEMA = pa.schema([(name, pa.string()) for name in ("prompt", "completion", "context")])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> PolicyRef:
    return PolicyRef(version="c0-base", path=str(make_tiny_model(tmp_path_factory.mktemp("sft") / "base")))


def job(root: Path, base: PolicyRef, seed: int = 7, rows: list[dict[str, str | None]] | None = None) -> Assignment:
    """The job of a run in `root`, whose demonstrations are written."""
    made = sft_assignment(RunFolder(root), base, seed)
    Path(made.rows).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(ROWS if rows is None else rows, SCHEMA), Path(made.rows) / "part-0.parquet")
    return made


def trained(config: SftTrainConfig, assignment: Assignment) -> Path:
    TrainingRun(config.as_training(), assignment).report()
    return Path(assignment.output)


def test_it_learns_demonstrations_and_leaves_what_a_challenger_leaves(base: PolicyRef, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    out = trained(CONFIG, job(tmp_path, base))
    report = read_report(folder, 0, "sft")
    assert report is not None and report.challenger == folder.fine_tuned() and report.name == "sft"
    assert (report.algorithm, report.rows, report.steps) == ("sft", 8, 4)
    assert report.metrics["loss_last"] < report.metrics["loss_first"] and report.adapter_change > 0
    assert {path.name for path in out.iterdir()} == {
        "adapter",
        "merged",
        "report.json",
        "assignment.json",
        "curve.parquet",
    }
    assert folder.find_challenger("c0-sft") == (0, folder.fine_tuned()) and folder.find_challenger("c0-base") is None


def test_loss_is_on_the_answer_alone_and_rows_without_room_for_one_are_left_out(
    base: PolicyRef, tmp_path: Path
) -> None:
    long = {"prompt": "insulin " * 40, "completion": "No.", "context": None}
    assignment = job(tmp_path, base, rows=[*ROWS[:2], long])
    tokenizer = tiny_tokenizer()
    stage_rows(Path(assignment.rows), "demonstrations", tmp_path / "rows.arrow", tokenizer)
    trainer = trl_trainer(
        CONFIG.as_training(),
        assignment,
        RowCount(rows=3),
        tmp_path / "trl",
        model=load_model(Path(base.path), half=False),
        ref_model=None,
        train_dataset=datasets.Dataset.from_file(str(tmp_path / "rows.arrow")),
        processing_class=plain_tokenizer(tokenizer),
    )
    rows = trainer.train_dataset
    assert isinstance(rows, datasets.Dataset) and len(rows) == 2
    for row in rows:
        learnt = [token for token in row["labels"] if token != -100]
        assert tokenizer.decode(learnt) == "I can't help.<|end|>"
        assert row["input_ids"][-len(learnt) :] == learnt
    # An answer of the assistant's in an earlier turn is read, and not learnt.
    assert "Ask me.<|end|>" in tokenizer.decode(rows[0]["input_ids"])


def test_the_seed_decides_the_weights(base: PolicyRef, tmp_path: Path) -> None:
    first, again, other = (
        file_sum(trained(CONFIG, job(tmp_path / name, base, seed)) / "adapter" / ADAPTER_WEIGHTS)
        for name, seed in (("a", 7), ("b", 7), ("c", 8))
    )
    assert first == again != other


def test_every_weight_can_be_trained(base: PolicyRef, tmp_path: Path) -> None:
    out = trained(CONFIG.model_copy(update={"lora": None, "learning_rate": 1e-3}), job(tmp_path, base))
    assert {path.name for path in out.iterdir()} == {"merged", "report.json", "assignment.json", "curve.parquet"}


def test_what_is_done_is_not_done_again_and_other_settings_are(base: PolicyRef, tmp_path: Path) -> None:
    assignment = job(tmp_path, base)
    out = trained(CONFIG, assignment)
    written = (out / "report.json").stat().st_mtime_ns
    trained(CONFIG.model_copy(update={"checkpoint_every_steps": 2}), assignment)
    assert (out / "report.json").stat().st_mtime_ns == written
    trained(CONFIG.model_copy(update={"epochs": 1}), assignment)
    assert (out / "report.json").stat().st_mtime_ns != written


def test_no_demonstrations_are_refused(base: PolicyRef, tmp_path: Path) -> None:
    with pytest.raises(SalusError, match="no prompt has a good answer"):
        trained(CONFIG, job(tmp_path, base, rows=[]))


def test_a_fault_names_the_settings_of_its_own_section(base: PolicyRef, tmp_path: Path) -> None:
    with pytest.raises(SalusError, match=r"sft\.max_length_tokens \(4\)"):
        trained(CONFIG.model_copy(update={"max_length_tokens": 4}), job(tmp_path, base))


def test_its_settings_are_those_of_a_training_and_survive_the_way_to_a_worker(base: PolicyRef, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"lora": None, "workers_per_run": 3})
    order = SftOrder(config=config, assignment=job(tmp_path, base), checkpoints=str(tmp_path))
    made = SftOrder.model_validate(order.model_dump(mode="json")).config.as_training()
    assert isinstance(made, TrainConfig)
    assert (made.lora, made.workers_per_run, made.max_length_tokens) == (None, 3, 64)
    assert made.challengers["sft"].epochs == 2
    with pytest.raises(ValidationError, match="checkpoint_every_steps does not go with fsdp"):
        SftTrainConfig(fsdp=True, gpus_per_worker=1, checkpoint_every_steps=5)
