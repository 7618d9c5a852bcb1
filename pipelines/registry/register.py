"""From a run to the registry: each policy that ever went live becomes an entry; what is there already is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from actors.contract.records import Record
from actors.contract.run_folder import RunFolder
from actors.engine.chat_format import chat_format_of
from actors.engine.sampling_defaults import sampling_defaults
from actors.errors import SalusError
from actors.files.private import private_files
from actors.files.shards import write_text
from actors.files.sums import file_sum
from actors.serve.replica.scheme.asked import SCHEME_FILE
from actors.training.adapter import ADAPTER_CONFIG
from pipelines.cluster.progress import Reporter
from pipelines.config.recipe import Recipe
from pipelines.decision.published import LivePolicy
from pipelines.registry.cards.policy import model_card
from pipelines.registry.entry import Ancestor, DeployedModel, KeptScheme, Origin, PolicyEntry, Weights
from pipelines.registry.evidence import judge_facts, tested, training_data, validation
from pipelines.registry.names import RunVersion, check_name, policy_version
from pipelines.registry.run_reader import RunReader
from pipelines.registry.store import Registry
from pipelines.registry.stored import open_registry
from pipelines.runs.checksums import run_hash
from pipelines.runs.contents import ADAPTER_FILES, MODEL_FILES, Contents, contents_of, in_place

# new: was not there. refreshed: the run knows more by now. kept: nothing is new. left_out: its weights are gone.
State = Literal["new", "refreshed", "kept", "left_out"]


@dataclass(frozen=True)
class RegisterOptions:
    """What of a run is registered, and how."""

    # As the run names it, or as the registry would; None: every policy that went live.
    version: str | None = None
    # Instead of the recipe's name.
    name: str | None = None
    # Take the weights into the registry; without it they stay in the run folder.
    copy: bool = False


class Registration(Record):
    """What became of one published policy."""

    run_version: str
    # None where it was left out.
    version: str | None
    state: State
    # Why it was left out.
    note: str | None = None
    # Whether a person must approve it before it is served.
    needs_approval: bool = False


@private_files()
def register_run(run: Path, registry: Registry, choice: RegisterOptions | None = None) -> tuple[Registration, ...]:
    """Register the policies a run has published or that await approval, oldest first.

    Raises:
        SalusError: no run, nothing published, not the version asked for, no weights at all, or the registry
            cannot be written.
    """
    choice = choice or RegisterOptions()
    drafts = _Drafts(RunReader(run), registry.clock().isoformat(timespec="seconds"), choice)
    published = [version for version in drafts.run.published() if drafts.chosen(version)]
    if not published:
        there = ", ".join(version.text for version in drafts.run.published())
        raise SalusError(f"{run} has not published {choice.version!r}; it published {there}.")
    registry.prepare()
    done = tuple(_registered(drafts, version, registry, choice.copy) for version in published)
    if all(each.state == "left_out" for each in done):
        raise SalusError(f"No policy of {run} could be registered: {done[0].note}")
    return done


def register_published(run: Path, registry: Path, reporter: Reporter) -> None:
    """Register what a run of `salus align` published, and say what is new.

    Raises:
        SalusError: as `register_run` does; the run itself is complete, and can be registered later.
    """
    for each in register_run(run, open_registry(registry)):
        if each.state == "left_out":
            reporter.say(f"{each.run_version} is not in the registry: {each.note}")
        elif each.state == "new":
            waits = f"; it awaits approval (salus policy approve {each.version})" if each.needs_approval else ""
            reporter.say(f"registered {each.version} in {registry}{waits}")


def register_awaiting(run: Path, registry: Path, reporter: Reporter) -> None:
    """As `register_published`, of a run that goes on: what cannot be registered is told, and tried again at its end."""
    try:
        register_published(run, registry, reporter)
    except SalusError as error:
        reporter.say(f"no policy could be registered yet: {error.sentence}")


def record_live(recipe: Recipe, folder: RunFolder, cycle: int) -> None:
    """Keep which policy of a run its registry serves, for the cycle's decision, where people approve policies.

    A policy that a person approved since an earlier cycle is what patients get, and what a new one is compared with.
    Nothing is written where the registry serves none of this run's, and nothing is written twice.

    Raises:
        SalusError: the registry cannot be read.
    """
    place = recipe.publish.registry
    if recipe.publish.approval != "required" or place is None or folder.live(cycle).is_file():
        return
    registry = open_registry(place)
    current = registry.history.current()
    entry = registry.find(current) if current is not None else None
    if entry is not None and Path(entry.origin.run).resolve() == folder.root.resolve():
        write_text(LivePolicy(version=entry.origin.run_version).model_dump_json(indent=2) + "\n", folder.live(cycle))


def _registered(drafts: _Drafts, version: RunVersion, registry: Registry, copy: bool) -> Registration:
    weights = drafts.contents(version)
    if weights is None:
        note = f"the weights of {version.text} are gone from {drafts.run.weights(version)}."
        return Registration(run_version=version.text, version=None, state="left_out", note=note)
    draft = drafts.entry(version, weights)
    known = next((e for e in registry.entries() if e.version == draft.version), None)
    state: State = "new"
    if known is not None:
        draft = draft.model_copy(update={"registered_at": known.registered_at})
        copy = copy or known.merged.folder is None
        state = _state(known, draft, registry, copy)
    if state != "kept":
        registry.put(draft, model_card(draft), copy)
    return Registration(
        run_version=version.text, version=draft.version, state=state, needs_approval=draft.needs_approval
    )


def _state(known: PolicyEntry, draft: PolicyEntry, registry: Registry, copy: bool) -> State:
    """Whether an entry of the same weights is written anew: its own run may know more, or its weights be lost."""
    lost = not in_place(*registry.weights(known)) or (copy and known.merged.folder is not None)
    same_run = known.origin.run == draft.origin.run
    # Copies have no folder; and only an ancestor's hash can be news.
    evidence: dict[str, Any] = {
        "merged": True,
        "adapter": True,
        "ancestors": {"__all__": {"adapter": {"folder"}}},
        "schemes": {"__all__": {"file": {"folder"}}},
    }
    news = known.model_dump(exclude=evidence) != draft.model_dump(exclude=evidence)
    return "refreshed" if lost or (same_run and news) else "kept"


class _Drafts:
    """Entries of one run, with weights by reference; each folder of weights is hashed once."""

    def __init__(self, run: RunReader, now: str, choice: RegisterOptions) -> None:
        self.run = run
        self._now = now
        self._choice = choice
        self._name = check_name(choice.name if choice.name is not None else run.recipe.name)
        self._hashed: dict[str, Contents | None] = {}

    def chosen(self, version: RunVersion) -> bool:
        """Whether a version is among those asked for."""
        asked = self._choice.version
        return asked in (None, version.text) or asked == self._version(version)

    def contents(self, version: RunVersion) -> Contents | None:
        """Of a version's merged weights; None where they are gone."""
        if version.text not in self._hashed:
            folder = self.run.weights(version)
            there = any(folder.glob("*.safetensors"))
            self._hashed[version.text] = contents_of(folder, MODEL_FILES) if there else None
        return self._hashed[version.text]

    def entry(self, version: RunVersion, weights: Contents) -> PolicyEntry:
        run, name = self.run, version.challenger
        decision = run.decision(version)
        return PolicyEntry(
            name=self._name,
            version=policy_version(self._name, run.recipe.seed, version.text, weights.sha256),
            registered_at=self._now,
            origin=self._origin(version),
            ancestors=tuple(
                Ancestor(run_version=a.text, version=self._version(a), adapter=self._adapter(a))
                for a in run.ancestors(version)
            ),
            base=self._base(),
            merged=Weights(folder=str(run.weights(version)), contents=weights),
            chat=chat_format_of(run.weights(version)),
            adapter=self._adapter(version),
            sampling=sampling_defaults(run.weights(version)),
            data=training_data(run, version.cycle, name) if name is not None else None,
            judge=judge_facts(run, decision, version),
            validation=validation(decision, version, run.folder),
            tested=tested(run, version),
            needs_approval=version.text in run.awaiting(),
            schemes=self._schemes(version),
            publications=tuple(p for p in run.publications if p.version == version.text),
        )

    def _version(self, version: RunVersion) -> str | None:
        weights = self.contents(version)
        if weights is None:
            return None
        return policy_version(self._name, self.run.recipe.seed, version.text, weights.sha256)

    def _schemes(self, version: RunVersion) -> tuple[KeptScheme, ...]:
        """The schemes that the run measured this policy with, as far as an endpoint can apply them."""
        folders = {name: self.run.folder.scheme(name, version.text) for name in self.run.recipe.schemes}
        return tuple(
            KeptScheme(name=name, file=Weights(folder=str(folder), contents=contents_of(folder, (SCHEME_FILE,))))
            for name, folder in folders.items()
            if (folder / SCHEME_FILE).is_file() and (folder / "figures.json").is_file()
        )

    def _origin(self, version: RunVersion) -> Origin:
        run, record = self.run, self.run.record
        return Origin(
            run=str(run.folder.root),
            recipe=run.recipe.name,
            seed=run.recipe.seed,
            cycle=version.cycle,
            algorithm=run.algorithm(version.challenger) if version.challenger is not None else None,
            run_version=version.text,
            recipe_sha256=file_sum(run.folder.recipe),
            run_hash=run_hash(run.folder),
            packages=record.packages,
            python=record.python,
            machine=record.machine,
            git_revision=record.git_revision,
        )

    def _base(self) -> DeployedModel:
        model = self.run.recipe.model
        deployed = RunVersion(text="c0-base", cycle=0, challenger=None)
        return DeployedModel(
            source=model.source,
            folder=self.run.record.policy_path,
            hub_id=model.path if model.source == "hub" else None,
            revision=model.revision,
            contents=self.contents(deployed),
        )

    def _adapter(self, version: RunVersion) -> Weights | None:
        if version.challenger is None:
            return None
        folder = self.run.folder.training(version.cycle, version.challenger) / "adapter"
        if not (folder / ADAPTER_CONFIG).is_file():
            return None
        return Weights(folder=str(folder), contents=contents_of(folder, ADAPTER_FILES))
