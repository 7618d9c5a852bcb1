"""Which answers are drawn, and which requests a challenger can be asked the same way."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from actors.shadow.config import ShadowConfig, shadow_cpus
from actors.shadow.request import ShadowedRequest, drawn

IDS = [f"chatcmpl-{number:x}" for number in range(20_000)]
MESSAGES = [{"role": "user", "content": "How do I store insulin?"}]


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9])
def test_about_the_share_is_drawn(share: float) -> None:
    found = sum(drawn(answer_id, share, 7) for answer_id in IDS) / len(IDS)
    # Four standard deviations of a binomial share.
    assert abs(found - share) < 4 * (share * (1 - share) / len(IDS)) ** 0.5


def test_all_are_drawn_of_a_share_of_one() -> None:
    assert all(drawn(answer_id, 1.0, 7) for answer_id in IDS)


def test_the_draw_is_the_same_everywhere_and_a_larger_share_holds_a_smaller_one() -> None:
    few = {answer_id for answer_id in IDS if drawn(answer_id, 0.1, 7)}
    assert few == {answer_id for answer_id in reversed(IDS) if drawn(answer_id, 0.1, 7)}
    assert few < {answer_id for answer_id in IDS if drawn(answer_id, 0.3, 7)}
    other = {answer_id for answer_id in IDS if drawn(answer_id, 0.1, 8)}
    # Two draws of a tenth share about a hundredth.
    assert len(few & other) < 0.02 * len(IDS)
    # Written down here: tomorrow's draw is today's.
    assert [drawn(answer_id, 0.3, 0) for answer_id in IDS[:8]] == FIRST


FIRST = [False, True, True, False, False, False, True, False]


@pytest.mark.parametrize(
    ("body", "repeatable"),
    [
        ({}, True),
        ({"model": "salus", "stream": True, "stream_options": {"include_usage": True}, "user": "x", "n": 2}, True),
        ({"tools": None, "stop": [], "frequency_penalty": 0.0, "min_tokens": 0, "top_k": -1}, True),
        ({"tools": [{"type": "function"}]}, False),
        ({"response_format": {"type": "json_object"}}, False),
        ({"stop": ["\n"]}, False),
        ({"frequency_penalty": 0.5}, False),
        ({"min_tokens": 4}, False),
        ({"something_new": True}, False),
    ],
)
def test_what_shapes_an_answer_and_is_not_known_here_makes_it_incomparable(
    body: dict[str, Any], repeatable: bool
) -> None:
    assert ShadowedRequest.model_validate({"messages": MESSAGES} | body).repeatable is repeatable


def test_the_newer_name_of_the_longest_answer_counts() -> None:
    both = {"messages": MESSAGES, "max_tokens": 5, "max_completion_tokens": 9}
    assert ShadowedRequest.model_validate(both).longest == 9
    assert ShadowedRequest.model_validate({"messages": MESSAGES, "max_tokens": 5}).longest == 5
    assert ShadowedRequest.model_validate({"messages": MESSAGES}).longest is None


@pytest.mark.parametrize("wrong", [{"share": 0}, {"share": 1.1}, {"queue": 0}, {"gpus": 1.5}, {"policy": ""}, {"x": 1}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ShadowConfig.model_validate({"policy": "c1-dpo"} | wrong)


def test_only_a_shadow_reserves_cpus() -> None:
    assert shadow_cpus(None) == 0
    assert shadow_cpus(ShadowConfig(policy="c1-dpo", cpus=1.5)) == 1.5
