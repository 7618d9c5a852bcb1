"""People's labels in the rows that Ray Data makes."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from actors.contract.conversation import answer_key
from actors.contract.records import Label
from actors.files.shards import read_folder, shard_files, write_table
from pipelines.alignment.preference import Beside, build_rows
from pipelines.config.preference import PreferenceConfig
from pipelines.config.scores import ScoreTable
from tests.rows import judgments, prompt

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def test_a_label_changes_the_rows_and_not_the_judgments(tmp_path: Path) -> None:
    asked = [prompt(i, 3) for i in range(8)]
    rows = [(of, text, "Refuse") for of in asked for text in (f"Sure, {of.prompt}", f"No, {of.prompt}")]
    write_table(judgments(rows), tmp_path / "judged" / "part-00000.parquet")  # type: ignore[arg-type]
    before = pq.read_table(*shard_files(tmp_path / "judged"))
    labels: dict[str, Label] = {answer_key(of.prompt, f"Sure, {of.prompt}"): "Accept" for of in asked[:4]}
    make = (PreferenceConfig(max_class_ratio=100), ScoreTable(), 1, Beside(reviews=labels))
    build_rows("unpaired", [tmp_path / "judged"], tmp_path / "kto", *make)
    report = build_rows("pairs", [tmp_path / "judged"], tmp_path / "dpo", *make)
    kto = read_folder(tmp_path / "kto")
    sides = dict(zip(kto["completion"].to_pylist(), kto["label"].to_pylist(), strict=True))
    assert [sides[f"Sure, {of.prompt}"] for of in asked] == [False] * 4 + [True] * 4
    # Without them every answer had the same mark, and there was nothing to prefer.
    assert report.rows == 4
    assert pq.read_table(*shard_files(tmp_path / "judged")).equals(before)
