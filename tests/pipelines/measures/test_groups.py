"""Metrics by style and topic, held-out ones apart; judgments without the column have none."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pytest

from actors.errors import SalusError
from pipelines.config.scores import ScoreTable
from pipelines.measures.groups import GroupMetrics, measure_groups, names_of
from pipelines.runs.metrics_rows import METRICS_SCHEMA, MetricsKey, group_rows
from tests.pipelines.judged import judged

TABLE = ScoreTable()


def styled(styles: Sequence[str | None]) -> pa.Table:
    """Levels 0 and 3 in turn; the first half is answered right, the second accepts everything."""
    half = len(styles) // 2
    labels = [("Accept", "Refuse")[i % 2] if i < half else "Accept" for i in range(len(styles))]
    table = judged([0, 3] * half, labels)
    if "style" in table.column_names:
        table = table.drop_columns("style")
    return table.append_column("style", pa.array(styles, pa.string()))


def test_each_style_and_the_held_out_ones() -> None:
    table = styled(["plain"] * 4 + ["slang", "slang", "typos", "typos"])
    found = measure_groups(table, "style", TABLE, seed=0, held_out={"slang", "typos"}, resamples=100)
    assert found is not None and found.seen is not None and found.held_out is not None
    assert set(found.by_name) == {"plain", "slang", "typos"}
    assert found.by_name["plain"].ss is not None and found.by_name["plain"].ss.value == 1
    assert found.by_name["slang"].asr is not None and found.by_name["slang"].asr.value == 1
    assert found.seen.ss is not None and (found.seen.ss.value, found.seen.n) == (1, 4)
    assert found.held_out.ss is not None and (found.held_out.ss.value, found.held_out.n) == (0.5, 4)
    assert found.held_out.err_strict is not None and found.held_out.err_strict.value == 0
    assert found.held_out_names == ("slang", "typos")
    assert GroupMetrics.model_validate_json(found.model_dump_json()) == found


def test_rows_without_a_style_are_counted_and_left_out() -> None:
    found = measure_groups(styled(["plain", "plain", None, None]), "style", TABLE, seed=0, resamples=100)
    assert found is not None and found.seen is not None
    assert (found.unnamed, found.seen.n, found.held_out) == (2, 2, None)


def test_without_any_style_there_is_nothing_to_report() -> None:
    plain = judged([0], ["Accept"])
    if "style" in plain.column_names:
        plain = plain.drop_columns("style")
    assert measure_groups(plain, "style", TABLE, seed=0) is None
    assert measure_groups(styled([None, None]), "style", TABLE, seed=0) is None


def test_a_held_out_style_nobody_has_is_refused() -> None:
    with pytest.raises(SalusError, match=r"held-out style 'verse'; there are plain"):
        measure_groups(styled(["plain", "plain"]), "style", TABLE, seed=0, held_out=["verse"])


def test_rows_of_the_metrics_file() -> None:
    table = styled(["plain", "plain", "slang", "slang"])
    found = measure_groups(table, "style", TABLE, seed=0, held_out=["slang"], resamples=100)
    assert found is not None
    key = MetricsKey(
        run="r", cycle=0, split="test", policy_version="v", algorithm="base", judged_by="judge", winner=False
    )
    rows = group_rows(key, found)
    assert rows.schema == METRICS_SCHEMA
    values = {(row["metric"], row["group"]): row["value"] for row in rows.to_pylist()}
    assert values["ss", "style:plain"] == values["ss", "styles:seen"] == 1
    assert values["asr", "styles:held_out"] == 1


def test_a_request_counts_in_each_of_its_topics_and_is_held_out_with_any_of_them() -> None:
    topics = ["fraud|privacy", "fraud|privacy", "fraud", "fraud", "weapons", "weapons", None, None]
    table = judged([0, 3] * 4, ["Accept", "Refuse"] * 2 + ["Accept"] * 4, topics=topics)
    found = measure_groups(table, "topic", TABLE, seed=0, held_out={"privacy"}, resamples=100)
    assert found is not None and found.seen is not None and found.held_out is not None
    assert {name: of.n for name, of in found.by_name.items()} == {"fraud": 4, "privacy": 2, "weapons": 2}
    assert (found.held_out.n, found.seen.n, found.unnamed) == (2, 4, 2)
    assert found.by_name["weapons"].asr is not None and found.by_name["weapons"].asr.value == 1
    assert GroupMetrics.model_validate_json(found.model_dump_json()) == found
    key = MetricsKey(run="r", cycle=1, split="test", policy_version="v", algorithm="kto", judged_by="judge")
    names = set(group_rows(key, found)["group"].to_pylist())
    assert names == {"topic:fraud", "topic:privacy", "topic:weapons", "topics:seen", "topics:held_out"}
    assert names_of(table.drop_columns("topics"), "topic") == [frozenset()] * 8
