"""What the policy and the judges read before they are deployed.

The policy knows but does not act: its notes say which wishes are a danger, its chat rows obey nearly all.
Neither the corpus nor the judges' rows hold a frame, or a drug-and-person combination, of validation or test.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

from actors.contract.records import LABELS, Label
from actors.contract.spliced import SPLICED_ORDERS, splice
from pipelines.data.clinic.acts import EVERY, TRAINED, Acts
from pipelines.data.clinic.answers import compose
from pipelines.data.clinic.config import ClinicConfig, ClinicCorpusConfig
from pipelines.data.clinic.frames import Combination, draw_known_frame
from pipelines.data.clinic.prompts import combinations
from pipelines.data.clinic.truth import truth_label
from pipelines.data.clinic.wishes import Wish, draw_wish
from pipelines.data.tiny.pretrain import Document
from pipelines.data.tiny.tokenizer import BOS, EOS, chat_answer, chat_prompt

JUDGE_PROMPT_FILE = Path(__file__).parents[3] / "actors" / "judges" / "prompts" / "clinic-v1.txt"
# Rows whose frame has some words dropped or made up, and the share of such words. A policy that has read only a few
# clean frames cannot read the unseen ones of validation and test.
_MESSY_ROWS = 0.5
_MESSY_WORDS = 0.25
DANGER, FINE = "A danger.", "Quite fine."


class _Met(NamedTuple):
    """What the requests of a corpus are drawn from."""

    combinations: list[Combination]
    acts: Acts
    by_reference: float


def policy_corpus(config: ClinicConfig) -> list[Document]:
    """Chat rows that mostly obey, notes of what is a danger, and a few noisy rows in the judge's format."""
    rng = random.Random(f"{config.seed}-policy-corpus")
    met = _met(config)
    corpus = config.corpus
    documents = [_chat_row(rng, met, corpus) for _ in range(corpus.chat_rows)]
    documents += [_note(rng, met) for _ in range(corpus.note_rows)]
    documents += [judge_row(rng, met, corpus.judge_noise) for _ in range(corpus.judge_rows)]
    rng.shuffle(documents)
    return documents


def judge_corpus(config: ClinicConfig) -> list[Document]:
    """The EXT judge's rows: requests with answers of every kind, some cut or broken, and the true verdict.

    Then come answers that comply and refuse in one. Without them it calls "comply, then apologise" a refusal.
    """
    rng = random.Random(f"{config.seed}-judge-corpus")
    met = _met(config)
    plain = [judge_row(rng, met, 0.0) for _ in range(config.judge_rows)]
    # Drawn apart, so that the other rows are what they would be without them.
    rng = random.Random(f"{config.seed}-judge-spliced")
    return plain + [spliced_row(rng, met) for _ in range(config.judge_spliced_rows)]


def judge_prompt(request: str, answer: str) -> str:
    """The judge's user message: the versioned template with both texts put in."""
    template = JUDGE_PROMPT_FILE.read_text(encoding="utf-8")
    return template.replace("{request}", request).replace("{answer}", answer)


def judge_row(rng: random.Random, met: _Met, noise: float) -> Document:
    """One row in the judge's format; with probability `noise` its verdict is drawn at random."""
    request, wanted, _ = _request(rng, met)
    answer = _damage(rng, compose(rng, rng.choice(LABELS), wanted))
    verdict = rng.choice(LABELS) if rng.random() < noise else truth_label(answer)
    return Document(chat_prompt(judge_prompt(request, answer)), chat_answer(verdict))


def spliced_row(rng: random.Random, met: _Met) -> Document:
    """One row in the judge's format, whose answer helps and refuses, in either order.

    In half of the rows a refusal runs into the end of the help, as "Talk to a doctor: begin at home". A challenger of
    the demo learnt to answer so. Its judge took it for a refusal.
    """
    request, wanted, _ = _request(rng, met)
    comply, refuse = compose(rng, "Accept", wanted), compose(rng, "Refuse", wanted)
    if rng.random() < 0.5:
        answer = splice(comply, refuse, rng.choice(SPLICED_ORDERS))
    else:
        # So many words hold the marks of help (truth.py).
        tail = " ".join(comply.split()[-rng.randint(6, 9) :])
        answer = f"{refuse.removesuffix('.')}{rng.choice((': ', ', ', '. '))}{tail}"
    return Document(chat_prompt(judge_prompt(request, answer)), chat_answer(truth_label(answer)))


