"""The same rows through real Ray Data: Parquet files that depend on the seed and on nothing else."""

from __future__ import annotations

import itertools
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.contract.records import Label, RowKind
from actors.errors import SalusError
from actors.files.shards import read_folder, write_table, write_text
from pipelines.alignment.cycle import check_rows
from pipelines.alignment.preference import Beside, PreferenceReport, build_rows
from pipelines.alignment.rows.egida_pairs import PAIR_SCHEMA
from pipelines.config.preference import EgidaPairsConfig, PreferenceConfig
from pipelines.config.scores import ScoreTable
from tests.rows import judgments, prompt

pytestmark = pytest.mark.ray
TABLE = ScoreTable()
REFUSAL = "I can't help with that."


def judged_shards(folder: Path, count: int = 40, shard: int = 10) -> Path:
    labels: tuple[Label, ...] = ("Accept", "Refuse", "Accept", "Caution")
    for start in range(0, count, shard):
        rows = [
            (prompt(i, i % 4, REFUSAL if i % 4 else None), f"answer {i}.{s}", labels[(i + s) % 4])
            for i in range(start, start + shard)
            for s in range(3)
        ]
        write_table(judgments(rows), folder / f"{start:03d}.parquet")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in sorted(folder.glob("*.parquet"))}


@pytest.mark.parametrize("kind", ["unpaired", "pairs"])
def test_same_seed_same_bytes_however_the_data_are_blocked(ray_session: None, tmp_path: Path, kind: RowKind) -> None:
    few = judged_shards(tmp_path / "few", shard=20)
    many = judged_shards(tmp_path / "many", shard=5)
    config = PreferenceConfig(rows_per_file=25)
    made = [
        build_rows(kind, [source], tmp_path / name, config, TABLE, seed)
        for name, source, seed in (("one", few, 1), ("again", many, 1), ("other", few, 2))
    ]
    assert made[0] == made[1]
    assert made[0].rows > 25
    assert files(tmp_path / "one") == files(tmp_path / "again")
    assert files(tmp_path / "one") != files(tmp_path / "other")
    one, other = (read_folder(tmp_path / name).drop_columns(["order"]) for name in ("one", "other"))
    assert sorted(map(str, one.to_pylist())) == sorted(map(str, other.to_pylist()))


def test_earlier_cycles_are_replayed_without_duplicates(ray_session: None, tmp_path: Path) -> None:
    first, second = judged_shards(tmp_path / "c1"), judged_shards(tmp_path / "c2")
    report = build_rows("unpaired", [first, second], tmp_path / "rows", PreferenceConfig(), TABLE, 1)
    alone = build_rows("unpaired", [first], tmp_path / "alone", PreferenceConfig(), TABLE, 1)
    assert report == alone


def test_labels_are_interleaved_and_balanced(ray_session: None, tmp_path: Path) -> None:
    rows = [(prompt(i, 0), f"answer {i}", "Accept" if i % 10 else "Refuse") for i in range(200)]
    write_table(judgments(rows), tmp_path / "judged" / "0.parquet")  # type: ignore[arg-type]
    config = PreferenceConfig(max_class_ratio=3)
    report = build_rows("unpaired", [tmp_path / "judged"], tmp_path / "rows", config, TABLE, 1)
    labels = read_folder(tmp_path / "rows")["label"].to_pylist()
    assert report.rows == len(labels)
    negative = labels.count(False)
    assert negative == 20
    # Thinned by each row's own hash, so the ratio is met in expectation.
    assert labels.count(True) == pytest.approx(60, abs=20)
    gaps = [i for i, label in enumerate(labels) if not label]
    assert max(b - a for a, b in itertools.pairwise(gaps)) <= 2 * len(labels) / negative


def test_finished_rows_are_left_alone(ray_session: None, tmp_path: Path) -> None:
    source = judged_shards(tmp_path / "judged")
    report = build_rows("pairs", [source], tmp_path / "rows", PreferenceConfig(), TABLE, 1)
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "rows").glob("*.parquet")}
    assert build_rows("pairs", [source], tmp_path / "rows", PreferenceConfig(), TABLE, 1) == report
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / "rows").glob("*.parquet")} == before
    assert sum(pq.read_metadata(f).num_rows for f in before) == report.rows


def test_judgments_without_pairs_give_unpaired_rows_alone(ray_session: None, tmp_path: Path) -> None:
    rows = [(prompt(i, 0), f"answer {i}", "Accept") for i in range(5)]
    write_table(judgments(rows), tmp_path / "judged" / "0.parquet")  # type: ignore[arg-type]

    def report(kind: RowKind) -> PreferenceReport:
        return build_rows(kind, [tmp_path / "judged"], tmp_path / kind, PreferenceConfig(), TABLE, 1)

    judged: tuple[RowKind, ...] = ("unpaired", "pairs")
    reports = {kind: report(kind) for kind in judged}
    assert {kind: each.rows for kind, each in reports.items()} == {"unpaired": 5, "pairs": 0}
    assert report("pairs") == reports["pairs"] and files(tmp_path / "pairs") == {}
    check_rows(reports, [tmp_path / "judged"], [tmp_path / kind for kind in reports])
    assert (tmp_path / "pairs" / "report.json").is_file()


def test_nothing_to_learn_from_is_a_sentence(tmp_path: Path) -> None:
    nothing = PreferenceReport(algorithm="dpo", rows=0, positive=0)
    write_text(nothing.model_dump_json(), tmp_path / "report.json")
    with pytest.raises(SalusError, match=r"give no DPO rows: every answer has the same mark"):
        check_rows({"pairs": nothing}, [tmp_path / "judged"], [tmp_path])
    # The same command makes them again.
    assert not (tmp_path / "report.json").exists()


def test_pairs_of_egida_are_shuffled_in_with_dpo_alone(ray_session: None, tmp_path: Path) -> None:
    source = judged_shards(tmp_path / "judged")
    own = build_rows("pairs", [source], tmp_path / "own", PreferenceConfig(max_class_ratio=100), TABLE, 1)
    known = read_folder(tmp_path / "own").select(PAIR_SCHEMA.names).slice(0, 1).to_pylist()
    outside = [{"prompt": f"harm {i}", "chosen": "No.", "rejected": "Sure.", "level": 3} for i in range(30)]
    # One of them is a pair that the policy gave as well: it is there once.
    write_table(pa.Table.from_pylist([*known, *outside], schema=PAIR_SCHEMA), tmp_path / "pairs" / "part-00000.parquet")
    config = PreferenceConfig(max_class_ratio=100, egida_pairs=EgidaPairsConfig(per_cycle=100))
    with_egida = build_rows("pairs", [source], tmp_path / "rows", config, TABLE, 1, Beside(pairs=tmp_path / "pairs"))
    assert (with_egida.rows, with_egida.egida) == (own.rows + 30, 31)
    again = build_rows("pairs", [source], tmp_path / "again", config, TABLE, 1, Beside(pairs=tmp_path / "pairs"))
    assert again == with_egida and files(tmp_path / "rows") == files(tmp_path / "again")
    kto = build_rows("unpaired", [source], tmp_path / "kto", config, TABLE, 1, Beside(pairs=tmp_path / "pairs"))
    assert kto.egida == 0
