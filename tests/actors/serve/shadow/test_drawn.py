"""Which answers are drawn, and what shadow mode's settings may say."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from actors.serve.shadow.config import ShadowConfig, shadow_cpus
from actors.serve.shadow.sampler import drawn

IDS = [f"chatcmpl-{number:x}" for number in range(20_000)]


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


@pytest.mark.parametrize("wrong", [{"share": 0}, {"share": 1.1}, {"queue": 0}, {"gpus": 1.5}, {"policy": ""}, {"x": 1}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ShadowConfig.model_validate({"policy": "c1-dpo"} | wrong)


def test_only_a_shadow_reserves_cpus() -> None:
    assert shadow_cpus(None) == 0
    assert shadow_cpus(ShadowConfig(policy="c1-dpo", cpus=1.5)) == 1.5
