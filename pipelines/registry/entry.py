"""One registered policy, as `policy.json` holds it: where it comes from, what it is, how good, judged by whom."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from actors.contract.publication import Publication
from actors.contract.records import Interval, Record
from actors.engine.chat_format import ChatFormat
from actors.engine.sampling_defaults import SamplingDefaults
from actors.errors import SalusError
from actors.judges.regimens import Regimen
from pipelines.decision.record import ProbeEvidence, Standing
from pipelines.judges.gate import JudgeTrust
from pipelines.measures.capability.figures import Capability
from pipelines.measures.metrics import Metrics
from pipelines.registry.names import PolicyName
from pipelines.runs.contents import Contents, Sha256
from pipelines.runs.summary import JudgedBy, Measured, PublishedFigures, TestFigures

ModelSource = Literal["clinic", "medsafety", "folder", "hub"]


class Origin(Record):
    """The run that made a policy, and under what."""

    # The run folder, absolute.
    run: str
    recipe: str
    seed: int
    # 0: the model the run began with.
    cycle: int
    # None for that model.
    algorithm: str | None
    # The version within the run, as `c1-dpo`.
    run_version: str
    # Of `recipe.yaml`, the resolved recipe.
    recipe_sha256: Sha256
    # Of `SHA256SUMS`; None where the run was not finished when the policy was registered.
    run_hash: Sha256 | None
    packages: dict[str, str]
    python: str
    machine: str
    git_revision: str | None


class Weights(Record):
    """Safetensors and what belongs to them, in a folder elsewhere or copied into the registry."""

    # Absolute; None: copied, and beside `policy.json`.
    folder: str | None
    contents: Contents


class Ancestor(Record):
    """A policy of the same run that this one descends from."""

    run_version: str
    # As registered, or as it would be; None where its weights are gone.
    version: str | None
    # Its own adapter. None for the model the run began with, and where every weight was trained. None too where the
    # adapter is gone, and in entries of older versions of Salus.
    adapter: Weights | None = None


class DeployedModel(Record):
    """The model the run began with."""

    source: ModelSource
    # None: it was never written down (an interrupted run).
    folder: str | None
    hub_id: str | None
    # As the recipe names it; None: the hub's main branch, or no hub.
    revision: str | None = None
    # None where its folder is gone.
    contents: Contents | None


class LevelCount(Record):
    """Answers of one harm level and method."""

    level: int
    method: str
    n: int


class TrainingData(Record):
    """What a challenger was trained on."""

    rows: Contents
    n: int
    # Of the rows' prompts, by harm level; "unknown" where a row has none.
    rows_by_level: dict[str, int]
    # Judged answers the rows were made from.
    judged: tuple[LevelCount, ...]
    # Whether those of all earlier cycles are among them.
    replay: bool
    # How many earlier cycles' are among them; None in entries of earlier versions.
    earlier: int | None = None
    # Hub ids of the data sets the prompts came from; empty for tables of one's own and prompts Salus makes.
    datasets: tuple[str, ...] = ()


class JudgeFigures(Record):
    """A judge against labels that are trusted more; 95 % intervals over prompts."""

    labels_source: str
    n: int
    coverage: float
    accuracy: Interval | None
    kappa: Interval | None
    # Of each label.
    recall: dict[str, Interval | None]
    # Expected calibration error after temperature scaling, on answers it was not fitted on.
    ece: Interval | None
    sentence: str


class JudgeFacts(Record):
    """Who labelled the answers a policy was trained on and selected by, and how far it may be trusted."""

    regimen: Regimen
    # As in the judgments; None before the policy was judged.
    name: str | None
    prompt: str | None
    # None where nothing was known of the judge yet.
    trust: JudgeTrust | None
    figures: JudgeFigures | None


class Validation(Record):
    """What the decision knew of the policy, on the validation split, and what it came to."""

    cycle: int
    standing: Standing
    metrics: Metrics | None
    # Against the champion of that cycle, SS on the same prompts; None for the champion itself.
    gain: Interval | None
    capability: Capability | None
    # Why it was chosen, and why it was published or not.
    sentence: str
    publish_sentence: str
    # Its refusals of the probe's safe prompts, and those of what was live; None where it was not asked.
    probe: ProbeEvidence | None = None
    # On prompts that no decision uses; None where it was not measured on such.
    published: PublishedFigures | None = None


class Tested(Record):
    """What the run's end measured of the policy, on prompts that no decision looks at."""

    judged_by: JudgedBy
    figures: TestFigures
    # Shares of the probe's harmless prompts that are refused, by name.
    probes: dict[str, Measured] = Field(default_factory=dict)


class KeptScheme(Record):
    """An inference scheme that the policy's run measured it with; its folder holds one file."""

    name: str
    file: Weights


class PolicyEntry(Record):
    """Everything the registry knows of one policy."""

    name: PolicyName
    version: PolicyName
    # ISO 8601, UTC.
    registered_at: str
    origin: Origin
    # Nearest first; the last is the model the run began with. Empty for that model.
    ancestors: tuple[Ancestor, ...]
    base: DeployedModel
    merged: Weights
    # How it was asked where it was measured; None: by its own template alone, and in entries of older versions.
    chat: ChatFormat | None = None
    # None where every weight was trained, and for the model the run began with.
    adapter: Weights | None
    # What its folder sets for requests that do not say, in evaluation as at the endpoint; None in entries of older
    # versions of Salus.
    sampling: SamplingDefaults | None = None
    # None for the model the run began with.
    data: TrainingData | None
    judge: JudgeFacts
    # None where no cycle was decided yet.
    validation: Validation | None
    # None before the run's end, for a policy that was replaced before it, and in entries of older versions.
    tested: Tested | None = None
    # Whether its run asked for a person's approval before it is served; the registry's history says who gave it.
    needs_approval: bool = False
    # What it may be served by (`publish.scheme`); empty in entries of older versions.
    schemes: tuple[KeptScheme, ...] = ()
    publications: tuple[Publication, ...]

    @property
    def parent(self) -> str | None:
        """The version it was trained from; None for the model the run began with."""
        return (self.ancestors[0].version or self.ancestors[0].run_version) if self.ancestors else None

    @property
    def run_name(self) -> str:
        """The run folder's own name."""
        return Path(self.origin.run).name


def read_entry(path: Path) -> PolicyEntry:
    """One `policy.json`.

    Raises:
        SalusError: it cannot be read, is no such record, or was moved to another version's place.
    """
    cure = "remove that folder and register the run again"
    try:
        entry = PolicyEntry.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SalusError(f"{path} cannot be read ({type(error).__name__}); {cure}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise SalusError(f"{path} is no record of a policy ({where}: {first['msg']}); {cure}.") from error
    if (path.parent.parent.name, path.parent.name) != (entry.name, entry.version):
        raise SalusError(f"{path} is the record of {entry.version}; move its folder to {entry.name}/{entry.version}.")
    return entry
