"""The models a run began with: the very same ones whenever, and on whatever machine, the run is taken up again.

Their content hashes are in `run.json`. A run may keep copies of them (`self_contained`), which are taken before
anything outside of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from actors.contract.records import PolicyRef
from actors.contract.run_folder import ModelRole, RunFolder
from actors.engine.sampling_defaults import sampling_defaults
from actors.errors import SalusError
from actors.files.full_disk import FullDiskError
from pipelines.cluster.progress import Reporter
from pipelines.config.recipe import Recipe
from pipelines.runs.contents import MODEL_FILES, Contents, contents_of, copy_whole
from pipelines.runs.materials import BASE_VERSION, Materials, gather_own_judge, gather_policy, judge_name
from pipelines.runs.open import ModelNote, note_model, note_sampling, noted_model
from pipelines.runs.prompts.lengths import check_run_lengths

_CALLED: dict[ModelRole, str] = {"policy": "deployed policy", "judge": "judge's model"}
_DIGITS = 12


def models_of_run(
    recipe: Recipe, folder: RunFolder, reporter: Reporter, check: Callable[[], None] = lambda: None
) -> Materials:
    """The run's deployed policy and its judge, built, fetched, or taken from the run; for the holder of its lease.

    Args:
        check: raises SalusError once the run folder is another process's; asked before anything is written there.

    Raises:
        SalusError: one is not here, is another than the run began with, or holds fewer tokens than its engine is set
            to; as `gather_models` raises.
    """
    taking = _Taking(recipe, folder, reporter, check)
    policy = taking.take("policy", lambda: gather_policy(recipe, reporter), lambda _: BASE_VERSION)
    judge = None
    if recipe.judge.row.weights == "own":
        judge = taking.take(
            "judge",
            lambda: gather_own_judge(recipe, reporter),
            lambda came_from: judge_name(recipe.judge.regimen, came_from),
        )
    check_run_lengths(recipe, policy, judge)
    note_sampling(folder, sampling_defaults(Path(policy.path)))
    return Materials(policy=policy, judge=judge)


def at_hand(recipe: Recipe, materials: Materials) -> Recipe:
    """The recipe with the folders its models were found in: what plans by their size looks there."""
    model, judge = recipe.model, recipe.judge
    if model.source == "folder":
        model = model.model_copy(update={"path": materials.policy.path})
    if judge.source == "folder" and materials.judge is not None:
        judge = judge.model_copy(update={"path": materials.judge.path})
    return recipe.model_copy(update={"model": model, "judge": judge})


@dataclass(frozen=True)
class _Taking:
    recipe: Recipe
    folder: RunFolder
    reporter: Reporter
    check: Callable[[], None]

    def take(self, role: ModelRole, gather: Callable[[], PolicyRef | None], name: Callable[[Path], str]) -> PolicyRef:
        """One model; `name` is what one of a folder of this name is called."""
        known, kept = noted_model(self.folder, role), self.folder.kept_model(role)
        if known is not None and known.sha256 is not None and kept.is_dir():
            self._hold(role, kept, known.sha256)
            # Under the name it had: judgments are found by it.
            return PolicyRef(version=name(Path(known.path)), path=str(kept))
        found = self._gathered(role, gather, known)
        contents = self._hold(role, Path(found.path), known.sha256 if known is not None else None)
        # Building or reading it may have taken minutes.
        self.check()
        note_model(self.folder, role, ModelNote(path=found.path, sha256=contents.sha256))
        return self._kept(role, found, contents) if self.recipe.self_contained else found

    def _gathered(self, role: ModelRole, gather: Callable[[], PolicyRef | None], known: ModelNote | None) -> PolicyRef:
        try:
            found = gather()
        except FullDiskError:
            raise
        except SalusError as error:
            if known is None or known.sha256 is None:
                raise
            raise SalusError(
                f"{error.sentence} {self.folder.root} began with a {_CALLED[role]} of SHA-256"
                f" {known.sha256[:_DIGITS]} in {known.path}. Put that model where this machine looks for it. Runs with"
                " self_contained=true keep copies of their models."
            ) from error
        assert found is not None
        return found

    def _hold(self, role: ModelRole, place: Path, known: str | None) -> Contents:
        """What a model holds, held against the one the run began with."""
        contents = contents_of(place, MODEL_FILES)
        if known is not None and known != contents.sha256:
            raise SalusError(
                f"The {_CALLED[role]} in {place} is not the one {self.folder.root} began with (SHA-256"
                f" {contents.sha256[:_DIGITS]} instead of {known[:_DIGITS]}); put that one there, or begin anew with"
                " --fresh."
            )
        return contents

    def _kept(self, role: ModelRole, found: PolicyRef, contents: Contents) -> PolicyRef:
        """The same model in its copy in the run folder."""
        copy = self.folder.kept_model(role)
        copy_whole(Path(found.path), contents, copy)
        self.reporter.say(f"{copy} is the run's copy of its {_CALLED[role]}")
        return found.model_copy(update={"path": str(copy)})
