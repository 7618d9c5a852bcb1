"""A run folder as the registry reads it: its recipe, record, publications and decisions; nothing is changed there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from actors.contract.publication import Publication, read_publications
from actors.contract.records import ChallengerName
from actors.contract.run_folder import MERGE, SFT, SFT_CYCLE, RunFolder
from actors.errors import SalusError
from pipelines.config.load import load_run_recipe
from pipelines.config.recipe import Recipe
from pipelines.decision.ending import past_decisions
from pipelines.decision.record import CandidateResult, Decision, read_decision
from pipelines.registry.names import RunVersion, read_run_version
from pipelines.runs.open import read_run_record


class RunReader:
    """One run, finished or running.

    Raises:
        SalusError: it is not a run folder, or its recipe is of another version of Salus.
    """

    def __init__(self, root: Path) -> None:
        self.folder = RunFolder(root)
        if not (self.folder.recipe.is_file() and self.folder.run_record.is_file()):
            raise SalusError(f"{root} is not a run folder: it has no recipe.yaml and run.json.")
        self.recipe: Recipe = load_run_recipe(self.folder.recipe)
        self.record = read_run_record(self.folder)

    @cached_property
    def publications(self) -> tuple[Publication, ...]:
        """Every publication, oldest first.

        Raises:
            SalusError: a line is not one.
        """
        return tuple(read_publications(self.folder.publications))

    def published(self) -> tuple[RunVersion, ...]:
        """Every version that ever went live or awaits approval, once each, oldest first; those that wait come last.

        A run without an endpoint published what its decisions let go live, and before that the deployed model.

        Raises:
            SalusError: there is none, or one has a name no run gives.
        """
        names = dict.fromkeys(publication.version for publication in self.publications)
        if not self.recipe.publish.enabled:
            names |= dict.fromkeys(self._decided())
        names |= dict.fromkeys(self.awaiting())
        if not names:
            raise SalusError(
                f"{self.folder.root} has published no policy (no publications.jsonl); run it with"
                " --set publish.enabled=true."
            )
        return tuple(read_run_version(name, str(self.folder.publications)) for name in names)

    def _decided(self) -> list[str]:
        decisions = past_decisions(self.folder, self.recipe.cycles)
        live = [each.policy for each in decisions if each.let_live and each.policy is not None]
        return ["c0-base", *live] if decisions else []

    def awaiting(self) -> tuple[str, ...]:
        """Versions that passed every gate and may be served once a person approves them, oldest first."""
        decisions = past_decisions(self.folder, self.recipe.cycles)
        return tuple(each.policy for each in decisions if each.approval is not None and each.policy is not None)

    def decision(self, version: RunVersion) -> Decision | None:
        """The decision that knew this version: that of its cycle, or of the first for the deployed model.

        Raises:
            SalusError: a challenger's cycle has none, or it does not name the challenger.
        """
        cycle = max(version.cycle, 1)
        path = self.folder.decision(cycle)
        if not path.is_file():
            if version.challenger is None:
                return None
            raise SalusError(f"{path} is not there, though {version.text} was published; register a whole run folder.")
        decision = read_decision(path)
        if version.challenger is not None and decision.chosen != version.challenger:
            raise SalusError(f"{path} did not choose {version.text}, which was published; was it changed by hand?")
        return decision

    def algorithm(self, name: ChallengerName) -> str:
        """What a challenger was trained with, or how it was made: merged of others, or fine-tuned at first.

        Raises:
            SalusError: the recipe names no such challenger.
        """
        if name in (MERGE, SFT):
            return name
        algorithm = self.recipe.train.algorithms.get(name)
        if algorithm is None:
            raise SalusError(f"{self.folder.recipe} names no challenger {name}, which was published; was it changed?")
        return algorithm

    def ancestors(self, version: RunVersion) -> Iterator[RunVersion]:
        """The champions a version descends from, nearest first, down to the deployed model."""
        while version.challenger is not None:
            if version.cycle == SFT_CYCLE:
                yield RunVersion(text="c0-base", cycle=SFT_CYCLE, challenger=None)
                return
            decision, path = self.decision(version), str(self.folder.decision(version.cycle))
            parent = read_run_version((decision.champion.policy if decision else None) or "", path)
            if parent.cycle >= version.cycle:
                raise SalusError(f"{path} lets {version.text} descend from {parent.text}; was it changed by hand?")
            yield parent
            version = parent

    def weights(self, version: RunVersion) -> Path:
        """The folder of a version's merged weights; the deployed model's is outside, or in the run's copy."""
        if version.challenger is not None:
            return Path(self.folder.challenger(version.cycle, version.challenger).path)
        kept = self.folder.kept_model("policy")
        return kept if kept.is_dir() else Path(self.record.policy_path or next(iter(self.publications)).path)


def candidate(decision: Decision, version: RunVersion) -> CandidateResult | None:
    """What a decision knew of a version."""
    name = version.challenger or "champion"
    return next((found for found in (decision.champion, *decision.challengers) if found.name == name), None)
