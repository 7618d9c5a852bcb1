"""What nvidia-smi lists and what this process may use of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.cluster.devices import free_disk_gib, this_machine, visible_gpus

LISTING = "0, GPU-aaaa-1, 81920\n1, GPU-bbbb-2, 40960\n2, GPU-cccc-3, 24576\n"


@pytest.mark.parametrize(
    ("visible", "gib"),
    [
        (None, [80, 40, 24]),
        ("", []),
        ("0,2", [80, 24]),
        ("1", [40]),
        ("GPU-cccc", [24]),
        ("-1", []),
    ],
)
def test_visible_gpus(visible: str | None, gib: list[float]) -> None:
    assert visible_gpus(LISTING, visible) == gib


def test_no_gpus_listed() -> None:
    assert visible_gpus("", None) == []


def test_this_machine_has_memory() -> None:
    here = this_machine()
    assert here.memory_gib > 0
    assert here.gpus == here.node_gpus


def test_disk_of_a_folder_not_made_yet(tmp_path: Path) -> None:
    assert free_disk_gib(tmp_path / "not" / "yet") > 0
