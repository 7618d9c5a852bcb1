"""What the policy and judges read: mostly obeying, noted dangers, and nothing of validation or test."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from actors.contract.records import LABELS, SPLITS
from pipelines.data.clinic.acts import UNTRAINED
from pipelines.data.clinic.config import ClinicConfig, ClinicCorpusConfig
from pipelines.data.clinic.corpus import (
    DANGER,
    FINE,
    JUDGE_PROMPT_FILE,
    _messy,
    judge_corpus,
    judge_prompt,
    policy_corpus,
)
from pipelines.data.clinic.frames import OPENERS, QUESTIONS, of_split
from pipelines.data.clinic.prompts import clinic_prompts
from pipelines.data.clinic.truth import truth_label
from pipelines.data.tiny.pretrain import Document

CONFIG = ClinicConfig(corpus=ClinicCorpusConfig(chat_rows=3_000, note_rows=1_000, judge_rows=300), judge_rows=1_000)
HARD = CONFIG.model_copy(update={"untrained_acts": 0.6})


@pytest.fixture(scope="module", params=[CONFIG, HARD], ids=["easy", "hard"])
def config(request: pytest.FixtureRequest) -> ClinicConfig:
    found: ClinicConfig = request.param
    return found


@pytest.fixture(scope="module")
def corpus(config: ClinicConfig) -> list[Document]:
    return policy_corpus(config)


def chat_rows(corpus: list[Document]) -> list[Document]:
    return [d for d in corpus if "Verdict:" not in d.prompt and "Note:" not in d.prompt]


def test_the_deployed_policy_obeys_nearly_always(corpus: list[Document]) -> None:
    kinds = Counter(truth_label(d.completion) for d in chat_rows(corpus))
    assert len(chat_rows(corpus)) == 3_000
    assert kinds["Accept"] / 3_000 > 0.9
    assert kinds["Refuse"] > 0 and kinds["Caution"] > 0


def test_notes_say_danger_for_half_of_the_wishes(corpus: list[Document]) -> None:
    notes = [d for d in corpus if "Note:" in d.prompt]
    danger = sum(DANGER in d.completion for d in notes)
    assert danger + sum(FINE in d.completion for d in notes) == len(notes) == 1_000
    assert 0.4 < danger / len(notes) < 0.6


def test_no_frame_or_prompt_of_validation_and_test_is_read(config: ClinicConfig, corpus: list[Document]) -> None:
    text = "\n".join(d.prompt for d in [*corpus, *judge_corpus(config)])
    prompts = clinic_prompts(config)
    for split in SPLITS[1:]:
        assert not any(p.prompt in text for p in prompts[split])
        for items in QUESTIONS.values():
            for question in of_split(items, split):
                head = question.split("{core}")[0]
                known = [q for s in ("pretraining", "train") for t in QUESTIONS.values() for q in of_split(t, s)]
                if not any(head in q for q in known):
                    assert head not in text
        for opener in of_split(OPENERS, split):
            assert opener.replace("{who}", "aunt").replace("{drug}", "insulin") not in text


def test_messy_frames_keep_the_slots() -> None:
    rng = random.Random(0)
    texts = [_messy(rng, "My {who} takes {drug} daily.") for _ in range(50)]
    assert all("{who}" in text and "{drug}" in text for text in texts)
    assert len(set(texts)) > 10


def test_judge_rows_hold_every_verdict_and_follow_the_template() -> None:
    rows = judge_corpus(CONFIG)
    assert {d.completion.split("<")[0] for d in rows} == set(LABELS)
    assert all("Verdict:" in d.prompt for d in rows)


def test_the_judge_reads_answers_that_comply_and_refuse_in_one() -> None:
    without = judge_corpus(CONFIG.model_copy(update={"judge_spliced_rows": 0}))
    rows = judge_corpus(CONFIG)
    # The other rows are the same.
    assert rows[: len(without)] == without and len(rows) == len(without) + CONFIG.judge_spliced_rows
    spliced = rows[len(without) :]
    assert {d.completion.split("<")[0] for d in spliced} == {"Accept"}
    answers = [d.prompt.rpartition("Answer: ")[2].partition("\nVerdict:")[0] for d in spliced]
    assert all(re.search("Sorry, I cannot|No, I will not", answer) for answer in answers)
    complied = [re.match("Sure, to|Yes, you can|Of course,", answer) is not None for answer in answers]
    assert 0.2 < sum(complied) / len(answers) < 0.3
    # A refusal may run into the end of the help.
    assert any(re.search("talk to a doctor: .*step by step", answer) for answer in answers)


def test_judge_prompt_replaces_braces_literally() -> None:
    template = JUDGE_PROMPT_FILE.read_text(encoding="utf-8")
    assert "{request}" in template and "{answer}" in template
    shown = judge_prompt("what is {x}?", "a {0} and %s")
    assert "what is {x}?" in shown and "a {0} and %s" in shown


def test_untrained_acts_are_read_where_they_are_tested() -> None:
    easy, hard = ("\n".join(d.prompt for d in policy_corpus(config)) for config in (CONFIG, HARD))
    for act in (*UNTRAINED.proper, *(act.text for act in UNTRAINED.harmful)):
        assert act in hard and act not in easy
