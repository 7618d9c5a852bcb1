"""Data files as users bring them (`shared/cases/data_files.py`): read where they can be, else refused by place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from actors.errors import SalusError
from pipelines.data.sets.tabular import ColumnMapping, read_tabular
from tests.root import ROOT

SCRIPT = Path(os.environ.get("SALUS_CASES", ROOT.parent / "shared" / "cases")) / "data_files.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason=f"{SCRIPT} is not here")

READ = {
    **dict.fromkeys(("ok.jsonl", "bom.csv", "bom.jsonl", "quotes.csv", "crlf.jsonl", "floatlevel.jsonl", "ok.tsv"), 30),
    **dict.fromkeys(("semicolon.csv", "tab.csv", "array.json", "messages.jsonl", "sharegpt.jsonl", "words.jsonl"), 30),
    **dict.fromkeys(("categorical.parquet", "large_string.parquet", "string_view.parquet", "list.parquet"), 30),
    **dict.fromkeys(("floatlevel.parquet", "catlevel.parquet", "extra_ts.parquet", "pandas_index.parquet"), 30),
    **dict.fromkeys(("onelevel.jsonl", "pandas_cat.parquet"), 30),
    **dict.fromkeys(("longfield.csv", "longline.jsonl", "nul.jsonl"), 31),
    **{"unicode.jsonl": 39, "dupes.jsonl": 90, "dupkey.jsonl": 33, "one.jsonl": 1, "tiny.jsonl": 4},
}
REFUSED = {
    "binary.parquet": "row 1: 'prompt' holds bytes where text is expected",
    "blankmid.jsonl": "line 6: the row is empty; delete the line",
    "boollevel.jsonl": "line 1: 'level' is True where a whole number from 0 to 3 is expected",
    "latin1.csv": "line 2: not UTF-8",
    "nan.jsonl": "line 31: 'level' is nan",
    "null.jsonl": "line 31: 'prompt' is missing",
    "nullrow.parquet": "row 31: 'prompt' is missing",
    "ok.jsonl.gz": "convert it, or name another file",
    "oldmac.csv": "line 1: its lines end as those of old Macs do",
    "surrogate.jsonl": "line 31: 'prompt' holds half of a surrogate pair",
    "utf16.csv": "line 1: not UTF-8",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    subprocess.run([sys.executable, str(SCRIPT), str(folder)], check=True, timeout=120)
    return folder


def rows(file: Path) -> int:
    columns = ColumnMapping(
        prompt="conversations" if file.name == "sharegpt.jsonl" else "prompt",
        level="level",
        level_names={"safe": 0, "unsafe": 3} if file.name == "words.jsonl" else None,
    )
    return sum(batch.num_rows for batch in read_tabular(file, columns))


@pytest.mark.parametrize(("name", "count"), READ.items())
def test_what_can_be_read_is_read(name: str, count: int, files: Path) -> None:
    assert rows(files / name) == count


@pytest.mark.parametrize(("name", "said"), REFUSED.items())
def test_what_cannot_is_refused_with_its_place(name: str, said: str, files: Path) -> None:
    with pytest.raises(SalusError) as refused:
        rows(files / name)
    assert said in refused.value.sentence
    assert name in refused.value.sentence


def test_every_case_is_one_of_both(files: Path) -> None:
    assert {file.name for file in files.iterdir()} == {*READ, *REFUSED}
