"""The judged answers of a run on the hub: what arrives, and what never leaves."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import read_folder, write_table
from pipelines.cli.main import app
from pipelines.config.load import load_recipe, save_recipe
from pipelines.runs.finished.export.answers import Wanted
from pipelines.runs.finished.hub.dataset import answers_push
from pipelines.runs.finished.hub.upload import upload
from tests.hub_server import HubServer, Repo, hub_for_client
from tests.pipelines.registry.published import SETTINGS

REPO = "clinic/answers"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with hub_for_client(monkeypatch) as server:
        yield server


@pytest.fixture
def paired(run: RunFolder) -> RunFolder:
    """The published run with a pair."""
    pairs = pa.table({"prompt": ["How?"], "chosen": ["No."], "rejected": ["Sure."]})
    write_table(pairs, run.rows(2, "pairs") / "00000.parquet")
    return run


def test_the_hub_gets_what_the_export_writes(hub: HubServer, paired: RunFolder) -> None:
    with answers_push(paired, REPO) as push:
        done = upload(push)
        written = {file.path: Path(str(file.content)).read_bytes() for file in push.files}
    held = hub.repos[f"datasets/{REPO}"]
    assert held.private and done.url == f"{hub.url}/datasets/{REPO}"
    assert {name: held.files[name] for name in written} == written
    rows = pq.read_table(io.BytesIO(held.files["answers/validation.parquet"])).num_rows
    assert rows == sum(read_folder(place).num_rows for place in paired.judged() if "validation" in place.parts)
    assert pq.read_table(io.BytesIO(held.files["pairs/train.parquet"])).to_pylist()[0]["chosen"] == "No."


def test_its_card_warns_and_configures(hub: HubServer, paired: RunFolder) -> None:
    with answers_push(paired, REPO) as push:
        upload(push)
    card = hub.repos[f"datasets/{REPO}"].files["README.md"].decode()
    head = yaml.safe_load(card.removeprefix("---\n").partition("\n---\n")[0])
    assert "not-for-all-audiences" in head["tags"] and head["pretty_name"] == "Judged answers of demo-s7"
    assert [each["config_name"] for each in head["configs"]] == ["answers", "pairs"]
    assert "The texts may hold harmful requests and harmful answers." in card and "| pairs | 1 |" in card


@pytest.mark.parametrize("setting", ["preference.feedback={path: feedback}", "preference.reviews=labels"])
def test_peoples_feedback_and_labels_stay(hub: HubServer, paired: RunFolder, setting: str) -> None:
    save_recipe(load_recipe("demo", [*SETTINGS, "cycles=2", setting]), paired.recipe)
    with answers_push(paired, REPO) as push:
        upload(push)
    held = hub.repos[f"datasets/{REPO}"].files
    assert "answers/train.parquet" in held and not [name for name in held if name.startswith("pairs")]


def test_prompts_of_your_own_go_only_where_that_is_said(hub: HubServer, paired: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("prompt,level\nhow,0\n")
    own = ["data.source=tabular", f"data.path={tmp_path / 'own.csv'}", "data.columns={prompt: prompt, level: level}"]
    save_recipe(load_recipe("demo", [*SETTINGS, "cycles=2", *own]), paired.recipe)
    command = ["runs", "push", str(paired.root), REPO, "--dry-run"]
    refused = CliRunner().invoke(app, command).exception
    assert isinstance(refused, SalusError) and "may hold what patients wrote. Give --own-prompts" in refused.sentence
    assert CliRunner().invoke(app, [*command, "--own-prompts"]).exit_code == 0


def test_an_earlier_uploads_files_go_and_others_stay(hub: HubServer, paired: RunFolder) -> None:
    old = {"pairs/train.parquet": b"x", "answers/probe.parquet": b"x", "notes.md": b"mine"}
    hub.repos[f"datasets/{REPO}"] = Repo(private=True, files=dict(old))
    with answers_push(paired, REPO, Wanted(prompts=("validation",))) as push:
        done = upload(push)
    assert done.removed == ("answers/probe.parquet", "pairs/train.parquet")
    assert hub.repos[f"datasets/{REPO}"].files.keys() == {"README.md", "answers/validation.parquet", "notes.md"}


def test_a_public_data_set_is_refused(hub: HubServer, paired: RunFolder) -> None:
    hub.repos[f"datasets/{REPO}"] = Repo(private=False)
    with (
        answers_push(paired, REPO) as push,
        pytest.raises(SalusError, match=r"is public on the hub, .* uploaded: make it private on its page, or"),
    ):
        upload(push)
    assert hub.blobs == {}


def test_a_judge_that_is_named_by_a_folder(paired: RunFolder, tmp_path: Path) -> None:
    place = next(each for each in paired.judged() if "validation" in each.parts)
    table = read_folder(place)
    named = pa.array([str(tmp_path / "demo-s7" / "judge")] * table.num_rows, pa.string())
    write_table(table.set_column(table.column_names.index("judge"), "judge", named), place / "part-00000.parquet")
    with pytest.raises(SalusError, match=r"answers/validation\.parquet names a folder of this machine"):
        answers_push(paired, REPO).__enter__()


def test_a_dry_run_asks_no_server(hub: HubServer, paired: RunFolder) -> None:
    command = ["runs", "push", str(paired.root), REPO, "--dry-run"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "answers/validation.parquet" in result.stdout and "not-for-all-audiences" in result.stdout
    assert f"would go to dataset {REPO} (private); nothing was sent." in result.stdout
    assert "may hold harmful requests and answers" in result.stderr
    told = json.loads(CliRunner().invoke(app, [*command, "--json", "--quiet"]).stdout)
    assert told["kind"] == "dataset" and told["uploaded"] is None and hub.asked == []
