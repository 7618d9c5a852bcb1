"""The record of one calibration: which judge, against which labels, how good, trusted or not. JSON on disk."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from actors.contract.records import Record
from actors.errors import SalusError
from actors.files.shards import write_text
from actors.judges.regimens import Regimen
from pipelines.config.judge import TrustThresholds
from pipelines.judges.reliability import ProbabilityScore
from pipelines.judges.trust import Trust
from pipelines.measures.agreement import Agreement


class JudgeIdentity(Record):
    """Which judge: enough to tell whether a report is about the judge a run uses."""

    name: str
    regimen: Regimen
    # Version of the judge's prompt; "none" for rules.
    prompt: str
    # Model folder or content hash; None for rules.
    model: str | None = None


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
