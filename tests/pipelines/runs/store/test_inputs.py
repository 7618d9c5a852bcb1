"""What a run reads from a store: fetched whole, checked, once; what is wrong is said before anything starts."""

from __future__ import annotations

import hashlib
import pickle
import stat
from pathlib import Path

import pytest

from actors.errors import SalusError
from pipelines.cli.main import main
from pipelines.config.load import load_recipe, load_run_recipe, save_recipe
from pipelines.config.section import FetchedPath
from pipelines.runs.inputs import INPUTS, fetch_input, fetch_inputs
from pipelines.runs.open import check_same, open_run
from pipelines.runs.store.connect import connect
from pipelines.runs.store.objects import Objects
from pipelines.runs.store.place import RemotePlace
from tests.pipelines.runs.store.conftest import Move, reach
from tests.pipelines.runs.store.server import answering

# What a setting needs beside it.
BESIDE = {
    "data.probe_path": ["data.probe=xstest"],
    "model.path": ["model.source=hub", "judge.truth=null"],
    "judge.path": ["judge.regimen=LMA", "judge.source=folder"],
    "preference.egida_pairs.path": ["preference.egida_pairs={}"],
    "preference.feedback.path": ["preference.feedback={path: x}"],
}
ROWS = "prompt,level\nHow do I store insulin?,0\nHow do I forge a note?,3\n"


def said(lines: list[str] | None = None) -> list[str]:
    return [] if lines is None else lines


def fill(place: RemotePlace, files: dict[str, str]) -> Objects:
    objects = connect(place)
    for name, text in files.items():
        objects.put(name, text.encode())
    return objects


def test_a_folder_comes_whole_and_once(place: RemotePlace, move_to: Move) -> None:
    objects = fill(place, {"a.csv": ROWS, "deep/b.csv": "x", ".hidden": "no", "deep/.hidden/c": "no"})
    lines: list[str] = []
    folder = fetch_input(str(place), "data.path", lines.append)
    assert folder.name == place.name
    assert {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()} == {
        "a.csv": ROWS,
        "deep/b.csv": "x",
    }
    assert len(lines) == 1 and f"fetching {place} (2 files" in lines[0]
    assert stat.S_IMODE((folder / "a.csv").stat().st_mode) == 0o600
    assert fetch_input(str(place), "data.path", lines.append) == folder and len(lines) == 1
    # What changed in the store is another input, though it has the same size.
    objects.put("a.csv", ROWS.replace("insulin", "nilusin").encode())
    again = fetch_input(str(place), "data.path", lines.append)
    assert again != folder and "nilusin" in (again / "a.csv").read_text() and len(lines) == 2


def test_one_object_is_a_file(place: RemotePlace, move_to: Move) -> None:
    fill(place, {"prompts.csv": ROWS, "prompts.csv.bak": "other"})
    file = fetch_input(f"{place}/prompts.csv", "data.path", said().append)
    assert (file.name, file.read_text()) == ("prompts.csv", ROWS)


def test_a_cut_off_copy_is_fetched_again(place: RemotePlace, move_to: Move) -> None:
    fill(place, {"a.csv": ROWS})
    folder = fetch_input(str(place), "data.path", said().append)
    (folder / "a.csv").write_text("half")
    assert (fetch_input(str(place), "data.path", said().append) / "a.csv").read_text() == ROWS


def test_files_are_held_against_the_sums_beside_them(place: RemotePlace, move_to: Move, tmp_path: Path) -> None:
    sums = f"{hashlib.sha256(ROWS.encode()).hexdigest()}  a.csv\n{'0' * 64} *gone.csv\n{'0' * 64}  ../../secret\n"
    objects = fill(place, {"a.csv": ROWS, "SHA256SUMS": sums})
    fetch_input(str(place), "data.path", said().append)
    objects.put("a.csv", ROWS.replace("3", "0").encode())
    with pytest.raises(SalusError, match=r"a\.csv is not what SHA256SUMS beside it says; upload it again"):
        fetch_input(str(place), "data.path", said().append)
    # Nothing of it is kept.
    assert len([folder for folder in (tmp_path / "a" / "inputs").iterdir()]) == 1


