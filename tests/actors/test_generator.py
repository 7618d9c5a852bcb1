"""The generator without Ray: rollouts from a real tiny model, seeds, idempotence, prompts that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.contract.records import ROLLOUT_SCHEMA, PolicyRef
from actors.engine.port import Sampling
from actors.errors import SalusError
from actors.files.shards import write_table
from actors.generator import Generator, RolloutTask
from tests.rows import prompts
from tests.transformers_engine import TransformersEngine


def task(policy: PolicyRef, folder: Path, name: str, k: int = 2, seed: int = 1) -> RolloutTask:
    shard = folder / "prompts.parquet"
    if not shard.exists():
        write_table(prompts(5), shard)
    return RolloutTask(
        policy=policy,
        prompts=str(shard),
        output=str(folder / name),
        sampling=Sampling(k=k, temperature=1.0, max_tokens=6),
        seed=seed,
    )


def test_each_prompt_gets_k_answers_in_order(policies: dict[str, PolicyRef], tmp_path: Path) -> None:
    generator = Generator(TransformersEngine(policies["a"]))
    table, span = generator.generate(task(policies["a"], tmp_path, "out.parquet", k=3))
    assert table.schema.equals(ROLLOUT_SCHEMA)
    assert table["prompt_id"].to_pylist() == [f"p{i:04d}" for i in range(5) for _ in range(3)]
    assert table["sample"].to_pylist() == [0, 1, 2] * 5
    assert set(table["policy"].to_pylist()) == {"a"}
    assert len(set(table["rollout_id"].to_pylist())) == 15
    assert span.rows == 15
    assert span.end_s > span.start_s


def test_same_seed_same_answers_other_seed_others(policies: dict[str, PolicyRef], tmp_path: Path) -> None:
    generator = Generator(TransformersEngine(policies["a"]))
    answers = [
        generator.generate(task(policies["a"], tmp_path, f"{name}.parquet", seed=seed))[0]["answer"]
        for name, seed in (("one", 1), ("again", 1), ("other", 2))
    ]
    assert answers[0].equals(answers[1])
    assert not answers[0].equals(answers[2])


def test_a_shard_on_disk_is_not_sampled_again(policies: dict[str, PolicyRef], tmp_path: Path) -> None:
    engine = TransformersEngine(policies["a"])
    generator = Generator(engine)
    first, _ = generator.generate(task(policies["a"], tmp_path, "out.parquet"))
    loads = len(engine.loads)
    again, span = generator.generate(task(policies["b"], tmp_path, "out.parquet", seed=9))
    assert again.equals(first)
    assert span.start_s == span.end_s
    assert len(engine.loads) == loads


def test_the_task_names_the_policy_that_answers(policies: dict[str, PolicyRef], tmp_path: Path) -> None:
    engine = TransformersEngine(policies["a"])
    table, _ = Generator(engine).generate(task(policies["b"], tmp_path, "out.parquet"))
    assert engine.loads[-1] == "b"
    assert set(table["policy"].to_pylist()) == {"b"}


def test_a_prompt_that_does_not_fit_is_named(policies: dict[str, PolicyRef], tmp_path: Path) -> None:
    generator = Generator(TransformersEngine(policies["a"], max_model_len=8))
    with pytest.raises(SalusError, match=r"Prompt p0000 .* tokens but only 2 fit .* engine.max_model_len"):
        generator.generate(task(policies["a"], tmp_path, "out.parquet"))
    assert not (tmp_path / "out.parquet").exists()


def test_a_shard_without_a_column_is_named(policies: dict[str, PolicyRef], tmp_path: Path) -> None:
    write_table(prompts(2).drop_columns(["level", "method"]), tmp_path / "prompts.parquet")
    with pytest.raises(SalusError, match=r"prompts.parquet lacks the columns level, method"):
        Generator(TransformersEngine(policies["a"])).generate(task(policies["a"], tmp_path, "out.parquet"))
