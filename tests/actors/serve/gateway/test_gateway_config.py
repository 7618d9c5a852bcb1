"""Whether an endpoint may be opened, and with which keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from actors.errors import SalusError
from actors.serve.gateway.config import GatewayConfig, check_gateway, is_loopback, key_ring
from actors.serve.gateway.keys import KeyFile, new_key

OUTSIDE = ("0.0.0.0", "::", "10.0.0.3", "salus.example", "", "localhost.example", "127.0.0.1.example")
HERE = ("127.0.0.1", "localhost", "::1", "[::1]", "127.9.9.9")


def test_this_machine_alone() -> None:
    assert [host for host in (*OUTSIDE, *HERE) if is_loopback(host)] == list(HERE)


@pytest.mark.parametrize("host", OUTSIDE)
def test_an_open_gateway_stays_on_this_machine(host: str) -> None:
    with pytest.raises(SalusError, match="not a loopback address"):
        check_gateway(GatewayConfig(open=True), host, {})


def test_a_gateway_is_open_or_has_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    for host in HERE:
        check_gateway(GatewayConfig(open=True), host, {})
        with pytest.raises(SalusError, match="There is no API key in the variable SALUS_API_KEYS"):
            check_gateway(GatewayConfig(), host, {})
    KeyFile(path).add("a", "client")
    check_gateway(GatewayConfig(keys_file=path), "0.0.0.0", {})
    with pytest.raises(SalusError, match=r"gateway\.open=true lets everybody in, but .* holds keys"):
        check_gateway(GatewayConfig(open=True, keys_file=path), "127.0.0.1", {})
    KeyFile(path).revoke("a")
    with pytest.raises(SalusError, match="There is no API key in"):
        check_gateway(GatewayConfig(keys_file=path), "0.0.0.0", {})


def test_a_key_file_with_a_fault_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    config = GatewayConfig(keys_file=path)
    with pytest.raises(SalusError, match="There is no key file"):
        check_gateway(config, "0.0.0.0", {})
    KeyFile(path).add("a", "client")
    token = KeyFile(path).add("b", "client")
    path.chmod(0o666)
    with pytest.raises(SalusError, match="may write the key file"):
        check_gateway(config, "0.0.0.0", {})
    path.chmod(0o600)
    with path.open("a", encoding="utf-8") as file:
        file.write(token + "\n")
    with pytest.raises(SalusError, match=r"keys\.jsonl:3 holds a key itself") as refused:
        check_gateway(config, "0.0.0.0", {})
    assert token not in str(refused.value)


@pytest.mark.parametrize("array", [False, True])
def test_a_variable_holds_keys_too(array: bool) -> None:
    made = [new_key("a", "client"), new_key("b", "admin")]
    lines = [key.model_dump_json() for _, key in made]
    held = json.dumps([json.loads(line) for line in lines]) if array else "\n".join(lines)
    config = GatewayConfig(keys_env="WARD_KEYS")
    check_gateway(config, "0.0.0.0", {"WARD_KEYS": held})
    _, own = new_key("own", "client")
    ring = key_ring(config, {"WARD_KEYS": held}, further=[own])
    assert [caller and caller.name for caller in map(ring.identify, (token for token, _ in made))] == ["a", "b"]


@pytest.mark.parametrize("held", ["{", "[", "[1]", '["x"]', "null", "[" * 5000])
def test_a_variable_that_holds_anything_else_is_refused(held: str) -> None:
    for use in (lambda e: check_gateway(GatewayConfig(), "127.0.0.1", e), lambda e: key_ring(GatewayConfig(), e)):
        with pytest.raises(SalusError, match="The variable SALUS_API_KEYS:1 is not a key"):
            use({"SALUS_API_KEYS": held})


@pytest.mark.parametrize("origin", ["*", "null", "https://a.example/", "https://A.example", "a.example", "ftp://a.b"])
def test_origins_are_named_exactly(origin: str) -> None:
    with pytest.raises(ValidationError):
        GatewayConfig(allowed_origins=(origin,))
    GatewayConfig(allowed_origins=("https://a.example:8443", "http://[::1]:80"))


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValidationError):
        GatewayConfig.model_validate({"opened": True})