def test_a_store_that_changes_meanwhile_is_said(
    place: RemotePlace, move_to: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects, download = fill(place, {"a.csv": ROWS}), Objects.download

    def slow(self: Objects, name: str, target: Path) -> str:
        found = download(self, name, target)
        objects.put("b.csv", b"new")
        return found

    monkeypatch.setattr(Objects, "download", slow)
    with pytest.raises(SalusError, match="changed while it was fetched; run the same command again"):
        fetch_input(str(place), "data.path", said().append)


def test_what_is_wrong_is_one_sentence_that_names_the_setting(
    s3: RemotePlace, move_to: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(s3, {"a.csv": ROWS})
    for text, words in (
        (f"{s3}/nothing", rf"data\.path: there is nothing at {s3}/nothing; give the address of a file or of a folder"),
        ("s3://no-such-bucket/x", r"There is no bucket no-such-bucket .* give another address as data\.path"),
        ("s3://bucket/a?key=1", r"data\.path: This is no s3:// address"),
        ("ftp://host/x", r"data\.path: There is no store for addresses that begin with ftp://"),
    ):
        with pytest.raises(SalusError, match=words):
            fetch_input(text, "data.path", said().append)
    refusal = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    with answering(lambda _: (403, refusal)) as url:
        reach(monkeypatch, url)
        with pytest.raises(SalusError, match="credentials are missing or may not do this"):
            fetch_input(str(s3), "data.path", said().append)


def test_a_recipe_keeps_the_address_and_is_read_from_the_copy(
    place: RemotePlace, move_to: Move, tmp_path: Path
) -> None:
    fill(place, {"prompts/a.csv": ROWS, "model/config.json": "{}"})
    overrides = [
        "data.source=tabular",
        f"data.path={place}/prompts/a.csv",
        "data.columns={prompt: prompt, level: level}",
        f"model.path={place}/model",
        "model.source=folder",
        "judge.truth=null",
    ]
    loaded = load_recipe("demo", overrides)
    recipe = fetch_inputs(loaded, said().append)
    assert Path(str(recipe.data.path)).read_text() == ROWS
    assert Path(str(recipe.model.path)).is_dir() and Path(str(recipe.model.path)).name == "model"
    save_recipe(recipe, tmp_path / "recipe.yaml")
    assert load_run_recipe(tmp_path / "recipe.yaml") == loaded
    # Another machine, whose cache is elsewhere, goes on with the same run.
    folder = open_run(recipe, tmp_path / "run", fresh=False)
    move_to("b")
    other = fetch_inputs(loaded, said().append)
    assert other.data.path != recipe.data.path
    check_same(other, folder)
    path = pickle.loads(pickle.dumps(recipe.data.path))
    assert isinstance(path, FetchedPath) and (path, path.address) == (recipe.data.path, f"{place}/prompts/a.csv")


def test_every_input_is_a_setting_of_the_recipe(place: RemotePlace, move_to: Move) -> None:
    fill(place, {"x/a.csv": ROWS})
    for setting in INPUTS:
        more = BESIDE.get(setting, [])
        recipe = fetch_inputs(load_recipe("demo", [*more, f"{setting}={place}/x"]), said().append)
        found: object = recipe
        for name in setting.split("."):
            found = getattr(found, name)
        assert isinstance(found, FetchedPath), setting
        # An address is of a folder, also in place of a recipe's hub id.
        assert recipe.model.source != "hub"


def test_commands_say_it_before_anything_starts(
    s3: RemotePlace, move_to: Move, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cares = ["demo", "--set", "data.source=cares", "--set", "judge.truth=null"]
    for command in ("plan", "align", "generate"):
        with pytest.raises(SystemExit) as ended:
            main([command, *cares, "--data", f"{s3}/nothing", "--run", str(tmp_path / "run")])
        told = " ".join(capsys.readouterr().err.split())
        assert (ended.value.code, f"data.path: there is nothing at {s3}/nothing; give" in told) == (2, True), told
    assert not (tmp_path / "run").exists()
    for command in ("calibrate", "train"):
        with pytest.raises(SystemExit) as ended:
            main(["judge", command, "demo", "--labels", f"{s3}/labels.csv"])
        assert ended.value.code == 2
        assert "--labels: there is nothing at" in " ".join(capsys.readouterr().err.split())
