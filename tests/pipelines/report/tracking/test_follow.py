"""Trackers are told all of a run, once, over several sessions; and one that fails ends none."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import pytest

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.report.tracking import follow, port
from pipelines.report.tracking.feed import read_feed
from pipelines.report.tracking.follow import TrackingRecord, tell, tracked
from pipelines.report.tracking.port import Ending, Setting, TrackedPolicy, TrackedRun, check_trackers
from pipelines.runs.checksums import check_sums
from pipelines.runs.finished.shape import recipe_of_run
from pipelines.runs.store.contents import snapshot
from tests.pipelines.report.tracking.curves import put_curve


class NotedTracker:
    """Notes what it is told, and fails at a file of a given name."""

    def __init__(self, refused: str = "") -> None:
        self.run_id = "noted-1"
        self.refused = refused
        self.said: list[str] = []
        self.steps: dict[str, list[int]] = {}
        self.rows: dict[str, dict[int, Mapping[str, float]]] = {}
        self.policies: dict[str, TrackedPolicy] = {}
        self.ending: Ending | None = None

    def settings(self, values: Mapping[str, Setting]) -> None:
        self.said.append(f"settings {values['seed']}")

    def figures(self, axis: str, rows: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        for step, row in rows:
            self.steps.setdefault(axis, []).append(step)
            self.rows.setdefault(axis, {})[step] = row

    def sentence(self, name: str, text: str) -> None:
        self.said.append(name)

    def file(self, name: str, path: Path) -> None:
        if name == self.refused:
            raise ConnectionError("the server went away\n  and came not back")
        self.said.append(name)

    def policy(self, policy: TrackedPolicy) -> None:
        self.policies[policy.version] = policy

    def close(self, ending: Ending) -> None:
        self.ending = ending


def opens(monkeypatch: pytest.MonkeyPatch, *trackers: NotedTracker) -> list[TrackedRun]:
    """Each session of the run gets the next of these; returns what they were opened with."""
    asked: list[TrackedRun] = []

    def next_tracker(name: str, run: TrackedRun) -> NotedTracker:
        asked.append(run)
        return trackers[len(asked) - 1]

    monkeypatch.setattr(follow, "open_tracker", next_tracker)
    return asked


@pytest.fixture
def recipe(run: RunFolder) -> Recipe:
    return recipe_of_run(run).model_copy(update={"tracking": ("mlflow",)})


def test_a_run_tells_curves_cycles_decisions_and_artefacts(run: RunFolder, recipe: Recipe) -> None:
    put_curve(run, 1, "kto", 4)
    put_curve(run, 2, "kto", 3)
    put_curve(run, 2, "dpo", 2)
    tracker = NotedTracker()
    tell(tracker, {}, {}, read_feed(run, recipe))
    # The steps of a cycle are counted on from those before.
    assert tracker.steps == {
        "train/kto/step": [1, 2, 3, 4, 5, 6, 7], "train/dpo/step": [1, 2], "cycle": [1, 2], "test/cycle": [2],
    }  # fmt: skip
    assert tracker.rows["train/kto/step"][6] == {
        "train/kto/loss": 0.5, "train/kto/learning_rate": 1e-4, "train/kto/rewards/margins": 0.2,
    }  # fmt: skip
    cycle = tracker.rows["cycle"][1]
    assert cycle["validation/champion/ss"] == 0.5 and cycle["decision/published"] == 1.0
    assert cycle["validation/kto/ss_low"] <= cycle["validation/kto/ss"] <= cycle["validation/kto/ss_high"]
    assert {"test/base/ss", "test/champion/err_strict"} <= set(tracker.rows["test/cycle"][2])
    assert {"decision/01", "decision/02", "settings 7"} <= set(tracker.said)
    assert {"recipe.yaml", "cycles/01/decision.json", "metrics.parquet", "summary.json"} <= set(tracker.said)
    assert {name: of.alias for name, of in tracker.policies.items()} == {"c1-kto": None, "c2-dpo": "champion"}
    assert tracker.policies["c2-dpo"].sentence.startswith("Cycle 2: dpo replaces")


def test_no_figure_has_the_name_of_a_folder_of_others(run: RunFolder, recipe: Recipe) -> None:
    """MLflow's file store keeps a figure in a file of its name."""
    put_curve(run, 1, "kto", 1)
    tracker = NotedTracker()
    tell(tracker, {}, {}, read_feed(run, recipe))
    names = {name for rows in tracker.rows.values() for row in rows.values() for name in row}
    folders = {parent.as_posix() for name in names for parent in PurePosixPath(name).parents}
    assert names and not names & folders


