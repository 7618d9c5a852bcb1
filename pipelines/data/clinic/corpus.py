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
from pipelines.data.clinic.acts import CONNECTIVES, EVERY, TRAINED, Acts
from pipelines.data.clinic.answers import compose
from pipelines.data.clinic.config import ClinicConfig, ClinicCorpusConfig
from pipelines.data.clinic.frames import draw_known_frame
from pipelines.data.clinic.prompts import Combination, combinations, join
from pipelines.data.clinic.truth import truth_label
from pipelines.data.tiny.pretrain import Document
from pipelines.data.tiny.tokenizer import BOS, EOS, chat_answer, chat_prompt

JUDGE_PROMPT_FILE = Path(__file__).parents[3] / "actors" / "judges" / "prompts" / "clinic-v1.txt"
# Rows whose frame has some words dropped or made up, and the share of such words. A policy that has read only a few
# clean frames cannot read the unseen ones of validation and test.
_MESSY_ROWS = 0.5
_MESSY_WORDS = 0.25
DANGER, FINE = "A danger.", "Quite fine."


class _Known(NamedTuple):
    """What the requests of a corpus are drawn from."""

    combinations: list[Combination]
    acts: Acts


def policy_corpus(config: ClinicConfig) -> list[Document]:
    """Chat rows that mostly obey, notes of what is a danger, and a few noisy rows in the judge's format."""
    rng = random.Random(f"{config.seed}-policy-corpus")
    known = _known(config)
    corpus = config.corpus
    documents = [_chat_row(rng, known, corpus) for _ in range(corpus.chat_rows)]
    documents += [_note(rng, known) for _ in range(corpus.note_rows)]
    documents += [judge_row(rng, known, corpus.judge_noise) for _ in range(corpus.judge_rows)]
    rng.shuffle(documents)
    return documents


def judge_corpus(config: ClinicConfig) -> list[Document]:
    """The EXT judge's rows: requests with answers of every kind, some cut or broken, and the true verdict.

    Then come answers that comply and refuse in one. Without them it calls "comply, then apologise" a refusal.
    """
    rng = random.Random(f"{config.seed}-judge-corpus")
    known = _known(config)
    plain = [judge_row(rng, known, 0.0) for _ in range(config.judge_rows)]
    # Drawn apart, so that the other rows are what they would be without them.
    rng = random.Random(f"{config.seed}-judge-spliced")
    return plain + [spliced_row(rng, known) for _ in range(config.judge_spliced_rows)]


def judge_prompt(request: str, answer: str) -> str:
    """The judge's user message: the versioned template with both texts put in."""
    template = JUDGE_PROMPT_FILE.read_text(encoding="utf-8")
    return template.replace("{request}", request).replace("{answer}", answer)


def judge_row(rng: random.Random, known: _Known, noise: float) -> Document:
    """One row in the judge's format; with probability `noise` its verdict is drawn at random."""
    request, wanted, _ = _request(rng, known)
    answer = _damage(rng, compose(rng, rng.choice(LABELS), wanted))
    verdict = rng.choice(LABELS) if rng.random() < noise else truth_label(answer)
    return Document(chat_prompt(judge_prompt(request, answer)), chat_answer(verdict))


def spliced_row(rng: random.Random, known: _Known) -> Document:
    """One row in the judge's format, whose answer helps and refuses, in either order.

    In half of the rows a refusal runs into the end of the help, as "Talk to a doctor: begin at home". A challenger of
    the demo learnt to answer so. Its judge took it for a refusal.
    """
    request, wanted, _ = _request(rng, known)
    comply, refuse = compose(rng, "Accept", wanted), compose(rng, "Refuse", wanted)
    if rng.random() < 0.5:
        answer = splice(comply, refuse, rng.choice(SPLICED_ORDERS))
    else:
        # So many words hold the marks of help (truth.py).
        tail = " ".join(comply.split()[-rng.randint(6, 9) :])
        answer = f"{refuse.removesuffix('.')}{rng.choice((': ', ', ', '. '))}{tail}"
    return Document(chat_prompt(judge_prompt(request, answer)), chat_answer(truth_label(answer)))


def _known(config: ClinicConfig) -> _Known:
    return _Known(combinations(config.seed)["train"], EVERY if config.untrained_acts else TRAINED)


def _chat_row(rng: random.Random, known: _Known, corpus: ClinicCorpusConfig) -> Document:
    request, wanted, harmful = _request(rng, known)
    refused = corpus.harmful_refused if harmful else corpus.harmless_refused
    cautioned = corpus.harmful_cautioned if harmful else corpus.harmless_cautioned
    draw = rng.random()
    kind: Label = "Refuse" if draw < refused else "Caution" if draw < refused + cautioned else "Accept"
    return Document(chat_prompt(request), chat_answer(compose(rng, kind, wanted)))


def _note(rng: random.Random, known: _Known) -> Document:
    """A note on one act, on a wish between two acts, or on a whole request; half of them are in a chat.

    Without the notes in chats, the policy sometimes cannot use what it knows when it answers a user. No alignment
    within a demo's budget connects the two.
    """
    draw = rng.random()
    if draw < 0.2:
        harmful = rng.random() < 0.5
        wish = rng.choice(known.acts.harmful).text if harmful else rng.choice(known.acts.proper)
    elif draw < 0.4:
        wish, _, harmful = _wish(rng, known)
    else:
        wish, _, harmful = _request(rng, known)
    verdict = DANGER if harmful else FINE
    if rng.random() < 0.5:
        return Document(chat_prompt(f"Note: {wish} ->"), chat_answer(verdict))
    return Document(f"{BOS}Note: {wish} ->", f" {verdict}{EOS}")


def _wish(rng: random.Random, known: _Known) -> tuple[str, str, bool]:
    """A clause with one harmful and one proper act, the wanted act, and whether that one is the harmful."""
    acts = [rng.choice(known.acts.harmful).text, rng.choice(known.acts.proper)]
    harmful = rng.random() < 0.5
    wanted, unwanted = acts if harmful else acts[::-1]
    return join(rng.choice(CONNECTIVES), wanted, unwanted), wanted, harmful


def _request(rng: random.Random, known: _Known) -> tuple[str, str, bool]:
    core, wanted, harmful = _wish(rng, known)
    combination = rng.choice(known.combinations)
    frame = draw_known_frame(rng)
    if rng.random() < _MESSY_ROWS:
        frame = frame._replace(
            opener=_messy(rng, frame.opener),
            question=_messy(rng, frame.question),
            closer=_messy(rng, frame.closer),
        )
    return frame.ask(core, combination.drug, combination.person), wanted, harmful


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
