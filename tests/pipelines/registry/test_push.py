"""A policy on the hub, by the real client against a server of this machine that speaks the hub's API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import yaml
from typer.testing import CliRunner

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.serve.publication_audit import outcomes
from pipelines.cli.main import app
from pipelines.registry.cards.head import Stated
from pipelines.registry.entry import PolicyEntry
from pipelines.registry.push import Form, PushOptions, policy_push, push_policy
from pipelines.registry.store import Registry
from pipelines.runs.contents import MODEL_FILES, contents_of
from pipelines.runs.finished.hub.private import check_private
from pipelines.runs.finished.hub.upload import HubFile, Uploaded
from tests.hub_server import TOKEN, HubServer, Repo, hub_for_client
from tests.pipelines.cli.refused import refused
from tests.root import ROOT

REPO = "clinic/assistant"
BASE = Stated(base_model="clinic/deployed", license="apache-2.0")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with hub_for_client(monkeypatch) as server:
        yield server


@pytest.fixture
def policy(registry: Registry, versions: Sequence[str]) -> PolicyEntry:
    """The first winner, which the run's end measured too."""
    return registry.find(versions[1])


def pushed(registry: Registry, policy: PolicyEntry, form: Form = "merged", public: bool = False) -> Uploaded:
    options = PushOptions(form=form, public=public, stated=BASE)
    with policy_push(registry, policy.version, REPO, options) as push:
        return push_policy(registry, policy.version, push)


def front_matter(card: bytes) -> dict[str, Any]:
    head: dict[str, Any] = yaml.safe_load(card.decode().removeprefix("---\n").partition("\n---\n")[0])
    return head


def test_the_hub_gets_the_policy_byte_for_byte(hub: HubServer, registry: Registry, policy: PolicyEntry) -> None:
    done = pushed(registry, policy)
    held = hub.repos[f"models/{REPO}"]
    assert held.private and done.commit == held.sha and done.url == f"{hub.url}/{REPO}"
    assert held.commits[-1] == f"Policy {policy.version}"
    source = Path(str(policy.merged.folder))
    names = {file.name for file in policy.merged.contents.files}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= names
    assert held.files.keys() == names | {"README.md", ".gitattributes"}
    assert all(held.files[name] == (source / name).read_bytes() for name in names)
    # Weights went by LFS, the rest within the commit.
    assert list(hub.blobs.values()) == [(source / "model.safetensors").read_bytes()]
    log, _ = registry.audit._log.readable()
    [entry] = [each.entry for each in outcomes(log) if each.began.action == "push"]
    assert entry is not None and (entry.outcome, entry.reason) == ("done", f"private, to model {REPO}")


def test_its_card_tells_the_hub_what_it_is(hub: HubServer, registry: Registry, policy: PolicyEntry) -> None:
    pushed(registry, policy)
    head = front_matter(hub.repos[f"models/{REPO}"].files["README.md"])
    assert (head["license"], head["base_model"], head["base_model_relation"]) == (
        "apache-2.0", "clinic/deployed", "finetune",
    )  # fmt: skip
    assert (head["library_name"], head["pipeline_tag"]) == ("transformers", "text-generation")
    [index] = head["model-index"]
    assert index["name"] == policy.version
    results = {each["dataset"]["split"]: {m["type"]: m for m in each["metrics"]} for each in index["results"]}
    assert policy.validation is not None and policy.validation.metrics is not None and policy.tested is not None
    ss = policy.validation.metrics.ss
    assert ss is not None
    assert results["validation"]["ss"]["value"] == ss.value
    assert results["validation"]["ss"]["args"]["interval"] == {"level": 0.95, "low": ss.low, "high": ss.high, "n": ss.n}
    measured = policy.tested.figures.asr
    assert measured is not None
    assert results["test"]["asr"]["args"]["interval"]["high"] == measured.high


def test_an_adapter_and_both(hub: HubServer, registry: Registry, policy: PolicyEntry) -> None:
    pushed(registry, policy)
    done = pushed(registry, policy, "adapter")
    held = hub.repos[f"models/{REPO}"].files
    # What the other form had left would be read with it.
    assert set(done.removed) == {file.name for file in policy.merged.contents.files}
    assert held.keys() == {"README.md", "adapter_config.json", "adapter_model.safetensors", ".gitattributes"}
    assert json.loads(held["adapter_config.json"])["base_model_name_or_path"] == "clinic/deployed"
    head = front_matter(held["README.md"])
    assert (head["library_name"], head["base_model_relation"]) == ("peft", "adapter")
    assert b"Deployed model: clinic/deployed" in held["README.md"]
    assert set(pushed(registry, policy, "both").removed) == {"adapter_config.json", "adapter_model.safetensors"}
    held = hub.repos[f"models/{REPO}"].files
    assert {"model.safetensors", "adapter/adapter_model.safetensors", "adapter/adapter_config.json"} <= held.keys()


def test_an_adapter_on_a_folder_needs_a_name_that_others_can_load(registry: Registry, policy: PolicyEntry) -> None:
    options = PushOptions(form="adapter")
    with (
        pytest.raises(SalusError, match="Name the same model there with --base-model"),
        policy_push(registry, policy.version, REPO, options),
    ):
        pass