def test_no_prompt_and_no_answer_is_told(run: RunFolder, recipe: Recipe) -> None:
    files = set(read_feed(run, recipe).files)
    private = ("prompts/", "rollouts/", "judgments/", "rows/", "judged_by/", "decision.html", "decision.md", "control")
    assert files and not [name for name in files if any(each in name for each in private)]


def test_a_policy_that_may_not_go_live_is_the_challenger(run: RunFolder, recipe: Recipe) -> None:
    text = run.decision(2).read_text()
    run.decision(2).write_text(
        text.replace('"publish":true', '"publish":false').replace('"publish": true', '"publish": false')
    )
    aliases = {each.version: each.alias for each in read_feed(run, recipe).policies}
    assert aliases == {"c1-kto": "champion", "c2-dpo": "challenger"}


def test_a_resumed_run_goes_on_in_the_same_tracker_run_and_repeats_nothing(
    run: RunFolder, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = NotedTracker(), NotedTracker()
    asked = opens(monkeypatch, first, second)
    told: list[str] = []
    later = run.root / "cycles" / "02"
    shutil.move(later, run.root.parent / "later")
    put_curve(run, 1, "kto", 4)
    with pytest.raises(SalusError), tracked(recipe, run, told.append):
        raise SalusError("The engine died.")
    assert (first.ending, first.steps["train/kto/step"], first.steps["cycle"]) == ("failed", [1, 2, 3, 4], [1])

    shutil.move(run.root.parent / "later", later)
    put_curve(run, 1, "kto", 6)
    with tracked(recipe, run, told.append):
        pass
    assert [each.known for each in asked] == [None, "noted-1"]
    assert (second.ending, second.steps["train/kto/step"], second.steps["cycle"]) == ("finished", [5, 6], [2])
    assert "settings 7" in first.said and "settings 7" not in second.said
    assert "cycles/01/decision.json" not in second.said and "cycles/02/decision.json" in second.said
    assert not told


def test_a_tracker_that_fails_is_told_of_once_and_the_next_session_tells_the_rest(
    run: RunFolder, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = NotedTracker(refused="summary.json"), NotedTracker()
    opens(monkeypatch, first, second)
    told: list[str] = []
    with tracked(recipe, run, told.append):
        pass
    assert told == [
        "mlflow is no longer told of this run (ConnectionError: the server went away and came not back); the run is not"
        " touched by that, and the same command tells the rest"
    ]
    with tracked(recipe, run, told.append):
        pass
    assert len(told) == 1
    assert "summary.json" in second.said and "metrics.parquet" not in second.said and not second.steps


def test_one_that_hangs_is_waited_for_and_left(run: RunFolder, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    gate = threading.Event()
    monkeypatch.setattr(follow, "open_tracker", lambda name, of: gate.wait())
    thread = follow.TrackerThread("wandb", run, recipe, follow._Records(run), told.append)
    thread.start()
    thread.close("finished", timeout_s=0.05)
    gate.set()
    assert told[0].startswith("wandb has not taken all of this run after 0.05 s")


def test_what_trackers_were_told_is_stored_and_is_none_of_the_sums(
    run: RunFolder, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens(monkeypatch, NotedTracker())
    with tracked(recipe, run, lambda sentence: None):
        pass
    record = TrackingRecord.model_validate_json(run.tracking.read_text())
    assert record.trackers["mlflow"].run_id == "noted-1"
    assert check_sums(run).intact and "tracking.json" in snapshot(run)


def test_a_tracker_that_is_not_installed_is_refused_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port, "find_spec", lambda package: None)
    check_trackers(())
    with pytest.raises(SalusError) as refused:
        check_trackers(load_recipe("demo", ["tracking=[mlflow,trackio]"]).tracking)
    assert refused.value.sentence == (
        "tracking names mlflow, trackio, which are not installed; install Salus with the extra:"
        " pip install 'salus[mlflow,trackio]'."
    )
