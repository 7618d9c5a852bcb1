"""The two files of a timeline, outside the run they tell of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.atomic import make_folder
from actors.files.shards import write_text
from pipelines.report.timeline.lanes import Timeline
from pipelines.report.timeline.read import read_timeline
from pipelines.report.timeline.trace import trace


@dataclass(frozen=True)
class DrawnTimeline:
    """A timeline and where it was drawn."""

    timeline: Timeline
    picture: Path
    trace: Path


def write_timeline(folder: RunFolder, out: Path | None = None) -> DrawnTimeline:
    """Write `timeline.png` and `timeline.trace.json` to `out`, or to `RUN-timeline` beside the run.

    Raises:
        SalusError: as `read_timeline`; or `out` lies in the run folder or cannot be written.
    """
    timeline = read_timeline(folder)
    out = out or folder.root.with_name(f"{folder.root.name}-timeline")
    if out.resolve().is_relative_to(folder.root.resolve()):
        raise SalusError(
            f"{out} lies in the run {folder.root}, whose files have checksums; give a folder outside it with --out."
        )
    # Matplotlib takes a second to import.
    from pipelines.report.timeline.picture import draw_timeline

    drawn = DrawnTimeline(timeline, out / "timeline.png", out / "timeline.trace.json")
    try:
        make_folder(out)
        draw_timeline(timeline, drawn.picture)
        write_text(json.dumps(trace(timeline)), drawn.trace)
    except OSError as error:
        raise SalusError(
            f"The timeline cannot be written to {out} ({error}); give another folder with --out."
        ) from error
    return drawn
