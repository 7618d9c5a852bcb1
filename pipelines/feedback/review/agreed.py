"""How far a reviewer and the others agree, told so that it gives away no label before one's own."""

from __future__ import annotations

from collections import Counter

import numpy as np

from actors.contract.records import LABELS
from actors.serve.pages.review_queue import ReviewerAgreement
from pipelines.feedback.review.alpha import krippendorff_alpha, unanimous_share
from pipelines.feedback.review.consensus import Standing

# One label more changes nothing. Reviewers who could see what their last label did to the figure could read another's
# label off it, undo, and label as that one did.
BATCH = 10


def agreement_of(standing: Standing, reviewer: str) -> ReviewerAgreement | None:
    """The agreement over the answers that this reviewer and at least one other labelled, ten by ten.

    Answers that the reviewer has not labelled are not among them, so it tells nothing of what is in the queue.

    Args:
        standing: every reviewer's labels.
        reviewer: who asks.

    Returns:
        None while there are fewer than ten.
    """
    votes = [standing.votes(key) for key in standing.labelled_by(reviewer)]
    shared = [[vote.label for vote in each] for each in votes if len(each) > 1]
    shared = shared[: len(shared) // BATCH * BATCH]
    if not shared:
        return None
    counts = np.array([[Counter(labels)[name] for name in LABELS] for labels in shared], dtype=np.int64)
    return ReviewerAgreement(n=len(shared), share=unanimous_share(counts), alpha=krippendorff_alpha(counts))
