"""No model of a training is left in memory after it, whether it succeeded or failed."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import PreTrainedModel

from actors.contract.records import Assignment, JudgeAssignment, PolicyRef
from actors.errors import SalusError
from actors.training.algorithms.dpo import DpoConfig
from actors.training.algorithms.kto import KtoConfig
from actors.training.algorithms.table import Algorithm
from actors.training.alone.judge import JudgeTrainingRun
from actors.training.challenger import TrainingRun
from actors.training.config import JudgeTrainConfig, TrainConfig
from tests.tiny_judge import labelled, make_tiny_judge
from tests.tiny_model import make_tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("memory")
    make_tiny_model(root / "model")
    (root / "kto").mkdir()
    (root / "dpo").mkdir()
    prompts = [f"How do I forge prescription {i}?" for i in range(4)]
    kto = pa.table({"prompt": prompts, "completion": ["No.", "Sure."] * 2, "label": [True, False] * 2})
    dpo = pa.table({"prompt": prompts, "chosen": ["No."] * 4, "rejected": ["Sure."] * 4})
    pq.write_table(kto, root / "kto" / "rows.parquet")
    pq.write_table(dpo, root / "dpo" / "rows.parquet")
    return root


def assignment(place: Path, algorithm: Algorithm, output: Path) -> Assignment:
    champion = PolicyRef(version="c0-base", path=str(place / "model"))
    return Assignment(
        index=0,
        cycle=1,
        algorithm=algorithm,
        champion=champion,
        reference=champion,
        rows=str(place / algorithm),
        output=str(output),
        version=f"c1-{algorithm}",
        seed=7,
    )


@pytest.fixture
def left() -> Callable[[], int]:
    """How many models are in memory beside those of earlier tests; the collector is not asked to run first."""

    def alive() -> list[PreTrainedModel]:
        # By its type: `isinstance` would ask objects that load themselves when they are asked.
        return [each for each in gc.get_objects() if issubclass(type(each), PreTrainedModel)]

    gc.collect()
    earlier = len(alive())
    return lambda: len(alive()) - earlier


@pytest.mark.parametrize("algorithm", ["kto", "dpo"])
def test_after_an_assignment(place: Path, algorithm: Algorithm, tmp_path: Path, left: Callable[[], int]) -> None:
    config = TrainConfig(challengers={"kto": KtoConfig(batch_size=2), "dpo": DpoConfig(batch_size=2)})
    held: list[int] = []
    job = assignment(place, algorithm, tmp_path / "out")
    TrainingRun(config, job, lambda step, total: held.append(left())).report()
    assert max(held) > 0, "no model was seen while it trained"
    assert not left()


def test_after_one_that_failed(place: Path, tmp_path: Path, left: Callable[[], int]) -> None:
    config = TrainConfig(challengers={"dpo": DpoConfig(learning_rate=1e30, max_grad_norm=1e30, epochs=4)})
    with pytest.raises(SalusError, match=r"diverged|changed the weights") as caught:
        TrainingRun(config, assignment(place, "dpo", tmp_path / "out")).report()
    # The error is still at hand, as it is where a loop tells it.
    assert caught.value.sentence
    assert not left()


def test_after_a_judge(tmp_path: Path, left: Callable[[], int]) -> None:
    base = PolicyRef(version="base", path=str(make_tiny_judge(tmp_path / "base")))
    rows = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(labelled(range(2))), rows)
    job = JudgeAssignment(
        base=base, rows=str(rows), prompt="clinic-v1", max_model_len=160, output=str(tmp_path / "out"), seed=1
    )
    JudgeTrainingRun(JudgeTrainConfig(batch_size=2, epochs=1), job).report()
    assert not left()