@pytest.mark.parametrize(
    ("stated", "sentence"),
    [
        (Stated(base_model="/srv/models/mine"), "is no model of the hub; write --base-model as"),
        (Stated(license="my own\nlicence"), "is no licence as the hub writes them"),
    ],
)
def test_what_is_said_of_it_is_checked_first(registry: Registry, stated: Stated, sentence: str) -> None:
    with (
        pytest.raises(SalusError, match=sentence),
        policy_push(registry, "any", REPO, PushOptions(stated=stated)),
    ):
        pass


def test_nothing_of_this_machine_leaves(
    hub: HubServer, registry: Registry, policy: PolicyEntry, run: RunFolder, tmp_path: Path
) -> None:
    pushed(registry, policy, "both")
    for name, content in hub.repos[f"models/{REPO}"].files.items():
        assert str(tmp_path).encode() not in content, name
        assert str(policy.base.folder).encode() not in content and TOKEN.encode() not in content
    assert not [name for name in hub.repos[f"models/{REPO}"].files if "audit" in name or "judgments" in name]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "config.json",
            '{"_name_or_path": "/srv/models/mine"}',
            r"config.json names .* /srv/models/mine \(_name_or_pa",
        ),
        ("tokenizer_config.json", '{"x": ["FOLDER/tokenizer.json"]}', "names a folder of this machine, FOLDER"),
        ("chat_template.jinja", "{# FOLDER #}", "names a folder of this machine, FOLDER"),
        ("README.md", r"# \/some\_where hf\_" + "a" * 34, "reads as a token or key"),
        ("README.md", "salus_" + "a" * 43, "reads as a token or key"),
        ("README.md", "a word", "reads as a token or key"),
        ("README.md", str(Path.home() / "x"), "names a folder of this machine"),
    ],
)
def test_a_file_that_names_a_folder_or_a_token_is_refused(
    name: str, content: str, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content.replace("FOLDER", str(tmp_path)))
    with pytest.raises(SalusError, match=sentence.replace("FOLDER", str(tmp_path))):
        check_private([HubFile(name, tmp_path / name)], [tmp_path], "a word")


def test_a_dry_run_says_everything_and_asks_no_server(
    registry: Registry, policy: PolicyEntry, monkeypatch: pytest.MonkeyPatch, hub: HubServer
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    arguments = ["policy", "push", policy.version, REPO, "--registry", str(registry.root), "--dry-run", "--public"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "model.safetensors" in result.stdout and "pipeline_tag: text-generation" in result.stdout
    assert f"would go to model {REPO} (public); nothing was sent." in result.stdout
    assert "is PUBLIC: anyone may read" in result.stderr and "names no licence" in result.stderr
    told = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert (told["repo"], told["visibility"], told["uploaded"]) == (REPO, "public", None)
    sizes = {each["path"]: each["size"] for each in told["files"]}
    assert sizes["model.safetensors"] == (Path(str(policy.merged.folder)) / "model.safetensors").stat().st_size
    assert told["front_matter"]["tags"][0] == "salus"
    assert hub.asked == []


def test_the_command_asks_the_hub_of_the_environment(hub: HubServer, registry: Registry, policy: PolicyEntry) -> None:
    """In a process of its own, which reads HF_ENDPOINT and HF_TOKEN as it starts."""
    given = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
    given |= {"HF_HUB_OFFLINE": "0", "PYTHONPATH": str(ROOT)}
    command = ["policy", "push", policy.version, REPO, "--public", "--registry", str(registry.root), "--json"]
    ended = subprocess.run(
        [sys.executable, "-m", "pipelines.cli.main", *command],
        env={**os.environ, **given}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["uploaded"]["commit"] == hub.repos[f"models/{REPO}"].sha
    assert not hub.repos[f"models/{REPO}"].private
    assert "is PUBLIC" in ended.stderr and "Traceback" not in ended.stderr and "%" not in ended.stderr


def test_a_policy_that_awaits_approval_is_not_pushed(hub: HubServer, registry: Registry, policy: PolicyEntry) -> None:
    registry.put(policy.model_copy(update={"needs_approval": True}), "---\ntags: []\n---\n", copy=False)
    with pytest.raises(SalusError, match="awaits approval"):
        pushed(registry, policy)
    assert hub.asked == []


def test_no_token_and_no_network(
    hub: HubServer,
    registry: Registry,
    policy: PolicyEntry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ("policy", "push", policy.version, REPO, "--registry", str(registry.root))
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    assert "There is no token of the hub; set HF_TOKEN" in refused(capsys, *command)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refused(capsys, *command)
    assert hub.asked == []


def test_a_refused_push_is_in_the_audit_log(hub: HubServer, registry: Registry, policy: PolicyEntry) -> None:
    hub.repos[f"models/{REPO}"] = Repo(private=False)
    with pytest.raises(SalusError, match="is public on the hub"):
        pushed(registry, policy)
    assert hub.repos[f"models/{REPO}"].files == {} and hub.blobs == {}
    log, _ = registry.audit._log.readable()
    entry = outcomes(log)[-1].entry
    assert entry is not None and entry.outcome == "refused"


def test_changed_weights_are_not_pushed(hub: HubServer, registry: Registry, policy: PolicyEntry) -> None:
    weights = Path(str(policy.merged.folder)) / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"x")
    assert contents_of(weights.parent, MODEL_FILES) != policy.merged.contents
    with pytest.raises(SalusError, match="are not what was registered"):
        pushed(registry, policy)
    assert hub.asked == []
