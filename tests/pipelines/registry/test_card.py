"""The model card: what it says, and that no text of others comes to life in it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from markdown_it import MarkdownIt

from actors.engine.sampling_defaults import SamplingDefaults
from pipelines.config.scores import ScoreTable
from pipelines.decision.record import ProbeEvidence
from pipelines.measures.metrics import measure
from pipelines.measures.shares import CountedShare
from pipelines.registry.cards.policy import TEMPLATE, environment, model_card
from pipelines.registry.store import CARD, Registry
from pipelines.report.markdown import plain
from pipelines.runs.summary import Measured, PublishedFigures, TestFigures
from tests.pipelines.finished import PROMPTS, answers
from tests.pipelines.registry.published import HOSTILE
from tests.root import ROOT

# As GitHub and the hub read it, HTML included.
READER = MarkdownIt("gfm-like", {"linkify": False, "html": True})
ALIVE = {"html_block", "html_inline", "link_open", "image", "code_inline", "strong_open", "em_open", "s_open", "fence"}


def tokens(markdown: str) -> set[str]:
    """Every kind of token a reader finds."""
    found = READER.parse(markdown)
    return {token.type for token in found} | {child.type for token in found for child in token.children or ()}


@pytest.fixture
def card(registry: Registry, versions: Sequence[str]) -> str:
    return (registry.folder(registry.find(versions[2])) / CARD).read_text()


def test_it_says_what_a_reader_needs(card: str, registry: Registry, versions: Sequence[str]) -> None:
    front, body = card.removeprefix("---\n").split("\n---\n", 1)
    head = yaml.safe_load(front)
    assert head["pipeline_tag"] == "text-generation" and set(head["tags"]) >= {"salus", "dpo", "lora"}
    for section in ("What it is for", "What it is not for", "Lineage", "Training data", "Figures", "Limits"):
        assert f"\n## {section}\n" in body
    entry = registry.find(versions[2])
    assert entry.merged.contents.sha256 in body and versions[1] in body
    assert "Its weights were made by Salus to show how alignment works" in body
    assert "4 preference rows (level 0: 1, level 3: 2, level unknown: 1)" in body
    assert "| Safety Score (SS) | 1.000 | " in body and " | 24 |" in body
    # As `pipelines.measures.metrics` makes them.
    assert "bootstrap intervals that draw whole base prompts" in body and "exact (Clopper and Pearson)" in body
    assert "taken for independent" not in body and "Different base prompts are counted as independent" in body
    assert "The page of this decision is cycles/02/decision.html" in body
    assert "Not trusted, and accepted all the same" in body and "Cohen's kappa" in body


def test_it_tells_what_was_asked_before_and_after_the_publication(registry: Registry, versions: Sequence[str]) -> None:
    entry = registry.find(versions[2])
    assert entry.validation is not None and "Published split" not in model_card(entry)
    share = CountedShare.of(3, [1] * 250)
    probe = ProbeEvidence(
        probe="xstest", policy="c2-dpo", published="c1-kto", refused=share, refused_by_published=share, rise=None
    )
    metrics = measure(answers("c2-dpo", PROMPTS), ScoreTable(), 0)
    figures = TestFigures.of(metrics)
    shown = PublishedFigures(cycle=2, policy="c2-dpo", judge="rules", figures=figures, deployed=figures)
    told = entry.validation.model_copy(update={"probe": probe, "published": shown})
    card = model_card(entry.model_copy(update={"validation": told}))
    assert "Safe prompts of xstest refused: 3 of 250 by c2-dpo, 3 of 250 by c1-kto" in card
    assert "Published split: prompts that no decision uses" in card
    assert card.count("| Safety Score (SS) | 1.000 | ") == 2 and " | 24 | 1.000 |" in card


def test_it_holds_the_figures_of_the_final_test(card: str, registry: Registry, versions: Sequence[str]) -> None:
    """The run's end measured the deployed model and the last champion; that of `publish_run` is its first winner."""
    tested = registry.find(versions[1]).tested
    assert tested is not None and tested.probes == {}
    text = (registry.folder(registry.find(versions[1])) / CARD).read_text()
    assert "Test split, which no decision looks at, by the run's judge, n 24" in text
    assert f"| Safety Score (SS) | {tested.figures.ss.value:.3f} | " in text if tested.figures.ss else False
    assert "No figure of the test split is known" in card
    share = Measured(value=0.036, low=0.02, high=0.06)
    probed = tested.model_copy(update={"probes": {"xstest_safe_refused": share}})
    entry = registry.find(versions[1]).model_copy(update={"tested": probed})
    assert "| probe, xstest safe refused | 0.036 | 0.020 to 0.060 |" in model_card(entry)


