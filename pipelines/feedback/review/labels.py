"""Human labels on disk: an append-only log of JSON lines, each on the disk before its caller is told it is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from actors.contract.conversation import answer_key
from actors.contract.records import Label, Record
from actors.errors import SalusError
from actors.files.atomic import Log, appending, log_lines, reading
from actors.files.records import reason
from actors.serve.pages.review_queue import MOST_COMMENT
from pipelines.feedback.review.consensus import Drawn, Standing, Vote

LOG = "labels.jsonl"
AnswerKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Reviewer = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Clock = Callable[[], datetime]


class HumanLabel(Record):
    """One reviewer's label of one answer."""

    action: Literal["label"] = "label"
    key: AnswerKey
    prompt: str
    answer: str
    label: Label
    reviewer: Reviewer
    # ISO 8601, UTC.
    at: str
    drawn: Drawn = "informative"
    # In the reviewer's words; logs of earlier versions have none.
    comment: str = Field("", max_length=MOST_COMMENT)


class Undone(Record):
    """A reviewer took back the label given last."""

    action: Literal["undo"] = "undo"
    key: AnswerKey
    reviewer: Reviewer
    at: str


Line = HumanLabel | Undone
_LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="action")])


class LabelLog:
    """The labels below `folder`, shared by the processes of one machine. Life: (`add` | `undo` | `standing`)*.

    A line is whole on the disk when `add` returns. What a process that died left of a line was promised to no one.
    """

    def __init__(self, folder: Path, clock: Clock = lambda: datetime.now(UTC)) -> None:
        self.path = folder.expanduser().absolute() / LOG
        self._clock = clock
        self._guard = threading.Lock()
        self._forget()

    def standing(self) -> Standing:
        """What every reviewer says by now; not to be changed.

        Raises:
            SalusError: the log cannot be read, or a line of it is no label.
        """
        with self._guard:
            if self.path.is_file():
                with self._told(), reading(self.path) as log:
                    self._read(log)
            else:
                self._forget()
            return self._standing

    def add(
        self,
        prompt: str,
        answer: str,
        label: Label,
        reviewer: str,
        drawn: Drawn = "informative",
        comment: str = "",
    ) -> None:
        """Keep one label; the same once more changes nothing, so that a request may be repeated.

        Raises:
            SalusError: the reviewer has no name, the comment is too long, or the log cannot be read or written.
        """
        if not reviewer.strip():
            raise SalusError("A label needs the name of its reviewer; sign in, and label again.")
        comment = comment.strip()
        if len(comment) > MOST_COMMENT:
            raise SalusError(f"A comment has at most {MOST_COMMENT:,} characters; this has {len(comment):,}.")
        key = answer_key(prompt, answer)

        def line(standing: Standing) -> Line | None:
            known = standing.vote_of(reviewer, key)
            if known is not None and (known.label, known.comment) == (label, comment):
                return None
            return HumanLabel(
                key=key,
                prompt=prompt,
                answer=answer,
                label=label,
                reviewer=reviewer,
                at=self._now(),
                drawn=drawn,
                comment=comment,
            )

        self._append(line)

    def undo(self, reviewer: str) -> Vote | None:
        """Take back the label the reviewer gave last, and return it; None where there is none.

        Raises:
            SalusError: the log cannot be read or written.
        """
        taken: list[Vote] = []

        def line(standing: Standing) -> Line | None:
            taken.extend(standing.last_of(reviewer))
            return Undone(key=taken[0].key, reviewer=reviewer, at=self._now()) if taken else None

        self._append(line)
        return taken[0] if taken else None

    def _append(self, make: Callable[[Standing], Line | None]) -> Line | None:
        """Write the line that `make` gives for what is there by now, under a lock; returns it."""
        with self._guard, self._told(), appending(self.path) as log:
            self._read(log)
            line = make(self._standing)
            if line is not None:
                log.append(line.model_dump_json().encode())
                self._apply(line, self._lines + 1)
                self._offset = log.size
            return line

    def _read(self, log: Log) -> None:
        """Replay the lines that are new since the last time."""
        if log.size < self._offset:
            # Another file was put in its place.
            self._forget()
        for raw in log_lines(log.read(self._offset)):
            try:
                self._apply(_LINE.validate_json(raw), self._lines + 1)
            except ValidationError as error:
                raise SalusError(
                    f"{self.path}, line {self._lines + 1} is no label ({reason(error)}); mend or remove that line."
                ) from error
            self._offset += len(raw) + 1

    def _apply(self, line: Line, number: int) -> None:
        if isinstance(line, HumanLabel):
            vote = Vote(line.key, line.prompt, line.answer, line.label, line.reviewer, line.drawn, line.comment)
            self._standing.give(vote)
        elif not self._standing.take_back(line.reviewer, line.key):
            raise SalusError(
                f"{self.path}, line {number} takes back a label that was not the last of {line.reviewer}; take the"
                " file from a copy."
            )
        self._lines = number

    def _forget(self) -> None:
        self._standing, self._offset, self._lines = Standing(), 0, 0

    def _now(self) -> str:
        return self._clock().isoformat(timespec="seconds")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SalusError(f"The labels {self.path} cannot be used ({reason(error)}); free that place.") from error
