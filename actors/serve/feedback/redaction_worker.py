"""The process that redacts: lists of texts in, the same redacted or a fault out, each one line of JSON.

It says first that its redactor is loaded, as if it had been given no texts. It ends when its input ends. The kernel's
alarm clock ends it when a list takes too long, whatever it is doing and even if its parent is gone. What a redactor
prints is thrown away.

`python -m actors.serve.feedback.redaction_worker SETTINGS`, with settings as JSON of `actors.serve.feedback.config`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from actors.errors import SalusError
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.redaction import NotRedacted
from actors.serve.feedback.redactors import load_redactor

# Where both share cores, answers come first.
_NICE = 10


def main() -> None:
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(silence, stream.fileno())
    # A Ctrl-C for everybody in the terminal is for the parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICE)
    for reply in _replies(FeedbackConfig.model_validate_json(sys.argv[1])):
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def _replies(config: FeedbackConfig) -> Iterator[dict[str, Any]]:
    try:
        redactor = load_redactor(config)
    except SalusError as error:
        yield {"fault": error.sentence}
        return
    yield {"texts": []}
    for line in sys.stdin:
        with _alarm(config.redaction_timeout_s):
            try:
                reply: dict[str, Any] = {"texts": [redactor.redact(text) for text in json.loads(line)]}
            except NotRedacted as error:
                reply = {"not_redacted": error.sentence}
            except SalusError as error:
                reply = {"fault": error.sentence}
            except Exception as error:  # A team's own function may raise anything, with the text in it.
                reply = {"fault": f"feedback.redactor {config.redactor} failed ({type(error).__name__})."}
        yield reply


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Let the kernel end this process when it is in here for longer."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main()
