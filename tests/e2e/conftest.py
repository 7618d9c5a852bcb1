"""The tiny deployed policy, its judge and its recipe, built once for all end-to-end tests."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from actors.errors import SalusError
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from tests.e2e.deployed import build_judge, build_policy, write_probe, write_requests
from tests.e2e.whole_run import Aligned, whole_run
from tests.free_port import free_port

MODELS = {"policy": build_policy, "judge": build_judge}
TINY = Path(__file__).parent / "tiny.yaml"


@pytest.fixture(scope="session", autouse=True)
def each_starts_its_ray(own_ray: None) -> None:
    """Each of these tests starts a Ray of its own."""


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `policy/`, `judge/`, `requests.jsonl` and a probe in `or-bench/`."""
    root = tmp_path_factory.mktemp("deployed")
    # A tiny model gains nothing from a second core; two models do.
    with ProcessPoolExecutor(len(MODELS), multiprocessing.get_context("spawn")) as processes:
        built = [processes.submit(build, root / name) for name, build in MODELS.items()]
        for model in built:
            model.result()
    write_requests(root / "requests.jsonl")
    write_probe(root / "or-bench")
    return root


@pytest.fixture(scope="session")
def settings(deployed: Path) -> list[str]:
    """What `tests/e2e/tiny.yaml` leaves to be set."""
    return [
        f"model.path={deployed / 'policy'}",
        f"judge.path={deployed / 'judge'}",
        f"data.path={deployed / 'requests.jsonl'}",
        "data.probe=or-bench",
        f"data.probe_path={deployed / 'or-bench'}",
        f"publish.port={free_port()}",
    ]


@pytest.fixture(scope="session")
def recipe(settings: list[str]) -> Recipe:
    """Two generators, a judge, two workers for each of KTO and DPO."""
    try:
        return load_recipe(str(TINY), settings)
    except SalusError as error:
        pytest.fail(str(error))


@pytest.fixture(scope="session")
def aligned(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Aligned:
    """The tiny recipe from its first cycle to its last, with nothing in its way; registers what it published."""
    runs = tmp_path_factory.mktemp("runs")
    registering = recipe.publish.model_copy(update={"registry": runs / "registry"})
    tracking = ("tensorboard",) if find_spec("tensorboard") is not None else ()
    return whole_run(recipe.model_copy(update={"publish": registering, "tracking": tracking}), runs / "tiny")
