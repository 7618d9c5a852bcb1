"""Names of policies as a run gives them."""

from __future__ import annotations

import pytest

from actors.errors import SalusError
from pipelines.registry.names import read_run_version


@pytest.mark.parametrize(
    ("text", "cycle", "challenger"),
    [("c0-base", 0, None), ("c1-kto", 1, "kto"), ("c12-dpo-ipo", 12, "dpo-ipo"), ("c3-" + "x" * 32, 3, "x" * 32)],
)
def test_a_runs_version_is_taken_apart(text: str, cycle: int, challenger: str | None) -> None:
    found = read_run_version(text, "the log")
    assert (found.text, found.cycle, found.challenger) == (text, cycle, challenger)


@pytest.mark.parametrize(
    "text",
    [
        "c0-kto", "c1-base", "c1-champion", "c1-rows", "c1-", "c1", "kto", "c01-kto", "c1-../x", "c1-KTO", "c1-a_b",
        "c1-a/b", "c1-kto\n", "c1--kto", "c1-" + "x" * 33,
    ],
)  # fmt: skip
def test_a_version_that_no_run_makes_is_refused(text: str) -> None:
    with pytest.raises(SalusError, match="which no run makes"):
        read_run_version(text, "the log")
