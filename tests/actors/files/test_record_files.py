"""Records on disk: read back, absent, damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.contract.records import PolicyRef
from actors.errors import SalusError
from actors.files.records import find_record, read_lines, read_record

POLICY = PolicyRef(version="c1-dpo", path="/models/c1-dpo")


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    assert find_record(PolicyRef, path, "a policy") is None
    assert read_lines(PolicyRef, path, "a policy") == []
    path.write_text(POLICY.model_dump_json())
    assert read_record(PolicyRef, path, "a policy") == find_record(PolicyRef, path, "a policy") == POLICY
    path.write_text(f"{POLICY.model_dump_json()}\n{POLICY.model_dump_json()}\n")
    assert read_lines(PolicyRef, path, "a policy") == [POLICY, POLICY]


@pytest.mark.parametrize(
    ("held", "wrong"),
    [
        (b"", "the whole: "),
        (b'{"version": 1, "path": "p"}', "version: Input should be a valid string"),
        (b"\xff", "it is not UTF-8"),
    ],
)
def test_a_damaged_file_is_one_sentence_without_what_it_holds(tmp_path: Path, held: bytes, wrong: str) -> None:
    path = tmp_path / "policy.json"
    path.write_bytes(held)
    with pytest.raises(SalusError) as caught:
        read_record(PolicyRef, path, "a policy", "write it again")
    assert caught.value.sentence.startswith(f"{path} is not a policy ({wrong}")
    assert caught.value.sentence.endswith("); write it again.")


def test_a_folder_in_its_place_and_a_missing_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(SalusError, match=r"is not a policy \(Is a directory\); take it from a copy"):
        read_record(PolicyRef, tmp_path, "a policy")
    with pytest.raises(SalusError, match=r"\(No such file or directory\)"):
        read_record(PolicyRef, tmp_path / "none.json", "a policy")


def test_a_damaged_line_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for damaged in (b"half a li", b"\xff", b"", POLICY.model_dump_json().encode() + b" {}"):
        path.write_bytes(POLICY.model_dump_json().encode() + b"\n" + damaged + b"\n")
        with pytest.raises(SalusError, match=r"log\.jsonl, line 2 is not a policy"):
            read_lines(PolicyRef, path, "a policy")
    path.unlink()
    path.symlink_to("/proc/self/mem")
    with pytest.raises(SalusError, match=r"log\.jsonl cannot be read \("):
        read_lines(PolicyRef, path, "a policy")


def test_a_half_line_at_the_end_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    line = POLICY.model_copy(update={"path": "/a\u2028b\x85c"}).model_dump_json().encode() + b"\n"
    for half in (b"", b'{"ver', b"\xff\x00", line.rstrip()):
        path.write_bytes(line + half)
        assert [policy.path for policy in read_lines(PolicyRef, path, "a policy")] == ["/a\u2028b\x85c"]
    path.write_bytes(b'{"ver')
    assert read_lines(PolicyRef, path, "a policy") == []
