"""What nvidia-smi lists and what this process may use of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelines.cluster.devices import (
    driver_version,
    free_disk_gib,
    gpu_memories_gib,
    has_driver,
    new_enough,
    this_machine,
    visible_gpus,
)

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


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, driver: str, status: int = 0) -> None:
    """A program nvidia-smi on the PATH that lists three GPUs."""
    gpus = LISTING.replace("\n", "\\n")
    program = folder / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\n"
        f'case "$1" in *driver_version*) printf "{driver}\\n{driver}\\n{driver}\\n" ;; *) printf "{gpus}" ;; esac\n'
        f"exit {status}\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_the_drivers_own_program_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "570.86.15")
    assert has_driver() and driver_version() == "570.86.15"
    here = this_machine()
    assert (here.gpus, here.gpu_memory_gib, here.driver) == (3, 24, "570.86.15")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    # What a task that reserves no GPU is shown, and what its node has.
    assert (gpu_memories_gib(), gpu_memories_gib(of_process=False)) == ([], [80, 40, 24])
    stand_in(tmp_path, monkeypatch, "570.86.15", status=9)
    assert has_driver() and driver_version() is None and gpu_memories_gib() == []


def test_drivers_before_cuda_13_are_too_old() -> None:
    assert [new_enough(version) for version in ("579.99", "570.86.15", "580.65.06", "600", "[N/A]")] == [
        False, False, True, True, True
    ]  # fmt: skip


def test_no_gpus_listed() -> None:
    assert visible_gpus("", None) == []


def test_this_machine_has_memory() -> None:
    here = this_machine()
    assert here.memory_gib > 0
    assert here.gpus == here.node_gpus


def test_disk_of_a_folder_not_made_yet(tmp_path: Path) -> None:
    assert free_disk_gib(tmp_path / "not" / "yet") > 0
