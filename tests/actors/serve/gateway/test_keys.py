"""Keys: what one is, who is known by it, and that one taken out is refused while serving."""

from __future__ import annotations

import ast
import inspect
import logging
import textwrap
from pathlib import Path

import pytest

from actors.errors import SalusError
from actors.serve.gateway.keys import LOOK_EVERY_S, Caller, KeyFile, KeyRing, digest_of, new_key, parse_keys
from tests.actors.serve.gateway.served import Clock, keys_of


def test_a_key_is_random_and_only_its_hash_is_kept() -> None:
    token, key = new_key("ward-3", "client")
    other, _ = new_key("ward-3", "client")
    assert token.startswith("salus_") and len(token) == len("salus_") + 43
    assert token != other
    assert token not in key.model_dump_json()
    assert key.digest == digest_of(token)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "é", "a\n", "x" * 65, "<b>", "a\ud800"])
def test_a_name_is_plain(name: str) -> None:
    with pytest.raises(SalusError, match="cannot be the name of a key"):
        new_key(name, "client")


def test_everybody_is_known_by_his_own_key_alone() -> None:
    tokens, keys = keys_of("client", "reviewer", "admin")
    ring = KeyRing(None, keys)
    assert {name: ring.identify(token) for name, token in tokens.items()} == {
        "client": Caller("client", "client"),
        "reviewer": Caller("reviewer", "reviewer"),
        "admin": Caller("admin", "admin"),
    }
    for nobody in ("", "salus_", tokens["admin"][:-1], tokens["admin"] + "x", keys[0].sha256, "\ud800", "\x00"):
        assert ring.identify(nobody) is None
    assert KeyRing().identify("") is None


def test_every_key_is_compared_and_each_in_constant_time() -> None:
    tree = ast.parse(textwrap.dedent(inspect.getsource(KeyRing.identify)))
    [loop] = [node for node in ast.walk(tree) if isinstance(node, ast.For)]
    assert not [node for node in ast.walk(loop) if isinstance(node, ast.Break | ast.Return | ast.Continue)]
    assert "hmac.compare_digest(" in ast.unparse(loop)
    assert not [node for node in ast.walk(loop) if isinstance(node, ast.Compare)]


def test_bad_lines_are_named_and_never_shown() -> None:
    token, good = new_key("a", "client")
    lines = ["# the ward's", "", good.model_dump_json(), token, "{", good.model_dump_json(), '{"name": "b"}']
    keys, faults = parse_keys("\n".join(lines), "keys.jsonl")
    assert keys == (good,)
    assert [fault.split(" ")[0] for fault in faults] == [f"keys.jsonl:{n}" for n in (4, 5, 6, 7)]
    assert "holds a key itself" in faults[0] and "second key named a" in faults[2] and "role" in faults[3]
    assert not [fault for fault in faults if token in fault]


def test_a_key_taken_out_is_refused_while_serving(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.jsonl")
    first, second = file.add("first", "client"), file.add("second", "admin")
    clock = Clock()
    ring = KeyRing(tmp_path / "keys.jsonl", clock=clock)
    assert ring.identify(first) == Caller("first", "client")
    file.revoke("first")
    clock.now_s += LOOK_EVERY_S
    assert ring.identify(first) is None
    assert ring.identify(second) == Caller("second", "admin")
    third = file.add("third", "client")
    clock.now_s += LOOK_EVERY_S
    assert ring.identify(third) == Caller("third", "client")


def test_a_damaged_file_keeps_its_good_lines_and_a_missing_one_lets_nobody_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys.jsonl"
    file = KeyFile(path)
    left, gone = file.add("left", "client"), file.add("gone", "client")
    clock = Clock()
    ring = KeyRing(path, clock=clock)
    assert ring.identify(gone) is not None
    path.write_text(path.read_text(encoding="utf-8").splitlines()[0] + "\n{half a li", encoding="utf-8")
    clock.now_s += LOOK_EVERY_S
    with caplog.at_level(logging.ERROR):
        assert ring.identify(left) is not None and ring.identify(gone) is None
    assert f"{path}:2 is not a key" in caplog.text
    path.unlink()
    clock.now_s += LOOK_EVERY_S
    assert ring.identify(left) is None


def test_the_file_is_looked_at_now_and_then_only(tmp_path: Path) -> None:
    clock = Clock()
    ring = KeyRing(tmp_path / "keys.jsonl", clock=clock)
    assert ring.identify("x") is None
    token = KeyFile(tmp_path / "keys.jsonl").add("late", "client")
    clock.now_s += LOOK_EVERY_S / 2
    assert ring.identify(token) is None
    clock.now_s += LOOK_EVERY_S
    assert ring.identify(token) is not None
