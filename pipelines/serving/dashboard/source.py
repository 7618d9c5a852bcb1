"""The dashboard's data from a run folder and a registry, also while the run goes on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from actors.contract.publication import Publication, read_publications
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.serve.pages.dashboard_data import (
    ControlLine,
    CurveLine,
    DashboardData,
    DecisionLine,
    Parent,
    Point,
    Range,
    RunCost,
    RunFacts,
    TestLine,
)
from actors.training.algorithms.table import marks
from pipelines.config.recipe import Recipe
from pipelines.decision.record import Decision, read_decision
from pipelines.registry.history import Change
from pipelines.registry.stored import open_registry
from pipelines.runs.finished.busy import is_finished
from pipelines.runs.finished.shape import recipe_of_run
from pipelines.runs.summary import Measured, Summary, TestFigures, find_summary
from pipelines.serving.dashboard.changes import current_policy, lineage_of_registry, lineage_of_run, publication_lines
from pipelines.serving.dashboard.control import control_lines
from pipelines.serving.dashboard.judge import judge_calibration
from pipelines.serving.dashboard.points import curve_lines, judged_points, true_points

Piece = TypeVar("Piece")
TESTED = {
    "base": "deployed model",
    "champion": "champion",
    "always_refuse": "always refuses",
    "always_answer": "always answers",
    "keyword_refuse": "refuses by keyword",
    "bigram_refuse": "refuses by pairs of words",
    "fivegram_refuse": "refuses by phrases of five words",
}


class Missing:
    """Collects the sentences of one reading."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def ask(self, read: Callable[[], Piece], otherwise: Piece) -> Piece:
        """What `read` gives, or `otherwise` and a sentence more."""
        try:
            return read()
        except SalusError as error:
            self.tell(error.sentence)
        except OSError as error:
            # A file may go while it is read: a run begun anew, or garbage collection.
            self.tell(f"{error.filename or 'A file of the run'} cannot be read ({error.strerror or error}).")
        return otherwise

    def tell(self, sentence: str) -> None:
        if sentence not in self.sentences:
            self.sentences.append(sentence)


# Answers on which reviewers agree, by their keys; raises SalusError where the labels cannot be read.
Agreed = Callable[[], Collection[str]]


def read_dashboard(run: Path, registry: Path | None = None, agreed: Agreed = tuple) -> DashboardData:
    """All there is by now; what is missing is told in sentences, and nothing raises."""
    return _Reading(RunFolder(run), registry, agreed).data()


