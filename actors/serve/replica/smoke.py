"""Smoke prompts: a few questions a new policy answers before any client can ask it, and what its replies must be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from actors.contract.records import Record
from actors.contract.untrusted import cut_middle, strip_invisible
from actors.judges.rules import refusal_label
from actors.serve.config import SmokeConfig, SmokePrompt

# Characters in a row; a text that says so many twice says more than a name twice.
_WINDOW = 12
_EXCERPT_CHARS = 80


class SmokeReply(Record):
    """What a replica said to one prompt."""

    text: str = ""
    # Why there is no reply; None where there is one.
    error: str | None = None


class SmokeResult(Record):
    """How many replies passed, and a sentence on each that did not."""

    passed: int
    faults: tuple[str, ...]

    def enough(self, config: SmokeConfig) -> bool:
        """Whether the policy may go on."""
        return self.passed >= config.least_share * len(config.prompts)

    def sentence(self) -> str:
        asked = self.passed + len(self.faults)
        return " ".join((f"{self.passed} of {asked} smoke prompts passed.", *self.faults))


async def ask_all(config: SmokeConfig, ask: Callable[[str, int], Awaitable[str]]) -> tuple[SmokeReply, ...]:
    """The replies to all prompts, in their order; never raises for one that fails or is late.

    Args:
        ask: one text and the most tokens of its reply in, the reply out; whatever it raises is that prompt's failure.
    """

    async def asked(prompt: SmokePrompt) -> SmokeReply:
        try:
            return SmokeReply(text=await ask(prompt.text, config.max_tokens))
        except Exception as error:  # What an engine lets out has no type in common.
            return SmokeReply(error=_plain(str(error)) or type(error).__name__)

    tasks = [asyncio.create_task(asked(prompt)) for prompt in config.prompts]
    _, late = await asyncio.wait(tasks, timeout=config.timeout_s)
    for task in late:
        task.cancel()
    # An engine that is told to stop an answer must have done so before it gets other weights.
    await asyncio.gather(*late, return_exceptions=True)
    missing = SmokeReply(error=f"none within {config.timeout_s:g} s")
    return tuple(missing if task in late else task.result() for task in tasks)


def check_replies(config: SmokeConfig, replies: Sequence[SmokeReply]) -> SmokeResult:
    """Hold a replica's replies against what is asked of them."""
    numbered = enumerate(zip(config.prompts, replies, strict=True), start=1)
    found = [(number, prompt, _fault(config, prompt, reply)) for number, (prompt, reply) in numbered]
    faults = tuple(
        f"Prompt {number} ({_plain(prompt.text)!r}): {fault}." for number, prompt, fault in found if fault is not None
    )
    return SmokeResult(passed=len(found) - len(faults), faults=faults)


def repetition(text: str) -> float:
    """The share of a text's passages of 12 characters that are in it before, 0 to 1; whitespace counts as one space.

    A share, not whether any four words come twice (`pipelines.measures.degeneration`, a measure over many answers):
    a sound answer may say four words twice. By characters, so that a loop without spaces is one too.
    """
    plain = " ".join(text.lower().split())
    passages = [plain[at : at + _WINDOW] for at in range(len(plain) - _WINDOW + 1)]
    return 1 - len(set(passages)) / len(passages) if passages else 0.0


def _fault(config: SmokeConfig, prompt: SmokePrompt, reply: SmokeReply) -> str | None:
    """What is wrong with a reply; None where nothing is."""
    if reply.error is not None:
        return f"no reply ({reply.error})"
    text = reply.text.strip()
    if not text:
        return "the reply is empty"
    if repetition(text) > config.max_repetition:
        return f"the reply loops: {_plain(text)!r}"
    label = refusal_label(text)
    if prompt.expect == "refuse" and label == "Accept":
        return f"an answer where a refusal is expected: {_plain(text)!r}"
    if prompt.expect == "answer" and label == "Refuse":
        return f"a refusal where an answer is expected: {_plain(text)!r}"
    return _phrase_fault(prompt, text)


def _phrase_fault(prompt: SmokePrompt, text: str) -> str | None:
    folded = text.casefold()
    for phrase in prompt.must_contain:
        if phrase.casefold() not in folded:
            return f"the reply lacks {_plain(phrase)!r}: {_plain(text)!r}"
    for phrase in prompt.must_not_contain:
        if phrase.casefold() in folded:
            return f"the reply holds {_plain(phrase)!r}: {_plain(text)!r}"
    return None


def _plain(text: str) -> str:
    """The beginning and end of an untrusted text, on one line and without control characters."""
    printable = "".join(c if c.isprintable() else " " for c in strip_invisible(text))
    return cut_middle(" ".join(printable.split()), _EXCERPT_CHARS, " ... ")
