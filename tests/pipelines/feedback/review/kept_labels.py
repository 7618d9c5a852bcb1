"""A process that labels until it is killed, and says of each label when it was told that it is kept."""

from __future__ import annotations

import sys
from pathlib import Path

from pipelines.feedback.review.labels import LabelLog

log = LabelLog(Path(sys.argv[1]))
for number in range(100_000):
    log.add(f"request {number}", "answer", "Refuse", "alice")
    print(number, flush=True)
