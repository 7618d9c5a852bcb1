"""Engine lengths that a model does not hold are refused by every command that starts an engine, before Ray starts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from actors.contract.run_folder import RunFolder
from pipelines.registry.register import register_run
from pipelines.registry.store import Registry
from tests.pipelines.cli.refused import refused
from tests.pipelines.with_models import make_model

HELD = 512
TOO_LONG = HELD + 1


@pytest.fixture(autouse=True)
def no_ray() -> Iterator[None]:
    ray.shutdown()
    yield
    assert not ray.is_initialized()


@pytest.fixture
def registry(published: RunFolder, tmp_path: Path) -> Registry:
    """Of policies that hold 512 tokens, the first of them current."""
    registry = Registry(tmp_path / "registry")
    first, *_ = register_run(published.root, registry)
    registry.promote(str(first.version), "deployed")
    return registry


def sentence(setting: str, asked: int, folder: Path | str, held: int) -> str:
    return (
        f"salus: {setting}.max_model_len={asked} is more than the {held} tokens that the model in {folder} holds; set"
        f" {held} or fewer, or leave the setting out.\n"
    )


def sets(*settings: str) -> list[str]:
    return [part for each in settings for part in ("--set", each)]


@pytest.mark.parametrize("router", ["false", "true"])
def test_serving_what_the_policy_does_not_hold(
    registry: Registry, capsys: pytest.CaptureFixture[str], router: str
) -> None:
    version = registry.history.current()
    assert version is not None
    folder, _ = registry.weights(registry.find(version))
    settings = sets("publish.gateway.open=true", f"publish.router={router}", f"publish.max_model_len={TOO_LONG}")
    said = refused(capsys, "serve", "--registry", str(registry.root), *settings)
    assert said == sentence("publish", TOO_LONG, folder, HELD)
    assert not (registry.root / "serving").exists()


def test_serving_several_of_which_none_can_come_up(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = registry.history.current()
    named = ("--policy", f"clinic={version}", "--policy", f"ward={version}")
    settings = sets("publish.gateway.open=true", f"policies.ward.publish.max_model_len={TOO_LONG}")
    said = refused(
        capsys, "serve", *named, "--registry", str(registry.root), *settings, *sets("publish.max_model_len=600")
    )
    assert "clinic: publish.max_model_len=600 is more" in said and f"ward: publish.max_model_len={TOO_LONG} is" in said


def test_a_challenger_in_the_shadow_that_holds_less(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = short_model(tmp_path / "short", 128)
    open_ = ("publish.gateway.open=true", "publish.proxy=serve")
    settings = sets(*open_, "publish.max_model_len=256", f"shadow.policy={short}")
    said = refused(capsys, "serve", "--registry", str(registry.root), *settings)
    assert said == sentence("publish", 256, short, 128)


def test_publishing_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = short_model(tmp_path / "short", 100)
    said = refused(capsys, "publish", "demo", "--model", str(short))
    # Of the recipe, as the user reads it.
    assert said == sentence("publish", 128, short, 100)


@pytest.mark.parametrize("command", [("align", "demo"), ("generate", "demo")])
@pytest.mark.parametrize(
    ("held", "changes", "said"),
    [
        ((100, 512), (), ("generate.engine", 128, "policy", 100)),
        ((512, 100), (), ("judge.engine", 192, "judge", 100)),
        ((512, 512), ("publish.max_model_len=513",), ("publish", 513, "policy", 512)),
    ],
)
def test_aligning_a_model_of_ones_own(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
    held: tuple[int, int],
    changes: tuple[str, ...],
    said: tuple[str, int, str, int],
) -> None:
    policy, judge = (
        short_model(tmp_path / name, tokens) for name, tokens in zip(("policy", "judge"), held, strict=True)
    )
    settings = sets(
        *("model.source=folder", f"model.path={policy}", "judge.source=folder", f"judge.path={judge}"),
        *("judge.truth=null", "judge.accept_unreliable=true", *changes),
    )
    setting, asked, name, tokens = said
    assert refused(capsys, *command, "--run", str(tmp_path / "run"), *settings) == sentence(
        setting, asked, tmp_path / name, tokens
    )


def test_an_answer_as_long_as_the_model_leaves_no_room(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = short_model(tmp_path / "policy", 24)
    settings = sets(
        *("model.source=folder", f"model.path={policy}", "judge.regimen=RULES", "judge.truth=null"),
        *("judge.accept_unreliable=true", "generate.engine.max_model_len=null", "publish.enabled=false"),
    )
    said = refused(capsys, "align", "demo", "--run", str(tmp_path / "run"), *settings)
    assert said.startswith("salus: generate.sampling.max_tokens leaves no room for a prompt: an answer has up to 24")
    assert f"an engine of {policy} has 24 for both" in said


def test_calibrating_a_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judge = short_model(tmp_path / "judge", 100)
    (tmp_path / "labels.csv").write_text("prompt,answer,label\nHow?,So.,Accept\nWhy?,No.,Refuse\n")
    settings = sets("judge.source=folder", f"judge.path={judge}", "judge.truth=null")
    said = refused(capsys, "judge", "calibrate", "demo", "--labels", str(tmp_path / "labels.csv"), *settings)
    assert said == sentence("judge.engine", 192, judge, 100)


def short_model(folder: Path, tokens: int) -> Path:
    """What passes for a model as long as nobody loads it, and holds so many tokens."""
    make_model(folder, "weights")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": tokens}))
    return folder
