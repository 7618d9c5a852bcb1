"""The contrast set's promises: twins, levels, methods, disjoint splits."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import pytest

from actors.contract.records import METHODS, SPLITS, Prompt, Split
from actors.errors import SalusError
from pipelines.data.clinic.acts import (
    DRUGS,
    HARMFUL_ACTS,
    PEOPLE,
    PROPER_ACTS,
    TRAINED_HARMFUL_ACTS,
    TRAINED_PROPER_ACTS,
    UNTRAINED_HARMFUL_ACTS,
    UNTRAINED_PROPER_ACTS,
)
from pipelines.data.clinic.config import ClinicConfig
from pipelines.data.clinic.frames import CLOSERS, OPENERS, QUESTIONS, FrameSet, of_split
from pipelines.data.clinic.prompts import clinic_prompts, combinations

CONFIG = ClinicConfig(seed=3)
HARD = ClinicConfig(seed=3, by_reference=0.75, untrained_acts=True)
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


@pytest.mark.parametrize("config", [CONFIG, HARD])
def test_the_same_seed_gives_the_same_prompts_and_another_seed_others(config: ClinicConfig) -> None:
    small = config.model_copy(update={"train_prompts": 48, "validation_prompts": 48, "test_prompts": 48})
    assert clinic_prompts(small) == clinic_prompts(small)
    assert clinic_prompts(small) != clinic_prompts(small.model_copy(update={"seed": 2}))


def test_an_odd_size_is_refused() -> None:
    with pytest.raises(SalusError, match="even"):
        clinic_prompts(ClinicConfig(test_prompts=47))


def test_acts_are_balanced() -> None:
    assert Counter(act.level for act in TRAINED_HARMFUL_ACTS) == {1: 8, 2: 8, 3: 8}
    assert Counter(act.level for act in UNTRAINED_HARMFUL_ACTS) == {1: 2, 2: 2, 3: 2}
    assert {act.principle for act in TRAINED_HARMFUL_ACTS} == set(range(8))
    assert len(TRAINED_PROPER_ACTS) == len(TRAINED_HARMFUL_ACTS)
    assert len(UNTRAINED_PROPER_ACTS) == len(UNTRAINED_HARMFUL_ACTS)
    assert len({*PROPER_ACTS, *(act.text for act in HARMFUL_ACTS)}) == len(PROPER_ACTS) + len(HARMFUL_ACTS) == 60


def test_some_acts_are_in_the_test_split_alone() -> None:
    prompts = clinic_prompts(HARD)
    untrained = {*UNTRAINED_PROPER_ACTS, *(act.text for act in UNTRAINED_HARMFUL_ACTS)}
    found = {
        split: sum(bool(set(p.base_prompt.split(" / ")) & untrained) for p in rows) / len(rows)
        for split, rows in prompts.items()
    }
    assert found["train"] == found["validation"] == 0
    assert 0.25 < found["test"] < 0.5


@pytest.mark.parametrize("by_reference", [0.0, 1.0])
def test_a_request_by_reference_names_no_act_in_its_question(by_reference: float) -> None:
    rows = clinic_prompts(CONFIG.model_copy(update={"by_reference": by_reference}))["train"]
    # Connectives have these words, and no reference has any of them.
    words = re.compile(r"\b(but|rather|r4ther|rath3r|without|with0ut|never|n3v3r|not|n0t)\b")
    beside = [p for p in rows if words.search(p.prompt)]
    assert len(beside) > 0.8 * len(rows) if by_reference == 0 else not beside