class _Reading:
    """One look at a run; each piece is read by itself, so that a damaged one hides no other."""

    def __init__(self, folder: RunFolder, registry: Path | None, agreed: Agreed) -> None:
        self._folder = folder
        self._agreed = agreed
        self._missing = Missing()
        self._registry = self._missing.ask(lambda: open_registry(registry) if registry is not None else None, None)

    def data(self) -> DashboardData:
        folder, ask = self._folder, self._missing.ask
        recipe = ask(lambda: recipe_of_run(folder), None)
        decisions = self._decisions()
        summary = ask(lambda: find_summary(folder.summary), None)
        nothing_live: list[Publication] = []
        publications = ask(lambda: read_publications(folder.publications), nothing_live)
        changes = self._changes()
        calibration = ask(lambda: judge_calibration(folder, recipe), None)
        no_truth: list[Point] = []
        points = (*judged_points(decisions), *ask(lambda: true_points(folder), no_truth))
        no_curves: tuple[CurveLine, ...] = ()
        curves = ask(lambda: curve_lines(folder, recipe), no_curves)
        no_keys: Collection[str] = ()
        no_control: tuple[ControlLine, ...] = ()
        control = ask(partial(control_lines, folder, ask(self._agreed, no_keys)), no_control)
        drawn = [p.contender for p in points if p.contender not in ("base", "champion")]
        self._tell(recipe, decisions, publications, summary, calibration is not None)
        return DashboardData(
            run=self._facts(recipe, len(decisions)),
            current=current_policy(publications, changes, decisions),
            lineage=self._lineage(decisions, changes),
            points=points,
            curves=curves,
            marks=marks([*drawn, *(line.challenger for line in curves)]),
            decisions=tuple(_decision_line(folder, each) for each in decisions),
            test=_test_lines(summary),
            test_judged_by=summary.test_judged_by if summary is not None else None,
            publications=publication_lines(publications, changes),
            calibration=calibration,
            control=control,
            cost=_cost(summary),
            missing=tuple(self._missing.sentences),
        )

    def _decisions(self) -> list[Decision]:
        """Those without a gap, up to one that cannot be read."""
        found: list[Decision] = []
        while (path := self._folder.decision(len(found) + 1)).is_file():
            decision = self._missing.ask(partial(read_decision, path), None)
            if decision is None:
                break
            found.append(decision)
        return found

    def _changes(self) -> tuple[Change, ...]:
        registry = self._registry
        return () if registry is None else self._missing.ask(registry.history.changes, ())

    def _lineage(self, decisions: Sequence[Decision], changes: Sequence[Change]) -> tuple[Parent, ...]:
        """Over all runs where the registry knows what is current, else over this run's champions."""
        registry = self._registry
        if registry is not None and changes:
            version = changes[-1].version
            unknown: tuple[Parent, ...] = ()
            known = self._missing.ask(lambda: lineage_of_registry(registry, version), unknown)
            if known:
                return known
        return lineage_of_run(self._folder.root.name, decisions)

    def _facts(self, recipe: Recipe | None, decided: int) -> RunFacts | None:
        if recipe is None:
            return None
        finished = self._missing.ask(lambda: is_finished(self._folder), False)
        return RunFacts(
            name=self._folder.root.name,
            recipe=recipe.name,
            seed=recipe.seed,
            cycles_done=decided,
            cycles=recipe.cycles,
            state="finished" if finished else "running",
        )

    def _tell(
        self,
        recipe: Recipe | None,
        decisions: Sequence[Decision],
        publications: Sequence[Publication],
        summary: Summary | None,
        calibrated: bool,
    ) -> None:
        """What a reader would look for and not find."""
        if recipe is None:
            return
        if not decisions:
            self._missing.tell("No cycle has been decided yet.")
        if not publications:
            off = "" if recipe.publish.enabled else ": the recipe publishes nothing"
            self._missing.tell(f"Nothing has gone live yet{off}.")
        if summary is None:
            self._missing.tell("The final test comes when the run ends.")
        if not calibrated:
            self._missing.tell("The judge was not held against trusted labels yet.")


def find_page(folder: RunFolder, cycle: int) -> str | None:
    """The page of a cycle's decision as HTML; None where there is none.

    Raises:
        SalusError: it cannot be read.
    """
    path = folder.decision_html(cycle)
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else None
    except (OSError, UnicodeDecodeError) as error:
        raise SalusError(f"{path} cannot be read ({type(error).__name__}); run salus decide for that cycle.") from error


def _decision_line(folder: RunFolder, decision: Decision) -> DecisionLine:
    return DecisionLine(
        cycle=decision.cycle,
        chosen=decision.chosen,
        policy=decision.policy or decision.chosen,
        published=decision.let_live,
        sentence=decision.sentence,
        publish_sentence=decision.publication_sentence,
        page=folder.decision_html(decision.cycle).is_file(),
    )


def _cost(summary: Summary | None) -> RunCost | None:
    if summary is None:
        return None
    use = summary.gpu_use
    return RunCost(
        wall_s=summary.wall_s,
        gpu_hours=use.gpu_hours if use is not None else None,
        busy_share=use.busy_share if use is not None else None,
        money=use.money if use is not None else None,
        judge=summary.judge_usage,
    )


def _test_lines(summary: Summary | None) -> tuple[TestLine, ...]:
    if summary is None:
        return ()
    given: dict[str, TestFigures | None] = {name: getattr(summary.test, name) for name in TESTED}
    # Summaries of earlier versions have fewer baselines.
    figures = {name: of for name, of in given.items() if of is not None}
    return tuple(
        TestLine(
            name=TESTED[name],
            ss=_range(of.ss),
            err_strict=_range(of.err_strict),
            asr=_range(of.asr),
            answered=_range(of.answered),
            n=of.n,
        )
        for name, of in figures.items()
    )


def _range(measured: Measured | None) -> Range | None:
    return Range.model_validate(measured.model_dump()) if measured is not None else None
