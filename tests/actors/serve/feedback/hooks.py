"""Redactors of a team's own, as `feedback.redactor` names them; some go wrong."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

from actors.serve.feedback.redaction import RuleRedactor


def starred(text: str) -> str:
    print("looking at", text)
    return text.replace("Anna", "*")


def hangs(text: str) -> str:
    """Never comes back from the regular expression engine, which keeps the interpreter's lock."""
    if "hang" in text:
        re.fullmatch(r"(a|a)*b", "a" * 60)
    return text


def rules_or_hangs(text: str) -> str:
    """As the rules, but for texts that hang."""
    return RuleRedactor().redact(hangs(text))


def tells_and_hangs(text: str) -> str:
    """Writes its process id to the file that the text names."""
    Path(text).write_text(str(os.getpid()), encoding="utf-8")
    return hangs("hang")


def deaf(text: str) -> str:
    """Lets no alarm end it."""
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    time.sleep(600)
    return text


def quotes(text: str) -> str:
    raise ValueError(f"cannot read {text}")


def dies(text: str) -> str:
    os._exit(3)
