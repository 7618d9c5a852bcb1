"""Salus's settings in TRL's words: the same for every kind of training, but for what each alone has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.contract.records import Assignment, PolicyRef
from actors.training.algorithms.bco import BcoConfig
from actors.training.algorithms.ipo import IpoConfig
from actors.training.algorithms.simpo import SimpoConfig
from actors.training.algorithms.slic import SlicConfig
from actors.training.algorithms.table import ALGORITHMS, Algorithm
from actors.training.alone.judge import judge_arguments
from actors.training.config import JudgeTrainConfig, TrainConfig
from actors.training.rows import RowCount
from actors.training.trl import trl_arguments

CHAMPION = PolicyRef(version="c0-base", path="policy")
# Every algorithm, which is more than a recipe may have at once.
CONFIG = TrainConfig(max_length_tokens=77).model_copy(
    update={
        "challengers": {
            name: row.settings(
                learning_rate=1e-3, epochs=2, **({"precompute_reference": True} if row.reference else {})
            )
            for name, row in ALGORITHMS.items()
        }
    }
)


def assignment(algorithm: Algorithm) -> Assignment:
    return Assignment(
        index=0, cycle=0, algorithm=algorithm, champion=CHAMPION, reference=CHAMPION, rows="rows", output="out",
        version=f"c0-{algorithm}", seed=9,
    )  # fmt: skip


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_preference_training_keeps_the_order_of_rows_and_cuts_them(algorithm: Algorithm, tmp_path: Path) -> None:
    made: Any = trl_arguments(CONFIG, assignment(algorithm), RowCount(rows=40, desirable=10), tmp_path)
    assert (made.learning_rate, made.num_train_epochs, made.seed) == (1e-3, 2, 9)
    assert made.train_sampling_strategy == "sequential"
    assert (made.max_length, made.disable_dropout) == (77, True)
    assert getattr(made, "precompute_ref_log_probs", None) == (True if ALGORITHMS[algorithm].reference else None)
    # TRL would turn both on.
    assert not made.gradient_checkpointing and not made.bf16
    assert made.output_dir == str(tmp_path)


def test_a_judges_rows_come_as_tokens_and_are_never_cut(tmp_path: Path) -> None:
    config = JudgeTrainConfig(learning_rate=2e-3, epochs=4, batch_size=6)
    made = judge_arguments(config, 9, tmp_path)
    assert (made.learning_rate, made.num_train_epochs, made.per_device_train_batch_size) == (2e-3, 4, 6)
    assert made.max_length is None
    assert made.dataset_kwargs == {"skip_prepare_dataset": True}
    assert made.train_sampling_strategy == "sequential"
    assert not made.gradient_checkpointing and not made.bf16


def test_some_algorithms_are_losses_of_trls_other_trainers(tmp_path: Path) -> None:
    config = TrainConfig(
        challengers={
            "simpo": SimpoConfig(beta=2.5, gamma=1.25),
            "slic": SlicConfig(margin=5, likelihood_weight=0.25),
            "ipo": IpoConfig(beta=0.5),
            "bco": BcoConfig(beta=0.5),
        }
    )

    def made(algorithm: Algorithm) -> Any:
        return trl_arguments(config, assignment(algorithm), RowCount(rows=40), tmp_path)

    simpo, slic = made("simpo"), made("slic")
    assert (simpo.loss_type, simpo.beta, simpo.simpo_gamma, simpo.cpo_alpha) == ("simpo", 2.5, 1.25, 0.0)
    # The hinge is at 0 from the margin on.
    assert (slic.loss_type, 1 - slic.beta * 5, slic.cpo_alpha) == ("hinge", 0.0, 0.25)
    assert [(each.loss_type, each.loss_weights, each.beta) for each in (made("ipo"), made("bco"))] == [
        (["ipo"], [1.0], 0.5), (["bco_pair"], [1.0], 0.5)
    ]  # fmt: skip
