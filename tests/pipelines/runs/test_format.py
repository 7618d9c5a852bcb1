"""A run folder has the number of its format: a newer one is refused before anything in it is misread or changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.runs import open as opening
from pipelines.runs.finished.shape import recipe_of_run
from pipelines.runs.open import FORMAT, open_run, read_run_record
from tests.pipelines.cli.refused import refused
from tests.pipelines.runs.finished.made import RunMaker, recipe


def change(folder: RunFolder, **values: Any) -> None:
    record = json.loads(folder.run_record.read_text())
    folder.run_record.write_text(json.dumps({k: v for k, v in (record | values).items() if v is not None}))


def test_a_new_run_has_the_number(tmp_path: Path) -> None:
    folder = open_run(recipe(), tmp_path / "run", fresh=False)
    assert json.loads(folder.run_record.read_text())["format"] == FORMAT == read_run_record(folder).format


def test_a_run_without_a_number_is_read_and_goes_on(tmp_path: Path) -> None:
    folder = open_run(recipe(), tmp_path / "run", fresh=False)
    change(folder, format=None)
    assert read_run_record(folder).format == 0
    open_run(recipe(), folder.root, fresh=False)


def test_a_newer_one_is_refused_in_a_sentence(
    made_run: RunMaker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made_run(tmp_path / "run")
    # With what this version does not know.
    change(folder, format=FORMAT + 1, later="x", packages={"salus": "9.1\x1b[2J"})
    before = folder.run_record.read_bytes()
    why = rf"has format {FORMAT + 1}, and this version of Salus reads formats 0 to {FORMAT}; install version 9\.1"
    for read in (read_run_record, recipe_of_run, lambda each: open_run(recipe(), each.root, fresh=False)):
        with pytest.raises(SalusError, match=why):
            read(folder)
    for words in (("status",), ("runs", "show"), ("runs", "audit")):
        assert "install version 9.1" in refused(capsys, *words, str(folder.root))
    assert folder.run_record.read_bytes() == before


def test_one_that_is_too_old_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_run(recipe(), tmp_path / "run", fresh=False)
    monkeypatch.setattr(opening, "OLDEST_FORMAT", FORMAT + 1)
    monkeypatch.setattr(opening, "FORMAT", FORMAT + 2)
    with pytest.raises(SalusError, match=r"reads no more .* read it with version"):
        read_run_record(folder)


def test_fresh_begins_anew_in_any_format(tmp_path: Path) -> None:
    folder = open_run(recipe(), tmp_path / "run", fresh=False)
    change(folder, format=FORMAT + 1)
    assert read_run_record(open_run(recipe(), folder.root, fresh=True)).format == FORMAT
