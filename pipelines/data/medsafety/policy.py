"""The tiny policy of real texts: pretrained on benign chats as they are, and on harmful requests it mostly obeys.

Only the train split enters. The obedient answers are composed, empty of any real instruction: they restate
the request and add stock phrases, enough to tell obeying from refusing.
"""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pyarrow as pa

from pipelines.data.medsafety.config import MedsafetyConfig, MedsafetyCorpusConfig
from pipelines.data.medsafety.prompts import medsafety_prompts
from pipelines.data.tiny import model, pretrain, tokenizer
from pipelines.data.tiny.cache import cached, content_key
from pipelines.data.tiny.pretrain import Document, Progress

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


def pretraining_chats(train: pa.Table, config: MedsafetyCorpusConfig, seed: int) -> list[Chat]:
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


def build_medsafety_policy(config: MedsafetyConfig, cache_root: Path, progress: Progress | None = None) -> Path:
    """The policy's Hugging Face folder, pretrained on the train split alone, or found in the cache.

    The cache's key is made of the chats themselves, the shape, the pretraining settings and the code that
    uses them. `progress(step, steps, loss)` is called after every step. Raises `SalusError` for missing or
    bad data.
    """
    chats = pretraining_chats(medsafety_prompts(config)["train"], config.corpus, config.seed)
    shape = config.model.model_copy(update={"seed": config.seed})
    length = config.pretrain.model_copy(update={"seed": config.seed})
    settings = {
        "chats": hashlib.sha256(json.dumps(chats).encode()).hexdigest(),
        "model": shape.model_dump(mode="json"),
        "pretrain": length.model_dump(mode="json"),
    }
    sources = [Path(module.__file__) for module in (model, pretrain, tokenizer) if module.__file__]

    def build(folder: Path) -> None:
        bpe = tokenizer.train_tokenizer((text for chat in chats for text in chat), shape.vocabulary)
        llama = model.build_llama(shape, bpe)
        documents = [
            Document(tokenizer.chat_prompt(request), tokenizer.chat_answer(answer)) for request, answer in chats
        ]
        pretrain.pretrain(llama, bpe, documents, length, progress)
        pretrain.save(llama, bpe, folder)

    return cached(cache_root, content_key("medsafety-policy", settings, sources), build)
