"""What the review page needs of the queue: a port, and the records that cross it."""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

from pydantic import StringConstraints

from actors.contract.records import Interval, Label, Record

# Characters.
MOST_COMMENT = 2000
Comment = Annotated[str, StringConstraints(max_length=MOST_COMMENT, strip_whitespace=True)]
ItemKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


class ReviewItem(Record):
    """One answer to label. Its texts were written by users and models: never to be taken for markup."""

    key: ItemKey
    prompt: str
    answer: str
    # Harm level 0 to 3; None where it is not known.
    level: int | None
    method: str | None
    # The version that gave the answer; None: it is kept from the reviewer.
    policy: str | None
    judge: str | None
    # The judge's label, and its probability of each; None where it gave none.
    judged: Label | None
    p: dict[Label, float] | None
    # How far several judges were apart, 0 to 1.
    disagreement: float | None
    # Why a person is asked, in one sentence.
    why: str
    # control: it checks the judge before a decision, so that nothing is told of judge and policy.
    queue: Literal["judged", "control"] = "judged"
    # What this reviewer wrote beside a label that is taken back; nothing of another's.
    comment: str = ""


class ReviewerAgreement(Record):
    """How far a reviewer and the others are of one mind, over answers that this reviewer and another labelled."""

    # Answers.
    n: int
    # Of the answers: those whose reviewers all gave one label.
    share: Interval
    # Krippendorff's, of nominal labels, by all reviewers of these answers; None where they know a single label.
    alpha: Interval | None


class ReviewProgress(Record):
    """How far the review is."""

    # Answers that wait for this reviewer.
    remaining: int
    # Answers with a label of any reviewer; those without a majority are among them.
    labelled: int
    ties: int
    # None while there are too few answers. It must tell nothing of an answer that this reviewer has yet to label.
    agreement: ReviewerAgreement | None = None


class ReviewQueue(Protocol):
    """The queue and its labels. Every call may raise SalusError with a sentence for the reviewer."""

    async def next(self, n: int, reviewer: str) -> list[ReviewItem]:
        """The next `n` answers this reviewer should label; labels nothing."""

    async def label(self, key: str, label: Label, reviewer: str, comment: str = "") -> ReviewProgress:
        """Keep a label and what its reviewer wrote beside it.

        Both are on the disk when this returns. Repeating the call changes nothing.
        """

    async def undo(self, reviewer: str) -> ReviewItem | None:
        """Take back the reviewer's last label; returns its answer, None where there is nothing to take back."""

    async def progress(self, reviewer: str) -> ReviewProgress:
        """How far the review is, as this reviewer sees it."""
