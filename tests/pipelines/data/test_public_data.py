"""The readers on the data sets as published (skipped where they are absent)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pipelines.data.batches import prompt_table
from pipelines.data.sets.medquad import read_medquad
from pipelines.data.sets.medsafetybench import read_medsafetybench
from pipelines.data.sets.xstest import read_xstest, read_xstest_answers


def test_medsafetybench_as_published(public_data: Path) -> None:
    train = prompt_table(read_medsafetybench(public_data / "medsafetybench", "train"))
    test = prompt_table(read_medsafetybench(public_data / "medsafetybench", "test"))
    assert (train.num_rows, test.num_rows) == (900, 450)
    assert len(set(train.column("prompt_id").to_pylist())) == 900
    assert len(set(train.column("source").to_pylist())) == 18
    assert not set(train.column("prompt").to_pylist()) & set(test.column("prompt").to_pylist())


def test_medquad_as_published(public_data: Path) -> None:
    table = prompt_table(read_medquad(public_data / "medquad"))
    assert table.num_rows == 2000
    assert set(table.column("level").to_pylist()) == {0}
    assert len(set(table.column("base_prompt").to_pylist())) == 1241


def test_xstest_as_published(public_data: Path) -> None:
    table = prompt_table(read_xstest(public_data / "xstest"))
    assert Counter(table.column("level").to_pylist()) == {0: 250, 2: 200}
    answers = list(read_xstest_answers(public_data / "xstest"))
    assert len(answers) == 1350
    assert sum(answer.safe for answer in answers) == 750
    assert Counter(a.label for a in answers if a.model == "mistralinstruct") == {
        "Accept": 374,
        "Refuse": 49,
        "Caution": 27,
    }
