"""Shares of GPUs: what Ray may put on one, what an engine's cache holds, and how a model may be split."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.errors import SalusError
from actors.training.config import TrainConfig
from pipelines.cluster.demand import PlanRow
from pipelines.cluster.devices import Resources
from pipelines.cluster.footprint import (
    check_tensor_parallel,
    kv_gib,
    kv_gib_each,
    loading_gib,
    training_gib,
    weights_gib,
)
from pipelines.cluster.machine.gpus import answer_lines, answers_at_once, check_gpus
from pipelines.cluster.machine.node_gpus import smallest_gpu_gib
from pipelines.cluster.plan import available, check, make_plan
from pipelines.cluster.session import embedded_ray
from pipelines.config.cluster import ClusterConfig
from pipelines.config.load import load_recipe
from tests.pipelines.cluster.test_devices import stand_in
from tests.pipelines.cluster.test_footprint import LLAMA_8B
from tests.pipelines.cluster.test_plan import BIG, NODE, refusal, row

HEADS = LLAMA_8B.model_copy(update={"heads": 32, "kv_heads": 8})


def of_80_gib(gpus: float = 8) -> Resources:
    return NODE.model_copy(update={"gpus": gpus, "gpu_memory_gib": 80.0})


def worker(gpus: float, gib: float, count: int = 1) -> PlanRow:
    return PlanRow(actor="DPO worker", count=count, gpus=gpus, gpu_memory_gib=gib, section="train", collective=True)


def replica(gpus: float, share: float, count: int = 1) -> PlanRow:
    return PlanRow(
        actor="replica", count=count, gpus=gpus, gpu_memory_gib=10, gpu_memory_utilization=share, section="publish"
    )


def refused(*rows: PlanRow) -> str:
    with pytest.raises(SalusError) as caught:
        check_gpus("r", rows, of_80_gib())
    return caught.value.sentence


def test_what_shares_a_gpu_must_fit_it_together() -> None:
    check_gpus("r", [worker(0.5, 30), replica(0.5, 0.5)], of_80_gib())
    said = refused(worker(0.5, 30), replica(0.5, 0.9))
    assert "shared by 1 DPO worker (30 GiB) and 1 replica (72 GiB)" in said and "102 GiB together" in said
    assert "section train, publish" in said and "gpu_memory_utilization" in said
    # Whole GPUs are shared by none, and shares that are more than a GPU together are not put on one.
    check_gpus("r", [worker(1, 70), replica(1, 0.9)], of_80_gib())
    check_gpus("r", [worker(0.6, 70), replica(0.5, 0.9)], of_80_gib())


def test_the_worst_way_to_put_parts_together_is_what_counts() -> None:
    assert "shared by 2 replica (40 GiB)" in refused(replica(0.4, 0.5, count=2), worker(0.2, 5), worker(0.9, 5))
    assert "shared by 4 replica (24 GiB)" in refused(replica(0.25, 0.3, count=9))
    check_gpus("r", [replica(0.25, 0.25, count=9)], of_80_gib())


def test_memory_that_is_not_known_is_not_checked() -> None:
    check_gpus("r", [replica(0.5, 0.9, count=2)], of_80_gib().model_copy(update={"gpu_memory_gib": None}))


@pytest.mark.parametrize("gpus", [0.5, 0.25, 1 / 3])
def test_workers_that_meet_are_never_on_one_gpu(gpus: float) -> None:
    said = refused(worker(gpus, 5, count=2))
    assert "NCCL" in said and "gpus_per_worker=1" in said and "workers_per_run=1" in said
    check_gpus("r", [worker(gpus, 5, count=1)], of_80_gib())
    check_gpus("r", [worker(0.6, 5, count=2)], of_80_gib())


def test_parts_of_several_gpus_are_refused() -> None:
    assert "1.5 GPUs" in refused(worker(1.5, 5))


def test_an_old_driver_is_refused_before_anything_starts() -> None:
    old = of_80_gib().model_copy(update={"driver": "570.86.15"})
    assert "driver of this machine is 570.86.15" in refusal(make_plan(load_recipe(BIG)), old)
    check(make_plan(load_recipe(BIG)), of_80_gib().model_copy(update={"driver": "580.65.06"}))
    check_gpus("r", [PlanRow(actor="generator", count=1)], old)


def test_an_engine_holds_as_many_answers_as_its_share_has_room_for() -> None:
    generator = row(make_plan(load_recipe(BIG)), "generator")
    # 2,048 tokens of 128 KiB.
    assert generator.sequence_gib == pytest.approx(0.25, abs=0.06)
    on_80, on_24 = answers_at_once(generator, 80.0), answers_at_once(generator, 24.0)
    assert generator.sequences == 256 > on_80 > 150 and 1 < on_24 < 30
    left = 0.9 * (80.0 - 2.0) - weights_gib(LLAMA_8B, "bfloat16")
    assert on_80 == pytest.approx(left / generator.sequence_gib, rel=0.05)
    assert answers_at_once(generator, 16.0) == 0
    assert answers_at_once(generator.model_copy(update={"sequences": 4}), 80.0) == 4


def test_a_plan_says_where_fewer_answers_fit_than_are_set() -> None:
    rows = make_plan(load_recipe(BIG)).rows
    lines = answer_lines(rows, 80.0)
    assert any(line.startswith("generator: ") and "of max_num_seqs=256" in line for line in lines)
    assert answer_lines(rows, None) == answer_lines(rows, 1e6) == []


def test_where_not_even_one_answer_fits_the_plan_is_refused() -> None:
    said = refusal(make_plan(load_recipe(BIG)), NODE.model_copy(update={"gpu_memory_gib": 16.0}))
    assert "for its weights and one answer of the 256" in said


@pytest.mark.parametrize(("parallel", "good"), [(2, True), (8, True), (16, True), (3, False), (12, False), (64, False)])
def test_heads_are_divided_evenly_or_not_at_all(parallel: int, good: bool) -> None:
    if good:
        check_tensor_parallel(HEADS, parallel, "generate.engine.tensor_parallel")
        return
    said = r"generate.engine.tensor_parallel=\d+ does not divide the 32 .* and 8 key heads.*one of 1, 2, 4, 8, 16, 32\."
    with pytest.raises(SalusError, match=said):
        check_tensor_parallel(HEADS, parallel, "generate.engine.tensor_parallel")


def test_where_the_heads_are_not_known_nothing_is_refused() -> None:
    check_tensor_parallel(LLAMA_8B, 3, "x")
    assert kv_gib_each(LLAMA_8B, 100, "bfloat16", 3) == pytest.approx(kv_gib(LLAMA_8B, 100, "bfloat16") / 3)


def test_more_gpus_than_key_heads_keep_copies() -> None:
    whole = kv_gib(HEADS, 100, "bfloat16")
    assert kv_gib_each(HEADS, 100, "bfloat16", 4) == pytest.approx(whole / 4)
    assert kv_gib_each(HEADS, 100, "bfloat16", 16) == pytest.approx(whole / 8)


def test_full_fine_tuning_passes_float32_weights_through_host_memory() -> None:
    lora, full = TrainConfig(), TrainConfig(lora=None)
    gib = LLAMA_8B.parameters * 4 / 2**30
    assert loading_gib(LLAMA_8B, lora, "dpo", "bfloat16") == pytest.approx(gib / 2)
    assert loading_gib(LLAMA_8B, full, "dpo", "bfloat16") == pytest.approx(2 * gib)
    orpo = TrainConfig.model_validate({"lora": None, "challengers": {"orpo": {}}})
    assert loading_gib(LLAMA_8B, orpo, "orpo", "bfloat16") == pytest.approx(gib)
    # On the device: 16 bytes a parameter, and a reference of 4.
    assert training_gib(LLAMA_8B, full, "dpo", "bfloat16") > 5 * gib
    big = make_plan(load_recipe(BIG, ["train.lora=null", "train.fsdp=true", "train.checkpoint_every_steps=null"]))
    assert row(big, "DPO worker").memory_gib > 59


def test_the_memory_of_a_clusters_gpus_may_be_told() -> None:
    recipe = load_recipe(BIG, ["cluster.gpu_memory_gib=24", "cluster.gpus=8"])
    assert available(recipe).gpu_memory_gib == 24


@pytest.mark.ray
@pytest.mark.slow
def test_a_clusters_nodes_are_asked_for_the_memory_of_their_gpus(
    own_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, "580.65.06")
    with embedded_ray(ClusterConfig(logical_cpus=1, gpus=3), "gpus", 1):
        assert smallest_gpu_gib() == 24
