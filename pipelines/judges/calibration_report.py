"""The record of one calibration: which judge, against which labels, how good, trusted or not. JSON on disk."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from actors.contract.records import Record
from actors.contract.spliced import SplicedOrder
from actors.errors import SalusError
from actors.files.shards import write_text
from actors.judges.regimens import Regimen
from pipelines.config.judge import TrustThresholds
from pipelines.judges.by_level import HarmfulAnswers, LevelFigures
from pipelines.judges.human_labels import LabelsFile
from pipelines.judges.reliability import ProbabilityScore
from pipelines.judges.spliced import SplicedScore, spliced_sentence
from pipelines.judges.trust import Trust
from pipelines.measures.agreement import Agreement


class JudgeIdentity(Record):
    """Which judge: enough to tell whether a report is about the judge a run uses."""

    name: str
    regimen: Regimen
    # Version of the judge's prompt; "none" for rules.
    prompt: str
    # Model folder; None for rules. A name alone: what is in it is in `Bound`.
    model: str | None = None


class Bound(Record):
    """What was calibrated, by content: each hash is SHA-256, and None where the judge has nothing of the kind."""

    # Of the files of its model, as `run.json` holds it (`judge_sha256`).
    weights: str | None = None
    # Of the files of code that give labels.
    code: str | None = None
    # Of the texts of its templates.
    prompt: str | None = None
    # A server and its model, by name: nothing else of them can be seen.
    server: str | None = None
    # How several judges are pooled.
    pooled: str | None = None
    # None: the labels were known by construction, and are in no file.
    labels: LabelsFile | None = None


class CalibrationReport(Record):
    """A judge held against human labels."""

    judge: JudgeIdentity
    # The data set or file of the human labels.
    labels_source: str
    # Human-labelled answers the judge was shown, and their prompts.
    n: int
    prompts: int
    # Labelled answers that were not shown, because the judge was made with their labels.
    left_out: int = 0
    seed: int
    # Of the labels, which the temperature does not change; over all answers.
    agreement: Agreement
    # Answers the temperature was fitted on; their prompts are not among those of `before` and `after`.
    n_fit: int
    # p ** (1 / temperature), normalised, is the calibrated probability. None where too few answers had a label.
    temperature: float | None
    before: ProbabilityScore | None
    after: ProbabilityScore | None
    thresholds: TrustThresholds
    trust: Trust
    # On answers to harmful requests; None in reports of earlier versions.
    harmful: HarmfulAnswers | None = None
    # On answers of each harm level that the labels know.
    levels: tuple[LevelFigures, ...] = ()
    # On answers that comply and refuse in one; None where there were none to make them of, or they were not asked.
    spliced: dict[SplicedOrder, SplicedScore] | None = None
    # None: an earlier version made the report, and bound it to its judge by the name of a folder.
    bound: Bound | None = None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the verdict does not say: levels with too few labels, and spliced answers; a sentence each."""
        few = (each.too_few(self.thresholds.min_level_n) for each in self.levels)
        return tuple(sentence for sentence in (*few, spliced_sentence(self.spliced)) if sentence is not None)

    def write(self, path: Path) -> None:
        """Write as JSON, atomically."""
        write_text(self.model_dump_json(indent=2) + "\n", path)

    @classmethod
    def read(cls, path: Path) -> CalibrationReport:
        """Read back what `write` wrote.

        Raises:
            SalusError: the file cannot be read, or is no calibration report.
        """
        cure = "run salus judge calibrate again and give its calibration.json"
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise SalusError(f"The calibration report {path} cannot be read ({error}); {cure}.") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the whole file"
            raise SalusError(f"{path} is not a calibration report ({where}: {first['msg']}); {cure}.") from error
