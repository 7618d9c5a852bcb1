"""Whether somebody may still need a run folder as it is: the run is not finished, or its lease is fresh."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

from pydantic import ValidationError

from actors.run_folder import RunFolder
from pipelines.report.summary import complete_summary
from pipelines.runs.shape import recipe_of_run

# What the process that works on a run keeps in its folder, and when it last said that it lives.
LEASE = ".lease.json"
BEAT = "beat_at"
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


def why_busy(folder: RunFolder, now_s: float | None = None) -> str | None:
    """Why the folder must be left alone, as a clause; None where it may be touched.

    Raises:
        SalusError: the folder is not a run, or another version of Salus made it.
    """
    if not is_finished(folder):
        return "it is not finished"
    beat_s = _beat_s(folder)
    if beat_s is None:
        return None
    age_s = (time.time() if now_s is None else now_s) - beat_s
    return None if age_s > FRESH_S else f"a process holds it ({LEASE}); end that first"


def _beat_s(folder: RunFolder) -> float | None:
    """When the lease last beat, in seconds since 1970; None where there is none, now where it cannot be read."""
    try:
        lease = json.loads((folder.root / LEASE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return time.time()
    beat = lease.get(BEAT) if isinstance(lease, dict) else None
    return _seconds(beat)


def _seconds(beat: object) -> float:
    """Of a time stamp in ISO 8601 or in seconds since 1970; of anything else now, which is the careful reading."""
    if isinstance(beat, int | float):
        return float(beat)
    try:
        at = datetime.fromisoformat(str(beat))
    except ValueError:
        return time.time()
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
