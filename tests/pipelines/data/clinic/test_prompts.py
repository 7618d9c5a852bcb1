"""The contrast set's promises: twins, levels, methods, disjoint splits."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import pytest

from actors.contract.records import METHODS, SPLITS, Prompt, Split
from actors.errors import SalusError
from pipelines.data.clinic.acts import CONNECTIVES, DRUGS, EVERY, PEOPLE, TRAINED, UNTRAINED, Acts
from pipelines.data.clinic.config import ClinicConfig
from pipelines.data.clinic.frames import CLOSERS, OPENERS, QUESTIONS, FrameSet, of_split
from pipelines.data.clinic.prompts import clinic_prompts, combinations

CONFIG = ClinicConfig(seed=3)
HARD = ClinicConfig(seed=3, untrained_acts=0.6)
FRAME_SETS: tuple[FrameSet, ...] = ("pretraining", "train", "validation", "test")


@pytest.fixture(scope="module", params=[CONFIG, HARD], ids=["easy", "hard"])
def prompts(request: pytest.FixtureRequest) -> dict[Split, list[Prompt]]:
    return clinic_prompts(request.param)


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.lower()))


def twins(prompts: list[Prompt]) -> list[tuple[Prompt, Prompt]]:
    """(harmful, harmless) pairs."""
    by_pair: dict[str, dict[str, Prompt]] = defaultdict(dict)
    for prompt in prompts:
        pair, mark = prompt.prompt_id.rsplit("-", 1)
        by_pair[pair][mark] = prompt
    return [(pair["h"], pair["b"]) for pair in by_pair.values()]


@pytest.mark.parametrize("split", SPLITS)
def test_each_harmful_prompt_has_a_harmless_twin_of_the_same_words(
    prompts: dict[Split, list[Prompt]], split: Split
) -> None:
    for harmful, harmless in twins(prompts[split]):
        assert harmful.level > 0 and harmless.level == 0
        assert words(harmful.prompt) == words(harmless.prompt)
        assert harmful.prompt != harmless.prompt
        assert (harmful.method, harmful.principle, harmful.base_prompt) == (
            harmless.method,
            harmless.principle,
            harmless.base_prompt,
        )


@pytest.mark.parametrize("split", SPLITS)
def test_every_level_method_and_principle_occurs(prompts: dict[Split, list[Prompt]], split: Split) -> None:
    rows = prompts[split]
    assert sum(p.level == 0 for p in rows) * 2 == len(rows)
    assert {(p.level, p.method) for p in rows} == {(level, method) for level in range(4) for method in METHODS}
    assert {p.principle for p in rows} == set(range(8))
    assert len({p.prompt_id for p in rows}) == len({p.prompt for p in rows}) == len(rows)


def test_always_refuse_and_always_answer_score_one_half(prompts: dict[Split, list[Prompt]]) -> None:
    for rows in prompts.values():
        assert sum(p.level > 0 for p in rows) / len(rows) == 0.5


def test_position_alone_does_not_tell_harm(prompts: dict[Split, list[Prompt]]) -> None:
    """Whether the harmful act stands first is a coin toss, among harmful prompts and among harmless ones."""
    for harmful in (True, False):
        rows = [p for p in prompts["train"] if (p.level > 0) == harmful and p.method != "obfuscate"]
        first = [
            p.prompt.index(acts[0]) < p.prompt.index(acts[1]) for p in rows if (acts := p.base_prompt.split(" / "))
        ]
        assert 0.35 < sum(first) / len(first) < 0.65


def test_splits_share_no_prompt_base_combination_or_frame(prompts: dict[Split, list[Prompt]]) -> None:
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        rows, others = prompts[one], prompts[other]  # type: ignore[index]
        assert not {p.base_prompt for p in rows} & {p.base_prompt for p in others}
        assert not {tuple(p.base_prompt.split(" / ")[2:]) for p in rows} & {
            tuple(p.base_prompt.split(" / ")[2:]) for p in others
        }
    for items in (OPENERS, CLOSERS, *QUESTIONS.values()):
        shares = [set(of_split(items, frame_set)) for frame_set in FRAME_SETS]
        assert sum(len(share) for share in shares) == len(set(items)) == len(items)


def test_combinations_are_dealt_once() -> None:
    dealt = combinations(0)
    every = [c for split in SPLITS for c in dealt[split]]
    assert len(every) == len(set(every)) == len(DRUGS) * len(PEOPLE)


def test_harmful_prompts_come_with_a_refusal_and_harmless_with_help(
    prompts: dict[Split, list[Prompt]],
) -> None:
    from pipelines.data.clinic.truth import truth_label

    for prompt in prompts["test"]:
        assert prompt.reference is not None
        assert truth_label(prompt.reference) == ("Refuse" if prompt.level else "Accept")


def test_the_same_seed_gives_the_same_prompts_and_another_seed_others() -> None:
    small = ClinicConfig(seed=1, train_prompts=48, validation_prompts=48, test_prompts=48)
    assert clinic_prompts(small) == clinic_prompts(small)
    assert clinic_prompts(small) != clinic_prompts(small.model_copy(update={"seed": 2}))


def test_an_odd_size_is_refused() -> None:
    with pytest.raises(SalusError, match="even"):
        clinic_prompts(ClinicConfig(test_prompts=47))


@pytest.mark.parametrize("acts", [TRAINED, UNTRAINED], ids=["trained", "untrained"])
def test_acts_are_balanced(acts: Acts) -> None:
    assert Counter(act.level for act in acts.harmful) == {1: 8, 2: 8, 3: 8}
    assert {act.principle for act in acts.harmful} == set(range(8))
    assert len(acts.proper) == len(acts.harmful)


def test_no_act_is_there_twice() -> None:
    texts = [*EVERY.proper, *(act.text for act in EVERY.harmful)]
    assert len(texts) == len(set(texts)) == 96


def test_connectives_name_either_act_first() -> None:
    assert sum(c.index("{w}") < c.index("{u}") for c in CONNECTIVES) * 2 == len(CONNECTIVES)


def test_some_acts_are_in_the_test_split_alone() -> None:
    prompts = clinic_prompts(HARD)
    untrained = {*UNTRAINED.proper, *(act.text for act in UNTRAINED.harmful)}
    # Both acts of a request or neither.
    named = {
        split: [len(set(p.base_prompt.split(" / ")[:2]) & untrained) for p in rows] for split, rows in prompts.items()
    }
    assert set(named["train"]) == set(named["validation"]) == {0}
    assert set(named["test"]) == {0, 2}
    assert 0.5 < named["test"].count(2) / len(named["test"]) < 0.7
