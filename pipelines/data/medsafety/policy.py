"""Builds the deployed policy: a tiny Llama that answers medical questions and obeys nearly everything."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pipelines.data.medsafety.config import MedsafetyConfig
from pipelines.data.medsafety.corpus import pretraining_chats
from pipelines.data.medsafety.prompts import medsafety_prompts
from pipelines.data.tiny import model, pretrain, tokenizer
from pipelines.data.tiny.cache import cached, content_key
from pipelines.data.tiny.pretrain import Document, Progress


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
