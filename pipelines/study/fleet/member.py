"""One run among several in one Ray: its recipe, its folder, and the process that aligns it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from actors.contract.records import Record
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from pipelines.cluster.devices import Resources
from pipelines.cluster.progress import Bar, Reporter
from pipelines.config.cluster import SharedPool, SharedTrainers
from pipelines.config.load import save_recipe
from pipelines.config.recipe import Recipe
from pipelines.decision.ending import is_over, past_decisions
from pipelines.judges.evidence import judge_before_run
from pipelines.runs.lease.files import clear, is_empty
from pipelines.runs.lease.lease import hold
from pipelines.runs.materials import gather_models
from pipelines.runs.open import check_same
from pipelines.runs.prompts.lengths import check_run_lengths
from pipelines.runs.several import SeveralFolder
from pipelines.runs.summary import complete_summary
from pipelines.study.fleet.jobs import Job, last_sentence


@dataclass(frozen=True, kw_only=True)
class Member:
    """One run among several; `kind` is what those are called: "policy", or "cell" of a study."""

    name: str
    recipe: Recipe
    run: RunFolder
    kind: str = "policy"
    # Of the GPUs and of a shared judge's time, against the others' weights.
    weight: float = 1.0
    # Higher ones start first where not all fit.
    priority: int = 0

    @property
    def complete(self) -> bool:
        """Whether its run is over."""
        return complete_summary(self.run.summary, self.recipe.cycles) is not None


AnyMember = TypeVar("AnyMember", bound=Member)


class Failure(Record):
    """Why a member's process ended before its run was complete, and where it says more."""

    sentence: str
    log: str


def unfinished(members: Sequence[AnyMember], reporter: Reporter) -> list[AnyMember]:
    """The members whose runs are not over; of the others the reporter is told."""
    left: list[AnyMember] = []
    for member in members:
        if member.complete:
            reporter.say(f"{member.kind} {member.name} is complete")
        else:
            left.append(member)
    return left


class MemberWatch:
    """Tells a reporter of every member that starts, goes on and ends; `check_lease` ends them all where it raises."""

    def __init__(
        self,
        members: Sequence[Member],
        reporter: Reporter,
        check_lease: Callable[[], None] = lambda: None,
        on_end: Callable[[str], None] = lambda name: None,
    ) -> None:
        """`on_end` is called with the name of each that has ended, well or not."""
        self._members = {member.name: member for member in members}
        self._reporter, self._check_lease, self._on_end = reporter, check_lease, on_end
        self._bars: dict[str, Bar] = {}

    def started(self, job: Job) -> None:
        member = self._members[job.name]
        self._bars[job.name] = self._reporter.bar(f"{member.kind} {job.name}", member.recipe.cycles, "cycles")

    def running(self, job: Job) -> None:
        self._check_lease()
        member = self._members[job.name]
        decided = past_decisions(member.run, member.recipe.cycles)
        over = is_over(decided, member.recipe.cycles)
        self._bars[job.name].at(len(decided), len(decided) if over else member.recipe.cycles)

    def ended(self, job: Job, code: int) -> None:
        if code == 0:
            self.running(job)
        self._bars.pop(job.name).close()
        if code != 0:
            kind = self._members[job.name].kind
            self._reporter.say(f"{kind} {job.name} failed: {last_sentence(job.log, code)} (log: {job.log})")
        self._on_end(job.name)

    def stopping(self, jobs: Sequence[Job]) -> None:
        names = ", ".join(job.name for job in jobs)
        self._reporter.say(f"ending {names}, which may take a minute; Ctrl-C again kills")


def member_job(
    member: Member,
    folder: SeveralFolder,
    address: str,
    there: Resources,
    shared: Mapping[str, SharedPool | SharedTrainers] | None = None,
) -> Job:
    """`salus align` of a member, as a child that joins the cluster at `address`.

    A process of its own, because a driver has one Ray session, one namespace and one set of Ray Data settings.
    `shared` is what it asks that others ask too, by its setting in section cluster.
    """
    place = [f"cluster.address={address}"]
    if member.recipe.cluster.joined is None:
        # All were held against this machine's memory; Ray's own idea of it is smaller.
        place.append(f"cluster.memory_gib={there.memory_gib}")
    place += [f"cluster.{name}={json.dumps(pool.model_dump(mode='json'))}" for name, pool in (shared or {}).items()]
    arguments = ["align", str(folder.recipe(member.name)), "--run", str(member.run.root)]
    arguments += [part for setting in place for part in ("--set", setting)]
    return Job(member.name, (sys.executable, "-m", "pipelines.cli.main", *arguments), folder.log(member.name))


def open_members(
    folder: SeveralFolder, members: Sequence[Member], lease_s: float, reporter: Reporter, fresh: bool
) -> None:
    """Take the runs in a known folder up again, or forget them; for the holder of the folder's lease.

    Each run folder has a lease of its own, which its process takes.

    Raises:
        SalusError: a run was begun with other settings, or one that `fresh` forgets is at work.
    """
    begun = [member for member in members if member.run.recipe.is_file()]
    if not fresh:
        for member in begun:
            check_same(member.recipe, member.run)
        return
    with ExitStack() as held:
        # All of them, or none where one is at work.
        for member in begun:
            held.enter_context(hold(member.run.root, lease_s, reporter.say))
        for member in begun:
            clear(member.run.root)
    folder.cost.unlink(missing_ok=True)


def check_folder(folder: SeveralFolder, what: str) -> None:
    """Refuse a folder that holds something else than `what`: "study" or "fleet".

    Raises:
        SalusError: it does.
    """
    if not folder.settings.is_file() and not is_empty(folder.root):
        raise SalusError(f"{folder.root} is not empty and is not a {what} of Salus; give another folder with --run.")


def prepare(members: Sequence[Member], folder: SeveralFolder, reporter: Reporter) -> None:
    """Write each recipe, and build every model here: members that share one would build it at the same time.

    Raises:
        SalusError: a judge may not select policies, or a model is not there or too short; names the member.
    """
    for member in members:
        with named(member):
            judge_before_run(member.recipe)
        save_recipe(member.recipe, folder.recipe(member.name))
    for member in members:
        with named(member):
            models = gather_models(member.recipe, reporter)
            check_run_lengths(member.recipe, models.policy, models.judge)


@contextmanager
def named(member: Member) -> Iterator[None]:
    """A fault found inside names the member."""
    try:
        yield
    except SalusError as error:
        raise SalusError(f"{member.kind.capitalize()} {member.name}: {error.sentence}") from error


def failed_sentence(failures: Mapping[str, Failure], total: int, plural: str) -> str:
    """All failures in one sentence.

    Args:
        failures: by the member's name.
        total: of members.
        plural: what the members are called.
    """
    each = "; ".join(
        f"{name}: {failure.sentence.removesuffix('.')} (log: {failure.log})" for name, failure in failures.items()
    )
    return f"{len(failures)} of {total} {plural} failed: {each}; the same command goes on with them."
