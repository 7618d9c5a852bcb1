"""The unit of evidence is a setting, and restoring the gate asks for non-inferiority."""

from __future__ import annotations

import pyarrow as pa
import pytest

from actors.contract.records import ChallengerName
from actors.errors import SalusError
from pipelines.config.decision import Cluster, DecisionConfig, GateConfig
from pipelines.config.load import load_recipe
from pipelines.config.scores import ScoreTable
from pipelines.data.clinic.acts import TRAINED
from pipelines.data.clinic.config import ClinicConfig
from pipelines.data.clinic.prompts import clinic_prompts
from pipelines.decision.clusters import clusters
from pipelines.decision.decide import decide
from tests.pipelines.judged import judged

OPEN = GateConfig(err_strict_max=(), min_n=1, max_repetition=None, max_length_ratio=None, min_coverage=0.0)


def count(table: pa.Table, by: Cluster) -> int:
    return len(set(clusters(table, by).tolist()))


def of_sources(table: pa.Table, sources: list[str]) -> pa.Table:
    at = table.column_names.index("source")
    return table.set_column(at, table.schema.field("source"), pa.array(sources))


def test_the_clinics_validation_split_is_about_24_acts() -> None:
    prompts = clinic_prompts(ClinicConfig(seed=7))["validation"]
    table = judged(
        [prompt.level for prompt in prompts],
        ["Accept"] * len(prompts),
        bases=[prompt.base_prompt for prompt in prompts],
        principles=[prompt.principle for prompt in prompts],
    )
    assert count(table, "act") == len(TRAINED.harmful) == 24
    assert count(table, "principle") == 8
    assert count(table, "base_prompt") > 150
    # An act that is not the clinic's is its base prompt.
    assert count(judged([0, 3], ["Accept"] * 2), "act") == 2


def test_clusters_that_share_a_base_prompt_are_one() -> None:
    table = judged([3] * 6, ["Accept"] * 6, bases=["a", "a", "b", "c", "d", "d"])
    table = of_sources(table, ["x", "y", "y", "z", "w", "w"])
    # x and y share base prompt a; z and w stand alone.
    assert clusters(table, "source").tolist() == [0, 0, 0, 1, 2, 2]
    nameless = judged([3] * 3, ["Accept"] * 3, bases=["a", "b", "c"], principles=[1, None, 1])
    assert clusters(nameless, "principle").tolist() == [0, 1, 0]
    with pytest.raises(SalusError, match="no column 'source'"):
        clusters(table.drop_columns("source"), "source")


def test_a_gain_within_one_document_is_no_gain_of_many() -> None:
    """Twelve prompts gained, all of them about one of five documents."""
    levels = [3] * 60
    old = judged(levels, ["Accept"] * 12 + ["Refuse"] * 48, policy="v0")
    new = judged(levels, ["Refuse"] * 60, policy="k1")
    sources = [f"document {i // 12}" for i in range(60)]
    tables = of_sources(old, sources), of_sources(new, sources)
    config = DecisionConfig(gate=OPEN, resamples=300)
    assert decide(1, tables[0], {"kto": tables[1]}, ScoreTable(), config, 0).chosen == "kto"
    by_source = config.model_copy(update={"cluster": "source"})
    decision = decide(1, tables[0], {"kto": tables[1]}, ScoreTable(), by_source, 0)
    comparison = decision.challengers[0].comparison
    assert decision.chosen == "champion" and comparison is not None
    assert (comparison.clusters, comparison.base_prompts) == (5, 60)


def test_the_demo_counts_acts_and_other_data_has_base_prompts() -> None:
    assert load_recipe("demo").decide.cluster == "act"
    others = judged([0, 3], ["Accept"] * 2, bases=["aspirin / dose", "aspirin / price"])
    assert count(others, "act") == 2


def test_a_challenger_that_may_be_much_worse_restores_no_gate() -> None:
    """Not significantly worse is not shown to be no worse: 7 prompts lost and 5 gained of 60."""
    harmless, harmful = [0] * 20, [3] * 40
    levels = harmless + harmful
    old = judged(levels, ["Refuse"] * 5 + ["Accept"] * 15 + ["Refuse"] * 40, policy="v0")
    new = judged(levels, ["Accept"] * 20 + ["Accept"] * 7 + ["Refuse"] * 33, policy="k1")
    challengers: dict[ChallengerName, pa.Table] = {"kto": new}
    config = DecisionConfig(gate=GateConfig(err_strict_max=(0.1,), min_n=1), resamples=300)
    held = decide(1, old, challengers, ScoreTable(), config, 0)
    comparison = held.challengers[0].comparison
    assert comparison is not None and comparison.lower_end is not None
    # What earlier versions asked for would hold.
    assert comparison.p_worse > 0.05
    assert comparison.lower_end < -0.05 and (held.chosen, held.reason) == ("champion", "not_better")
    wide = config.model_copy(update={"restore_margin": 0.2})
    assert decide(1, old, challengers, ScoreTable(), wide, 0).reason == "gate_restored"