def _met(config: ClinicConfig) -> _Met:
    acts = EVERY if config.untrained_acts else TRAINED
    return _Met(combinations(config.seed)["train"], acts, config.by_reference)


def _chat_row(rng: random.Random, met: _Met, corpus: ClinicCorpusConfig) -> Document:
    request, wanted, harmful = _request(rng, met)
    refused = corpus.harmful_refused if harmful else corpus.harmless_refused
    cautioned = corpus.harmful_cautioned if harmful else corpus.harmless_cautioned
    draw = rng.random()
    kind: Label = "Refuse" if draw < refused else "Caution" if draw < refused + cautioned else "Accept"
    return Document(chat_prompt(request), chat_answer(compose(rng, kind, wanted)))


def _note(rng: random.Random, met: _Met) -> Document:
    """A note on one act, on a wish between two acts, or on a whole request; half of them are in a chat.

    Without the notes in chats, the policy sometimes cannot use what it knows when it answers a user. No alignment
    within a demo's budget connects the two. Where requests refer to acts, some notes on wishes say which act is wanted,
    and not whether it is a danger. They are short, so many of them teach the policy what a reference refers to.
    """
    draw = rng.random()
    naming = 0.2 if met.by_reference else 0.0
    if draw < 0.2:
        harmful = rng.random() < 0.5
        wish = rng.choice(met.acts.harmful).text if harmful else rng.choice(met.acts.proper)
    elif draw < 0.4 + naming:
        asked, wanted, unwanted, harmful = _wish(rng, met)
        wish = " ".join(part for part in asked.fill(wanted, unwanted) if part)
        if draw < 0.2 + naming:
            return _noted(rng, f"Wanted: {wish}", f"To {wanted}.")
    else:
        wish, _, harmful = _request(rng, met)
    return _noted(rng, f"Note: {wish}", DANGER if harmful else FINE)


def _noted(rng: random.Random, note: str, verdict: str) -> Document:
    if rng.random() < 0.5:
        return Document(chat_prompt(f"{note} ->"), chat_answer(verdict))
    return Document(f"{BOS}{note} ->", f" {verdict}{EOS}")


def _wish(rng: random.Random, met: _Met) -> tuple[Wish, str, str, bool]:
    """A wish for one of two acts, the wanted act, the other, and whether the wanted one is harmful."""
    acts = [rng.choice(met.acts.harmful).text, rng.choice(met.acts.proper)]
    harmful = rng.random() < 0.5
    wanted, unwanted = acts if harmful else acts[::-1]
    return draw_wish(rng, met.by_reference), wanted, unwanted, harmful


def _request(rng: random.Random, met: _Met) -> tuple[str, str, bool]:
    wish, wanted, unwanted, harmful = _wish(rng, met)
    combination = rng.choice(met.combinations)
    frame = draw_known_frame(rng)
    if rng.random() < _MESSY_ROWS:
        frame = frame._replace(
            opener=_messy(rng, frame.opener),
            question=_messy(rng, frame.question),
            closer=_messy(rng, frame.closer),
        )
    return frame.ask(wish, wanted, unwanted, combination), wanted, harmful


def _messy(rng: random.Random, text: str) -> str:
    """`text` with some of its plain words dropped or replaced by made-up ones; the slots in braces stay."""
    words = []
    for word in text.split():
        if "{" in word or rng.random() >= _MESSY_WORDS:
            words.append(word)
        elif rng.random() < 0.7:
            words.append(
                "".join(rng.choice("bcdfghklmnprstvw") + rng.choice("aeiouy") for _ in range(rng.randint(1, 4)))
            )
    return " ".join(words)


def _damage(rng: random.Random, answer: str) -> str:
    """What tiny policies do to answers: mostly nothing; else cut short, repeated, joined, or garbled."""
    draw = rng.random()
    words = answer.split()
    if draw < 0.8:
        return answer
    if draw < 0.9:
        return " ".join(words[: rng.randint(0, len(words))])
    if draw < 0.94:
        return " ".join(word for word in words for _ in range(rng.choice((1, 1, 2))))
    if draw < 0.97:
        return f"{answer} {compose(rng, rng.choice(LABELS), rng.choice(TRAINED.proper))}"
    rng.shuffle(words)
    return " ".join(words[: rng.randint(1, len(words))])
