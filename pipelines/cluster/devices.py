"""What a machine has: GPUs, memory and disk, read without importing torch or Ray."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import psutil

from actors.contract.records import Record

GIB = 2**30
NVIDIA_SMI_TIMEOUT_S = 20
# The first release of NVIDIA's driver that runs CUDA 13, for which the torch of salus[cuda] is built.
LEAST_DRIVER = 580


class Resources(Record):
    """What a run may use. `cpus` None: as many slots as it asks for, on shared cores (embedded Ray)."""

    where: str
    # A cluster that others use too and that may grow; False: this machine.
    shared: bool = False
    cpus: float | None
    gpus: float
    memory_gib: float
    # GPUs of the largest node.
    node_gpus: float
    # Of the smallest GPU; None: not known.
    gpu_memory_gib: float | None
    # Version of NVIDIA's driver; None: not known, as on a cluster.
    driver: str | None = None


def this_machine() -> Resources:
    """This machine, with the memory that is free now."""
    memories = gpu_memories_gib()
    return Resources(
        where="this machine",
        cpus=None,
        gpus=len(memories),
        node_gpus=len(memories),
        memory_gib=round(psutil.virtual_memory().available / GIB, 1),
        gpu_memory_gib=min(memories, default=None),
        driver=driver_version() if memories else None,
    )


def gpu_memories_gib(of_process: bool = True) -> list[float]:
    """Memory of each NVIDIA GPU this process may use, or of each of the machine; empty where the driver is missing."""
    listing = _nvidia_smi("index,uuid,memory.total")
    return visible_gpus(listing, os.environ.get("CUDA_VISIBLE_DEVICES") if of_process else None) if listing else []


def has_driver() -> bool:
    """Whether the program of NVIDIA's driver is on the PATH."""
    return shutil.which("nvidia-smi") is not None


def driver_version() -> str | None:
    """The version of NVIDIA's driver, as 580.65.06; None where there is none, or it does not answer."""
    lines = (_nvidia_smi("driver_version") or "").splitlines()
    return lines[0].strip() if lines else None


def new_enough(driver: str) -> bool:
    """Whether a driver of this version runs salus[cuda]; one that cannot be read is taken to be."""
    major = driver.strip().split(".")[0]
    return not major.isdigit() or int(major) >= LEAST_DRIVER


def _nvidia_smi(query: str) -> str | None:
    """What the driver's own program says of each GPU, a line each; None where it is missing or fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        asked = subprocess.run(
            [program, f"--query-gpu={query}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=NVIDIA_SMI_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return asked.stdout if asked.returncode == 0 else None


def visible_gpus(listing: str, visible: str | None) -> list[float]:
    """GiB of each GPU of `index, uuid, MiB` lines that CUDA_VISIBLE_DEVICES lets through (None: all)."""
    gpus = [[cell.strip() for cell in line.split(",")] for line in listing.splitlines() if line.strip()]
    wanted = None if visible is None else [name.strip() for name in visible.split(",") if name.strip()]
    return [
        float(mib) / 1024
        for index, uuid, mib in gpus
        if wanted is None
        or index in wanted
        or any(name.startswith("GPU-") and uuid.startswith(name) for name in wanted)
    ]


def free_disk_gib(folder: Path) -> float:
    """Free space where `folder` is or would be made."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free / GIB
