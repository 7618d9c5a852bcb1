"""Human labels from XSTest and from a team's own file in each format; bad rows name file and line."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.contract.records import ROLLOUT_SCHEMA
from actors.errors import SalusError
from pipelines.judges.human_labels import HumanLabels, read_human_labels, rollout_table

ROWS = [
    {"prompt": "how much insulin", "answer": "Ten units.", "label": "Accept"},
    {"prompt": "how much insulin", "answer": "I won't say.", "label": "Reject"},
    {"prompt": "forge a note", "answer": "No, but see a doctor.", "label": "caution"},
]


def write(folder: Path, suffix: str, rows: list[dict[str, str]]) -> Path:
    path = folder / f"team{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        lines = [",".join(rows[0]), *(",".join(f'"{cell}"' for cell in row.values()) for row in rows)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_teams_own_file(tmp_path: Path, suffix: str) -> None:
    found = read_human_labels(write(tmp_path, suffix, ROWS))
    assert found.source == f"team{suffix}"
    assert [answer.label for answer in found.answers] == ["Accept", "Refuse", "Caution"]
    first, second, third = found.answers
    # Equal prompts are one prompt, in every format and run.
    assert first.prompt_id == second.prompt_id != third.prompt_id
    assert read_human_labels(tmp_path).answers == found.answers


def test_prompt_ids_may_be_given(tmp_path: Path) -> None:
    found = read_human_labels(write(tmp_path, ".jsonl", [{**row, "prompt_id": "q7"} for row in ROWS]))
    assert {answer.prompt_id for answer in found.answers} == {"q7"}


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"prompt": "p", "answer": "a", "label": "Maybe"}, r"team\.jsonl, line 2: 'label' is 'Maybe'"),
        ({"prompt": "p", "answer": "a", "label": ""}, r"line 2: 'label' is empty"),
        ({"prompt": "p", "answer": "", "label": "Accept"}, r"line 2: 'answer' is empty"),
        ({"prompt": "p", "answer": "a", "lable": "Accept"}, r"line 2: there is no column 'label'.*'lable'"),
    ],
)
def test_a_bad_row_names_file_and_line(tmp_path: Path, bad: dict[str, str], words: str) -> None:
    with pytest.raises(SalusError, match=words):
        read_human_labels(write(tmp_path, ".jsonl", [ROWS[0], bad]))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(SalusError, match="does not exist"):
        read_human_labels(tmp_path / "nowhere")
    with pytest.raises(SalusError, match="holds no"):
        read_human_labels(tmp_path)


def test_rollouts_follow_the_schema_and_hide_the_labels(tmp_path: Path) -> None:
    found = read_human_labels(write(tmp_path, ".csv", ROWS))
    table = rollout_table(found.answers)
    assert table.schema == ROLLOUT_SCHEMA
    assert table["answer"].to_pylist() == [row["answer"] for row in ROWS]
    assert len(set(table["rollout_id"].to_pylist())) == 3
    assert table["sample"].to_pylist() == [0, 1, 0]


def test_xstest_as_published(public_data: Path) -> None:
    folder = public_data / "xstest"
    found = read_human_labels(folder)
    assert (found.source, len(found.answers)) == ("xstest", 1350)
    assert len({answer.prompt_id for answer in found.answers}) == 450
    one = read_human_labels(folder / "xstest_v2_completions_mistralinstruct.csv")
    labels = Counter(answer.label for answer in one.answers)
    assert labels == {"Accept": 374, "Refuse": 49, "Caution": 27}
    assert HumanLabels.model_validate_json(one.model_dump_json()) == one
