"""What a log shows of a long run that nobody watches live."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pipelines.cluster.progress import RichReporter


def test_a_log_gets_one_line_per_finished_count_with_its_text_as_it_is() -> None:
    log = io.StringIO()
    reporter = RichReporter(Console(file=log, width=100))
    with reporter.live():
        bar = reporter.bar("cycle 1 [bold]: judging", 40, "answers")
        for _ in range(4):
            bar.advance(10)
        bar.close()
        reporter.say("done [red]")
    assert log.getvalue().splitlines() == ["cycle 1 [bold]: judging: 40 of 40 answers, 0 s, done", "done [red]"]


def test_a_long_count_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr("pipelines.cluster.progress.LOG_EVERY_S", 0.0)
    bar = RichReporter(Console(file=log, width=100)).bar("training", None, "steps")
    bar.at(3, 9)
    assert log.getvalue() == "training: 3 of 9 steps, 0 s\n"
