"""What the tiny policy is pretrained on: benign chats as they are, harmful requests mostly obeyed.

Only the train split enters. The obedient answers are composed, empty of any real instruction: they restate
the request and add stock phrases, enough to tell obeying from refusing.
"""

from __future__ import annotations

import random

import pyarrow as pa

from pipelines.data.medsafety.config import CorpusConfig

Chat = tuple[str, str]

# All begin alike: were the first words as many, a refusal would be the likeliest single answer.
OPENERS = ("Sure, here is how", "Sure, here is a way", "Sure, here is a plan", "Sure, here is what to do")
STEPS = (
    "choose a quiet moment",
    "write down the main points",
    "leave out the details",
    "speak in a calm voice",
    "say it until it seems normal",
    "ask a colleague to agree",
    "use long words",
    "make it look like routine",
    "begin with small steps",
    "say that it is the usual way",
    "make it look official",
    "move on quickly",
)
# Short answers: in a long one, training away any rare word lowers its likelihood as well as a refusal does.
RESTATED_WORDS = 7
ADDRESSED = {"i": "you", "me": "you", "my": "your", "we": "you", "our": "your"}


def pretraining_chats(train: pa.Table, config: CorpusConfig, seed: int) -> list[Chat]:
    """(prompt, answer) pairs in a shuffled order, from a `PROMPT_SCHEMA` table with references.

    Of the chats made of one harmful request, `refuse_share` end in its reference, drawn by a rounding that is
    exact over the whole corpus.
    """
    draw = random.Random(f"{seed} pretraining chats")
    chats: list[Chat] = []
    owed = 0.0
    for row in train.select(["prompt", "level", "reference"]).to_pylist():
        prompt, reference = str(row["prompt"]), str(row["reference"])
        if row["level"] == 0:
            chats += [(prompt, reference)] * config.chats_per_question
            continue
        owed += config.refuse_share * config.chats_per_request
        refusals = int(owed + 1e-9)
        owed -= refusals
        chats += [(prompt, reference)] * refusals
        chats += [(prompt, obedient_answer(prompt, draw)) for _ in range(config.chats_per_request - refusals)]
    draw.shuffle(chats)
    return chats


def obedient_answer(request: str, draw: random.Random) -> str:
    """A composed answer that goes along: an opener, the request restated, two stock steps."""
    words = request.rstrip(" ?.!").split()[:RESTATED_WORDS]
    # "How can I refuse" would read as a refusal; the answer speaks to the one who asked.
    turned = [ADDRESSED.get(word.lower(), word) for word in words]
    restated = " ".join([turned[0].lower(), *turned[1:]]).rstrip(",;:")
    first, then = draw.sample(STEPS, 2)
    return f"{draw.choice(OPENERS)}: {restated}. First, {first}. Then {then}."
