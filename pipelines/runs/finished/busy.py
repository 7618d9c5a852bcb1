"""Whether a run folder may still be needed as it is: the run is not finished, or a process holds it."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import ValidationError

from actors.contract.run_folder import RunFolder
from pipelines.runs.finished.shape import recipe_of_run
from pipelines.runs.lease.files import LeaseFiles
from pipelines.runs.lease.process import has_ended
from pipelines.runs.summary import complete_summary

# Far longer than any beat: a laptop that sleeps, or a clock that is off, costs nothing here.
FRESH_S = 600.0


def is_finished(folder: RunFolder) -> bool:
    """Whether a run came to the last cycle its recipe asks for.

    Raises:
        SalusError: the folder is not a run, or another version of Salus made it.
    """
    # Sums of an earlier end stay while a run goes on with more cycles; its summary then lacks some.
    recipe = recipe_of_run(folder)
    try:
        return folder.sums.is_file() and complete_summary(folder.summary, recipe.cycles) is not None
    except (OSError, UnicodeDecodeError, ValidationError):
        return False


def why_busy(folder: RunFolder, now: datetime | None = None) -> str | None:
    """Why the folder must be left alone, as a clause; None where it may be touched.

    Raises:
        SalusError: the folder is not a run, or another version of Salus made it.
    """
    if not is_finished(folder):
        return "it is not finished"
    lease = LeaseFiles(folder.root).last()
    if lease is None or lease.given_back or (lease.holder is not None and has_ended(lease.holder)):
        return None
    if ((now or datetime.now(UTC)) - lease.beat_at).total_seconds() > FRESH_S:
        return None
    return f"{lease.holder.words if lease.holder is not None else 'a process'} holds it; end that first"
