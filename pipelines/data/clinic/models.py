"""The clinic's models, built once and cached by content: the deployed policy and the two judges."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from transformers import PreTrainedTokenizerFast

from actors.contract.records import LABELS
from actors.errors import SalusError
from pipelines.data import tiny
from pipelines.data.clinic.acts import DRUGS, EVERY, PEOPLE, TRAINED
from pipelines.data.clinic.config import ClinicConfig
from pipelines.data.clinic.corpus import JUDGE_PROMPT_FILE, judge_corpus, policy_corpus
from pipelines.data.tiny.cache import cached, content_key
from pipelines.data.tiny.config import PretrainConfig
from pipelines.data.tiny.model import build_llama
from pipelines.data.tiny.pretrain import Document, Progress, pretrain, save
from pipelines.data.tiny.tokenizer import SPECIAL_TOKENS, train_tokenizer

# Only the share of a corpus that the tokenizer is trained on: merges settle early.
_TOKENIZER_ROWS = 6_000


def build_policy(config: ClinicConfig, cache_root: Path, progress: Progress | None = None) -> Path:
    """The deployed policy's Hugging Face folder: it knows what is a danger, and obeys all the same."""

    def build(folder: Path) -> None:
        _build(folder, config, "policy", config.policy_pretraining, policy_corpus(config), progress)

    return cached(cache_root, _key("clinic-policy", config), build)


def build_judge(
    config: ClinicConfig, kind: Literal["EXT", "LMA"], cache_root: Path, progress: Progress | None = None
) -> Path:
    """A judge's Hugging Face folder: EXT is trained on judging alone, LMA on the policy's kind of corpus."""

    def build(folder: Path) -> None:
        corpus = judge_corpus(config) if kind == "EXT" else policy_corpus(config)
        length = config.judge_pretraining if kind == "EXT" else config.lma_pretraining
        _build(folder, config, "judge", length, corpus, progress)

    return cached(cache_root, _key(f"clinic-judge-{kind.lower()}", config), build)


def _build(
    folder: Path,
    config: ClinicConfig,
    shape: Literal["policy", "judge"],
    length: PretrainConfig,
    corpus: list[Document],
    progress: Progress | None,
) -> None:
    model_config = (config.policy if shape == "policy" else config.judge).model_copy(update={"seed": config.seed})
    tokenizer = train_tokenizer(_plain_texts(corpus[:_TOKENIZER_ROWS], config), model_config.vocabulary)
    _check_labels(tokenizer)
    model = build_llama(model_config, tokenizer)
    pretrain(model, tokenizer, corpus, length.model_copy(update={"seed": config.seed}), progress)
    save(model, tokenizer, folder)


def _plain_texts(corpus: list[Document], config: ClinicConfig) -> list[str]:
    """Texts without special tokens; labels and the clinic's own words repeated, so that each is one token."""
    texts = []
    for document in corpus:
        text = document.prompt + "\n" + document.completion
        for token in SPECIAL_TOKENS:
            text = text.replace(token, "\n")
        texts.append(text)
    acts = EVERY if config.untrained_acts else TRAINED
    words = [*LABELS, *DRUGS, *PEOPLE, *acts.proper, *(act.text for act in acts.harmful)]
    return texts + [f"{label}\n" for label in LABELS] * 3_000 + [f"a {word}" for word in words] * 20


def _check_labels(tokenizer: PreTrainedTokenizerFast) -> None:
    for label in LABELS:
        if len(tokenizer(label, add_special_tokens=False)["input_ids"]) != 1:
            raise SalusError(f"The tokenizer cuts the label {label} into pieces; raise the vocabulary size.")


def _key(name: str, config: ClinicConfig) -> str:
    sources = [
        *Path(__file__).parent.glob("*.py"),
        *Path(tiny.__file__).parent.glob("*.py"),
        JUDGE_PROMPT_FILE,
    ]
    return content_key(name, config.model_dump(mode="json"), sources)
