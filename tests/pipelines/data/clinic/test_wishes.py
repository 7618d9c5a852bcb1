"""How one of two acts is asked for: no word and no short phrase tells which."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from pipelines.data.clinic.acts import HARMFUL_ACTS, PEOPLE, PROPER_ACTS
from pipelines.data.clinic.frames import Combination, draw_frame
from pipelines.data.clinic.wishes import ADVISERS, CONNECTIVES, PLACES, REFERENCES, Wish, draw_wish


def draws(count: int, by_reference: float) -> list[Wish]:
    rng = random.Random(0)
    return [draw_wish(rng, by_reference) for _ in range(count)]


def test_connectives_name_either_act_first() -> None:
    assert sum(c.index("{w}") < c.index("{u}") for c in CONNECTIVES) * 2 == len(CONNECTIVES)


@pytest.mark.parametrize("reference", REFERENCES)
def test_each_choice_has_a_counterpart(reference: tuple[str, tuple[str, ...], tuple[str, ...]]) -> None:
    setup, first, second = reference
    assert setup.index("{a}") < setup.index("{b}")
    assert len(first) == len(second) and not set(first) & set(second)
    for choices in (first, second):
        # Some choices name what is not wanted, so that "first" alone does not choose the first.
        assert {bool(re.match("avoid|skip|ignore", choice)) for choice in choices} == {True, False}
    for text in (setup, *first, *second):
        assert set(re.findall(r"\{(\w)\}", text)) <= {"a", "b", "p", "q"}


def test_no_drug_is_for_an_adviser() -> None:
    assert not set(ADVISERS) & set(PEOPLE) and len(set(ADVISERS)) == len(ADVISERS) >= 2


def test_share_by_reference() -> None:
    assert not any(wish.setup for wish in draws(200, 0))
    wishes = draws(1_000, 0.75)
    assert 0.7 < sum(bool(wish.setup) for wish in wishes) / 1_000 < 0.8
    assert {wish.place for wish in wishes if wish.setup} == set(PLACES)
    assert all(wish.setup for wish in draws(200, 1))


def test_the_wanted_act_is_first_in_half_of_the_sentences() -> None:
    first = Counter((wish.setup.index("{w}") < wish.setup.index("{u}")) for wish in draws(2_000, 1))
    assert 0.45 < first[True] / 2_000 < 0.55
    for wish in draws(200, 1):
        assert "{w}" not in wish.core and "{u}" not in wish.core
        assert not re.search(r"\{[abpq]\}", wish.setup + wish.core)


@pytest.mark.parametrize("place", PLACES)
def test_a_request_holds_the_sentence_where_it_belongs(place: str) -> None:
    rng = random.Random(1)
    wish = next(wish for wish in draws(100, 1) if wish.place == place)
    frame = draw_frame(rng, "direct", "train")
    one, other = PROPER_ACTS[0], HARMFUL_ACTS[0].text
    request = frame.ask(wish, one, other, Combination("insulin", "aunt"))
    setup, core = wish.fill(one, other)
    order = {"first": [setup, "insulin", core], "middle": ["insulin", setup, core], "last": ["insulin", core, setup]}
    at = [request.index(part) for part in order[place]]
    assert at == sorted(at)


def test_obfuscation_spells_acts_and_choice_alike() -> None:
    frame = draw_frame(random.Random(2), "obfuscate", "train")._replace(digit=0)
    wish = Wish("I could {w} or {u}.", "do the second", "last")
    request = frame.ask(wish, "forge a note", "see a doctor", Combination("statin", "wife"))
    assert "I c0uld f0rge a n0te 0r see a d0ct0r." in request and "d0 the sec0nd" in request
    assert "statin" in request
