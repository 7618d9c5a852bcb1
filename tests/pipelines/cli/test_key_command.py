"""`salus key`, as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.serve.gateway.config import GatewayConfig, key_ring
from actors.serve.gateway.keys import Caller
from pipelines.cli.main import app
from tests.pipelines.cli.refused import refused


def typed(keys: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["key", *arguments, "--keys", str(keys)], env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_key_is_shown_once_and_known_until_it_is_revoked(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    token = typed(path, "add", "ward-3", "--role", "reviewer").strip()
    plain = typed(path, "add", "app").strip()
    assert key_ring(GatewayConfig(keys_file=path), {}).identify(token) == Caller("ward-3", "reviewer")
    listed = typed(path, "list")
    assert "ward-3" in listed and "reviewer" in listed and token not in listed
    assert "ward-3 (reviewer) is revoked" in typed(path, "revoke", "ward-3")
    ring = key_ring(GatewayConfig(keys_file=path), {})
    assert ring.identify(token) is None
    assert ring.identify(plain) == Caller("app", "client")


def test_what_is_refused_gets_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    option = ("--keys", str(tmp_path / "keys.jsonl"))
    assert "salus key add NAME" in refused(capsys, "key", "list", *option)
    assert "cannot be the name of a key" in refused(capsys, "key", "add", "a b", *option)
    typed(tmp_path / "keys.jsonl", "add", "a")
    assert "has a key named a already" in refused(capsys, "key", "add", "a", *option)
    assert "has no key named 'b'" in refused(capsys, "key", "revoke", "b", *option)
    assert CliRunner().invoke(app, ["key", "add", "c", "--role", "root", *option]).exit_code == 2
