"""The port through which a tracker is told of a run, and the table of the trackers there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol

from actors.errors import SalusError
from pipelines.config.recipe import TrackerName

# How a session of a run came to its end.
Ending = Literal["finished", "failed", "stopped"]
Setting = str | int | float | bool
# What a policy is to readers of a tracker's registry.
Alias = Literal["champion", "challenger"]


@dataclass(frozen=True)
class TrackedRun:
    """The run as a tracker is told of it."""

    # The recipe's name: MLflow's experiment and registered model, the project of W&B and Trackio.
    project: str
    # The run folder's name.
    name: str
    # The run folder. TensorBoard's files are beside it.
    root: Path
    # The tracker's own id of this run, where an earlier session began it.
    known: str | None = None


@dataclass(frozen=True)
class TrackedPolicy:
    """A policy that won a cycle."""

    version: str
    cycle: int
    # champion: the last that a decision let go live. challenger: the newest winner, while it may not.
    alias: Alias | None
    # Why it won, and why it is or is not published.
    sentence: str
    # Its adapter, where it has one.
    adapter: Path | None
    weights: Path


class Tracker(Protocol):
    """One run at one tracker, opened; what a tracker has no place for, it leaves out.

    Life: opened -> any calls -> `close`. Each call may raise whatever the tracker's client raises.
    """

    @property
    def run_id(self) -> str:
        """By which the same run is opened again."""

    def settings(self, values: Mapping[str, Setting]) -> None:
        """The run's settings, by dotted name."""

    def figures(self, axis: str, rows: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        """Figures by name at steps that rise; `axis` is the name of the steps, as train/kto/step or cycle."""

    def sentence(self, name: str, text: str) -> None:
        """Words on a part of the run, as the decision of a cycle."""

    def file(self, name: str, path: Path) -> None:
        """A file of the run, under its name in the run folder."""

    def policy(self, policy: TrackedPolicy) -> None:
        """A policy for the tracker's registry of models; told again where its alias is another."""

    def close(self, ending: Ending) -> None:
        """All is told; returns when it has reached the tracker."""


@dataclass(frozen=True)
class TrackerKind:
    """What one tracker needs."""

    # The package that is imported, and what pip installs.
    package: str
    extra: str
    # Its file in this folder, which has a function `open_tracker`.
    module: str


TRACKERS: Mapping[TrackerName, TrackerKind] = {
    "mlflow": TrackerKind("mlflow", "mlflow", "mlflow"),
    "wandb": TrackerKind("wandb", "wandb", "wandb"),
    "tensorboard": TrackerKind("tensorboard", "tensorboard", "tensorboard"),
    "trackio": TrackerKind("trackio", "trackio", "trackio"),
}


def check_trackers(names: Iterable[TrackerName]) -> None:
    """Raise SalusError where the client of a tracker is not installed; imports none of them."""
    missing = [name for name in names if find_spec(TRACKERS[name].package) is None]
    if missing:
        extras = ",".join(TRACKERS[name].extra for name in missing)
        raise SalusError(
            f"tracking names {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed; install"
            f" Salus with the extra: pip install 'salus[{extras}]'."
        )


def open_tracker(name: TrackerName, run: TrackedRun) -> Tracker:
    """The run at one tracker: the one that `run.known` names, or a new one. Raises what its client raises."""
    found: Tracker = import_module(f"pipelines.report.tracking.{TRACKERS[name].module}").open_tracker(run)
    return found
