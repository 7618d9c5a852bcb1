"""Which settings decide a result: every marked setting of the recipe, and what follows from the marks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import pytest
from pydantic import BaseModel

from actors.contract.decides import Decides, decides, decisive, free, inner_sections
from actors.training.config import JudgeTrainConfig, TrainConfig
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.runs.finished.lineage import SETTINGS

# A run may be continued with another value of these, and of no other setting.
FREE = {
    "self_contained", "publish", "cluster", "preference.reviews", "model.system_prompt_file",
    "judge.prompt_file", "decide.control.judge.prompt_file",
    "generate.actors", "generate.cpus_per_actor", "generate.shard_timeout_s",
    "red_team.actors", "red_team.cpus_per_actor", "red_team.attacker.system_prompt_file",
    "judge.actors", "judge.cpus_per_actor", "judge.shard_timeout_s",
    "judge.calibration", "judge.trust", "judge.accept_unreliable", "judge.train",
    "decide.control.labels", "decide.control.wait_minutes", "decide.control.late",
    "decide.control.judge.calibration", "decide.control.judge.accept_unreliable",
    "train.resident", "train.cpus_per_worker", "train.max_failures", "train.checkpoint_every_steps",
    "train.log_every_steps", "tracking",
    "train.collective_timeout_s", "train.at_once",
    "sft.cpus_per_worker", "sft.max_failures", "sft.checkpoint_every_steps", "sft.collective_timeout_s",
    "sft.log_every_steps",
}  # fmt: skip
# A run keeps these, but the files of their own section do not follow from them.
KEPT = {
    "model.parameters_b", "judge.parameters_b", "red_team.attacker.parameters_b", "judge.max_missing", "judge.truth",
    "train.challengers", "train.workers", "train.gpus_per_worker", "train.gradient_checkpointing",
    "sft.gpus_per_worker", "sft.gradient_checkpointing",
}  # fmt: skip
ENGINE = {"generate.sampling", "generate.evaluation_max_tokens", "generate.engine"}
LABELS = {
    "judge.regimen", "judge.source", "judge.path", "judge.prompt", "judge.remote", "judge.ensemble",
    "judge.revision", "judge.function",
    "judge.min_coverage", "judge.engine", "judge.reads_system_prompt", "judge.chat_template_kwargs",
    "model.system_prompt",
}  # fmt: skip
MODELS = {
    "model.source", "model.path", "model.system_prompt", "model.chat_template_kwargs", "model.template_date",
    "model.thoughts", "model.revision", "judge.revision", "judge.source", "judge.path", "judge.chat_template_kwargs",
}  # fmt: skip
TRAINING = {
    "train.reference", "train.lora", "train.workers_per_run", "train.threads_per_worker", "train.fsdp", "train.dtype",
    "train.max_length_tokens",
}  # fmt: skip


def walk(section: type[BaseModel], at: str = "") -> Iterator[tuple[str, Decides]]:
    """Every setting by its dotted name, with its mark; nothing inside a setting that decides nothing."""
    for name, field in section.model_fields.items():
        yield f"{at}{name}", decides(field)
        if decides(field) is not Decides.NOTHING:
            for inner in inner_sections(field.annotation):
                yield from walk(inner, f"{at}{name}.")


def test_every_setting_of_the_recipe_decides_a_result_but_these() -> None:
    marks = dict(walk(Recipe))
    assert {name for name, mark in marks.items() if mark is Decides.NOTHING} == FREE
    assert {name for name, mark in marks.items() if mark is Decides.RUN} == KEPT
    assert len(marks) > 150
    assert marks["train.lora.rank"] is marks["seed"] is Decides.RESULT


def test_what_a_run_may_be_continued_with() -> None:
    assert sorted(free(Recipe)) == sorted(FREE)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("model", MODELS),
        ("rollouts", {"seed", "data.train_per_cycle", "data.prompts_per_shard", *ENGINE}),
        ("judgments", LABELS),
        ("harmfulness", {"harmfulness", *LABELS}),
        *((kind, {"seed", "train.workers", *TRAINING}) for kind in ("order", "adapter", "weights", "training report")),
    ],
)
def test_what_a_file_is_made_from(kind: str, settings: set[str]) -> None:
    found = {str(name): names for name, names in SETTINGS.items()}[kind]
    assert len(found) == len(settings)
    assert set(found) == settings


def test_what_a_finished_training_is_compared_by() -> None:
    """A changed name here trains the challengers and judges of old runs again."""
    assert {f"train.{name}" for name in decisive(TrainConfig)} == TRAINING
    assert list(JudgeTrainConfig().decisive()) == [
        "workers_per_run", "threads_per_worker", "fsdp", "dtype", "gradient_checkpointing", "learning_rate", "epochs",
        "batch_size", "gradient_accumulation", "warmup_ratio", "scheduler", "weight_decay", "max_grad_norm", "lora",
        "held_out", "balance", "max_repeats", "spliced",
    ]  # fmt: skip


def test_an_unmarked_setting_decides_a_result() -> None:
    class Inner(BaseModel):
        fast: Annotated[int, Decides.NOTHING] = 1
        new: int = 1

    class Outer(BaseModel):
        inner: Inner | None = None
        kept: Annotated[int, Decides.RUN] = 1

    assert list(free(Outer)) == ["inner.fast"]
    assert decisive(Outer) == ("inner",)
    assert decisive(Inner) == ("new",)


def test_a_mark_changes_neither_values_nor_checks() -> None:
    assert load_recipe("demo", ["generate.actors=3"]).generate.actors == 3
    assert Recipe.model_fields["publish"].annotation is not None