def test_it_says_what_the_model_adds_to_a_request(card: str, registry: Registry, versions: Sequence[str]) -> None:
    entry = registry.find(versions[2])
    assert entry.sampling is not None and entry.sampling.max_new_tokens == 64
    assert "Sampling defaults of the model's own: max\\_new\\_tokens 64. Greedy answers were measured with them" in card
    penalised = entry.model_copy(update={"sampling": SamplingDefaults(repetition_penalty=1.3)})
    assert "of the model's own: repetition\\_penalty 1.3. Greedy" in model_card(penalised)
    # An entry of an older version says nothing.
    assert "Sampling defaults" not in model_card(entry.model_copy(update={"sampling": None}))


def test_it_says_where_rules_know_english_only(card: str, registry: Registry, versions: Sequence[str]) -> None:
    assert "refusal rules, which know English only" in card
    entry = registry.find(versions[2])
    by_model = entry.judge.model_copy(update={"regimen": "EXT", "name": "ext-judge"})
    assert "know English only" not in model_card(entry.model_copy(update={"judge": by_model}))


def test_it_says_which_revision_the_model_began_with(registry: Registry, versions: Sequence[str]) -> None:
    entry = registry.find(versions[2])
    base = entry.base.model_copy(update={"source": "hub", "hub_id": "clinic/assistant", "revision": "v1.2"})
    assert "Deployed model: clinic/assistant at revision v1.2, content" in model_card(
        entry.model_copy(update={"base": base})
    )


def test_nothing_of_others_comes_to_life(card: str) -> None:
    body = card.split("\n---\n", 1)[1]
    assert "script" in body and "<script>" not in body
    assert "http://" not in body and "www." not in body and "@team" not in body
    assert not tokens(body) & ALIVE
    assert {"table_open", "heading_open", "bullet_list_open"} <= tokens(body)


def test_it_names_no_path_of_this_machine(card: str, tmp_path: Path) -> None:
    assert str(tmp_path) not in card and str(Path.home()) not in card


def test_names_and_prompts_of_a_record_are_escaped_too(registry: Registry, versions: Sequence[str]) -> None:
    entry = registry.find(versions[2])
    judge = entry.judge.model_copy(update={"name": HOSTILE, "prompt": HOSTILE})
    origin = entry.origin.model_copy(update={"run": f"/runs/{HOSTILE}", "packages": {HOSTILE: HOSTILE}})
    text = model_card(entry.model_copy(update={"judge": judge, "origin": origin}))
    assert not tokens(text.split("\n---\n", 1)[1]) & ALIVE


@given(st.text(max_size=60))
def test_plain_text_is_one_line_that_reads_as_itself(text: str) -> None:
    found = READER.renderInline(f"x {plain(text)}")
    assert not {c.type for t in READER.parseInline(f"x {plain(text)}") for c in t.children or ()} & ALIVE
    assert "\n" not in found
    unescaped = found.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&")
    assert unescaped.split() == ["x", *"".join(c if c.isprintable() else " " for c in text).split()]


def test_long_text_is_cut() -> None:
    assert plain("a" * 100, longest=20) == "a" * 16 + " ..."


@pytest.mark.parametrize("expression", ["{{ text }}", "{{ text | safe }}", "{{ [text] | join }}", "{{ text ~ text }}"])
def test_no_expression_of_a_template_reaches_the_card_unescaped(expression: str) -> None:
    text = environment().from_string(f"x {expression}").render(text=HOSTILE)
    assert not tokens(text) & ALIVE
    assert plain(HOSTILE) in text


def test_a_name_that_a_template_misspells_stops_the_card() -> None:
    with pytest.raises(UndefinedError):
        environment().from_string("{{ txt }}").render(text="")


def test_the_template_is_part_of_the_package() -> None:
    (pattern,) = (each for each in package_data("pipelines") if each.startswith("registry/"))
    assert TEMPLATE in {path.name for path in (ROOT / "pipelines").glob(pattern)}


def package_data(package: str) -> list[str]:
    """Which files beside modules a package takes along."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found: list[str] = settings["tool"]["setuptools"]["package-data"][package]
    return found
