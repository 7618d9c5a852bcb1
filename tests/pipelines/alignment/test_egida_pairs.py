"""Pairs from outside the run: read once, none twice, none that is evaluated on; drawn by the seed and content alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from actors.contract.records import prompt_table
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import read_folder, read_shard, strings, write_table
from pipelines.alignment.preference import FileWriter, egida_rows
from pipelines.alignment.rows.egida_pairs import PAIR_SCHEMA, draw_pairs, write_pairs
from pipelines.alignment.rows.outside import OutsideReport
from pipelines.alignment.steps import generate_step
from pipelines.cluster.turns.cost import most_rows, rollout_work, run_training_s, sampled_prompts
from pipelines.config.load import load_recipe
from pipelines.config.preference import EgidaPairsConfig, PreferenceConfig
from pipelines.data.row_order import DPO_SCHEMA, KTO_SCHEMA, deduplicate
from pipelines.data.sets.held_out import HeldOutConfig
from tests.quiet_reporter import QuietReporter
from tests.rows import prompt

NAME = "Egida-DPO-Qwen2.5-7B-Instruct"


def pair(number: int) -> dict[str, Any]:
    return {"prompt": f"harm {number}", "chosen": "I can't help.", "rejected": f"Sure, {number}."}


def asked(tmp_path: Path, rows: list[dict[str, Any]]) -> EgidaPairsConfig:
    (tmp_path / f"{NAME}.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return EgidaPairsConfig.model_validate({"path": str(tmp_path), "name": NAME, "level": 2})


def evaluated_on(folder: RunFolder, *texts: str) -> RunFolder:
    table = prompt_table([prompt(i, 3, text=text) for i, text in enumerate(texts)])
    write_table(table, folder.prompts("test") / "part-00000.parquet")
    return folder


def shards(folder: Path, numbers: list[int], size: int) -> Path:
    rows = [pair(number) | {"level": 3} for number in numbers]
    for start in range(0, len(rows), size):
        table = pa.Table.from_pylist(rows[start : start + size], schema=PAIR_SCHEMA)
        write_table(table, folder / f"part-{start:05d}.parquet")
    return folder


def test_repeated_and_evaluated_pairs_are_left_out(tmp_path: Path) -> None:
    same = pair(1) | {"rejected": "I can't help."}
    styled = {"question": "Harm  5", **pair(9)}
    config = asked(tmp_path, [pair(0), pair(1), pair(0), same, pair(2), styled])
    folder = evaluated_on(RunFolder(tmp_path / "run"), "HARM 2", "harm 5")
    report = write_pairs(config, folder)
    assert report == OutsideReport(kept=2, repeated=2, evaluated=2)
    table = read_folder(folder.pairs)
    assert table["prompt"].to_pylist() == ["harm 0", "harm 1"] and set(table["level"].to_pylist()) == {2}


def test_pairs_of_what_is_held_out_are_not_trained_on(tmp_path: Path) -> None:
    dan, privacy = pair(1) | {"style": "DAN"}, pair(2) | {"topics": {"privacy": True, "fraud": False}}
    config = asked(tmp_path, [pair(0), dan, privacy])
    held_out = HeldOutConfig(topics=("privacy",), styles=("egida:DAN",))
    folder = RunFolder(tmp_path / "run")
    assert write_pairs(config, folder, held_out) == OutsideReport(kept=1, held_out=2)
    assert read_folder(folder.pairs)["prompt"].to_pylist() == ["harm 0"]


def test_they_are_read_once(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    config = asked(tmp_path, [pair(0)])
    report = write_pairs(config, folder)
    (tmp_path / f"{NAME}.json").unlink()
    assert write_pairs(config, folder) == report


def test_without_the_setting_nothing_is_read(tmp_path: Path) -> None:
    assert load_recipe("demo").preference.egida_pairs is None
    assert write_pairs(None, RunFolder(tmp_path)) is None and list(tmp_path.iterdir()) == []


def test_what_is_wrong_is_said_before_the_run(tmp_path: Path) -> None:
    folder = evaluated_on(RunFolder(tmp_path / "run"), "harm 0")
    with pytest.raises(SalusError, match=r"None of the 1 pairs of Egida-DPO-Qwen.*Leave preference\.egida_pairs out"):
        write_pairs(asked(tmp_path, [pair(0)]), folder)
    with pytest.raises(SalusError, match=rf"holds no file {NAME}"):
        write_pairs(EgidaPairsConfig.model_validate({"path": str(folder.root), "name": NAME}), folder)
    with pytest.raises(SalusError, match="there is no 'chosen' answer"):
        write_pairs(asked(tmp_path, [{"prompt": "harm 1"}]), folder)
    with pytest.raises(SalusError, match=r"unknown key 'preference\.egida_pairs\.nmae', did you mean 'name'"):
        load_recipe("demo", ["preference.egida_pairs={nmae: x}"])


def test_a_draw_depends_on_seed_and_content_alone(tmp_path: Path) -> None:
    numbers = list(range(60))
    one = shards(tmp_path / "one", numbers, 60)
    other = shards(tmp_path / "other", numbers[::-1], 7)
    assert draw_pairs(one, 20, seed=3) == draw_pairs(other, 20, seed=3)
    first, second = ({row["prompt"] for row in draw_pairs(one, 20, seed)} for seed in (3, 4))
    assert len(first) == 20 and first != second
    assert len(draw_pairs(one, 100, seed=3)) == 60


def test_drawn_rows_take_their_place_among_the_policys_own(tmp_path: Path) -> None:
    folder = shards(tmp_path / "pairs", list(range(10)), 4)
    config = PreferenceConfig(egida_pairs=EgidaPairsConfig(per_cycle=6))
    rows = egida_rows("pairs", folder, config, seed=1)
    assert rows is not None and rows.schema == DPO_SCHEMA and rows.num_rows == 6
    # The policy gave one of the pairs itself: equal content, equal place, one row.
    together = pa.concat_tables([rows, rows.slice(2, 1)]).sort_by("order")
    kept = deduplicate(together)
    assert kept.num_rows == 6
    own = rows.slice(0, 1).set_column(DPO_SCHEMA.get_field_index("order"), DPO_SCHEMA.field("order"), [["own"]])
    write = FileWriter(tmp_path, "pairs", (1.0, 1.0), rows["order"].combine_chunks())
    # Rows, harmless ones, and those from outside.
    assert write(0, 0, 7, kept, own) == (7, 0, 6)
    assert write(1, 5, 2, kept, own) == (2, 0, 1)
    assert read_shard(tmp_path / "00000.parquet", DPO_SCHEMA).num_rows == 7
    assert egida_rows("pairs", folder, PreferenceConfig(), seed=1) is None


def test_both_answers_of_the_same_pairs_may_be_unpaired_rows(tmp_path: Path) -> None:
    folder = shards(tmp_path / "pairs", list(range(10)), 4)
    config = PreferenceConfig(egida_pairs=EgidaPairsConfig(per_cycle=6, unpaired=True))
    pairs, rows = egida_rows("pairs", folder, config, seed=1), egida_rows("unpaired", folder, config, seed=1)
    assert pairs is not None and rows is not None and rows.schema == KTO_SCHEMA and rows.num_rows == 12
    desirable = rows.filter(rows["label"])
    assert set(strings(desirable, "prompt")) == set(strings(pairs, "prompt")) and desirable.num_rows == 6
    assert set(strings(desirable, "completion")) == set(strings(pairs, "chosen"))
    assert set(strings(rows, "completion")) == {*strings(pairs, "chosen"), *strings(pairs, "rejected")}
    only_pairs = PreferenceConfig(egida_pairs=EgidaPairsConfig(per_cycle=6))
    assert egida_rows("unpaired", folder, only_pairs, seed=1) is None


def test_pairs_alone_are_planned_and_priced_and_nothing_else_is_sampled(tmp_path: Path) -> None:
    recipe = load_recipe("egida")
    assert (sampled_prompts(recipe), most_rows(recipe)) == (0, {"unpaired": 4000, "pairs": 2000})
    assert rollout_work(recipe).generate_s == 0 and list(recipe.preference.cycles_of_rows(1)) == []
    # The same tokens: 4,000 rows at 6 passes, and 2,000 pairs at 8.
    costs = run_training_s(recipe)
    assert costs["kto"] / costs["dpo"] == pytest.approx(4000 * 6 / (2000 * 8))
    with pytest.raises(SalusError, match=r"judged false leaves nothing to learn from: set egida_pairs"):
        load_recipe("demo", ["preference.judged=false"])
    with pytest.raises(SalusError, match=r"challenger kto learns from single rows.*egida_pairs.unpaired to true"):
        load_recipe("egida", ["preference.egida_pairs.unpaired=false"])
    with pytest.raises(SalusError, match=r"learns from preference.egida_pairs alone"):
        generate_step(recipe, tmp_path / "run", QuietReporter(), 1)


def test_the_control_turns_them_round_too(tmp_path: Path) -> None:
    folder = shards(tmp_path / "pairs", list(range(40)), 40)
    control = PreferenceConfig(egida_pairs=EgidaPairsConfig(per_cycle=40), shuffle_labels=True)
    rows = egida_rows("pairs", folder, control, seed=1)
    assert rows is not None
    turned = sum(text.startswith("Sure") for text in strings(rows, "chosen"))
    assert 10 < turned < 30
