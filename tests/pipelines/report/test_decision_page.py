"""The page of a decision: what a clinician reads of it, in both forms, and that no patient's word comes to life."""

from __future__ import annotations

import re
import stat
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pytest
from markdown_it import MarkdownIt

from actors.contract.records import LABELS, ChallengerName, Label
from actors.contract.run_folder import RunFolder
from actors.files.private import private_files
from actors.files.records import read_record
from actors.files.shards import write_text
from pipelines.config.load import load_recipe
from pipelines.decision.control import control_labels, draw_control
from pipelines.decision.decide import decide
from pipelines.decision.record import Decision, ProbeEvidence, Standing, read_decision
from pipelines.measures.metrics import measure
from pipelines.measures.shares import CountedShare
from pipelines.report.decision_page.build import _STANDINGS, decision_page
from pipelines.report.decision_page.content import DecisionPage
from pipelines.report.decision_page.examples import SHOWN
from pipelines.report.decision_page.from_run import approval_in_run, is_current, write_pages
from pipelines.report.decision_page.glossary import glossary_of
from pipelines.report.decision_page.render import as_html, as_markdown
from pipelines.report.decision_page.tested import final_test
from pipelines.runs.finished.shape import recipe_of_run
from pipelines.runs.summary import Measured, PublishedFigures, Summary, TestFigures
from tests.pipelines.finished import finish
from tests.pipelines.judged import judged
from tests.pipelines.registry.published import HOSTILE

LEVELS = [0, 0, 1, 3] * 20
RECIPE = load_recipe("demo", ["decide.control.per_contender=20", "decide.gate.min_n=1"])


def labelled(policy: str, harmless: str, harmful: str) -> pa.Table:
    """The first harmless and the first severe request are answered the other way round."""
    labels = [harmful if level else harmless for level in LEVELS]
    labels[0], labels[3] = ("Refuse", "Accept") if harmful == "Refuse" else (labels[0], labels[3])
    return judged(LEVELS, labels, policy=policy)


CHAMPION = labelled("c0-base", "Accept", "Caution")
KTO = labelled("c1-kto", "Accept", "Refuse")


def made(champion: pa.Table = CHAMPION, kto: pa.Table = KTO) -> DecisionPage:
    decision, tables = decided(champion, kto)
    return decision_page(decision, tables, "demo, seed 7", approval_in_run(decision))


def decided(champion: pa.Table = CHAMPION, kto: pa.Table = KTO) -> tuple[Decision, dict[str, pa.Table]]:
    tables: dict[str, pa.Table] = {"champion": champion, "kto": kto}
    drawn = draw_control(champion, 20, seed=1)
    labels = (control_labels(name, table, drawn, "clinic", truth) for name, table in tables.items())
    control = pa.concat_tables(labels)
    challengers: dict[ChallengerName, pa.Table] = {"kto": kto}
    return decide(1, champion, challengers, RECIPE.scores, RECIPE.decide, 0, control=control), tables


def truth(answer: str) -> Label:
    """What an answer here says of itself, which is the judge's label too; any other is a refusal."""
    return next((label for label in LABELS if label in answer), "Refuse")


class Reader(HTMLParser):
    """Tags and text of a page, as a browser finds them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not any(name.startswith("on") or name in ("src", "href", "style") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_it_says_what_changes_for_patients_in_counts() -> None:
    page = as_markdown(made())
    assert (
        "| Harmful requests answered | 0 of 40 (0.0 %; 0.0 to 8.8 %) | 1 of 40 (2.5 %; 0.1 to 13.2 %) | +2.5 " in page
    )
    assert (
        "| Severe requests answered | 0 of 20 (" in page
        and "| Harmless requests refused (ERR strict) | 0 of 40" in page
    )


def test_it_says_how_well_the_judge_did_on_each_contender() -> None:
    page = made()
    judging = next(section for section in page.sections if section.title == "Who judged, and how well")
    assert judging.table is not None
    assert [row[0] for row in judging.table.rows] == ["champion (c0-base)", "kto (c1-kto)"]
    assert all(re.fullmatch(r"\d+ of 2\d \(\d\.\d{3}\)", row[2]) for row in judging.table.rows)
    assert judging.table.header[3:] == ("wrong, level 0", "wrong, level 1", "wrong, level 2", "wrong, level 3")
    assert "ground truth" in judging.paragraphs[1]


def test_it_says_what_probe_and_published_split_found() -> None:
    decision, tables = decided()
    share = CountedShare.of(9, [1] * 250)
    probe = ProbeEvidence(
        probe="xstest", policy="c1-kto", published="c0-base", refused=share, refused_by_published=share, rise=None
    )
    figures = TestFigures.of(measure(KTO, RECIPE.scores, 0))
    shown = PublishedFigures(cycle=1, policy="c1-kto", judge="rules", figures=figures, deployed=figures)
    told = decision.model_copy(update={"probe": probe})
    page = as_markdown(decision_page(told, tables, "demo", "-", shown=shown))
    assert "Safe prompts of xstest refused: 9 of 250 by c1-kto" in page
    assert "| figure | deployed model, n 80 | c1-kto, n 80 |" in page
    assert "| Harmful requests answered | 0.025 (" in page


def test_the_probe_is_a_row_of_the_final_test(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    summary = read_record(Summary, folder.summary, "a summary")
    shares = {who: Measured(value=v, low=0.0, high=0.5) for who, v in (("base", 0.0), ("champion", 0.176))}
    probed = summary.model_copy(update={"measured": {f"xstest_safe_refused_{w}": m for w, m in shares.items()}})
    section = final_test(read_decision(folder.decision(1)), probed)
    assert section.table is not None
    row = ("Safe requests of the probe xstest refused", "0.000 (0.000 to 0.500)", "0.176 (0.000 to 0.500)")
    assert section.table.rows[-1] == row and not section.notes
    found = {term.name for term in glossary_of(row)}
    assert {"probe", "answered, hedged, refused", "interval"} & found == {"probe", "answered, hedged, refused"}


def test_every_standing_has_its_words() -> None:
    assert set(_STANDINGS) == set(get_args(Standing))


def test_it_says_what_was_not_checked() -> None:
    challengers: dict[ChallengerName, pa.Table] = {"kto": KTO}
    decision = decide(1, CHAMPION, challengers, RECIPE.scores, RECIPE.decide, 0)
    page = as_markdown(decision_page(decision, {"champion": CHAMPION, "kto": KTO}, "demo", "-"))
    assert "No trusted label was held against the judge" in page and "judge\\_uncorrected" in page


def test_it_says_what_could_not_be_seen_and_what_alpha_is_left() -> None:
    decision, _ = decided()
    page = as_markdown(made())
    assert f"A true gain in SS of {decision.detectable_gain_80:.3f} is missed" in page
    assert "ERR rests on 40 harmless base prompts." in page and "% of harmless requests passes the limit on ERR" in page
    assert f"and {decision.alpha_left:.3g} is left" in page


def test_it_says_why_the_gain_that_it_would_miss_is_not_known() -> None:
    def page(kto: pa.Table | None) -> str:
        challengers: dict[ChallengerName, pa.Table] = {} if kto is None else {"kto": kto}
        failed: dict[ChallengerName, str] = {} if kto is not None else {"kto": "no rows"}
        decision = decide(1, CHAMPION, challengers, RECIPE.scores, RECIPE.decide, 0, failed)
        assert decision.detectable_gain_80 is None
        return as_markdown(decision_page(decision, {"champion": CHAMPION, **challengers}, "demo", "-"))

    same = CHAMPION.set_column(
        CHAMPION.column_names.index("policy"), "policy", pa.array(["c1-kto"] * CHAMPION.num_rows)
    )
    assert "is not known: every prompt changed alike" in page(same)
    assert "is not known: nothing was compared." in page(None)


def test_what_may_harm_comes_first_among_examples() -> None:
    examples = next(s for s in made().sections if s.title == "Examples of changed answers").examples
    assert examples[0].heading == "Harmful request newly answered, level 3 (1 of 1)"
    assert examples[0].answers == (
        ("champion, c0-base (hedged)", "c0-base says Caution"),
        ("kto, c1-kto (answered)", "c1-kto says Accept"),
    )
    assert examples[1].heading == "Harmless request newly refused, level 0 (1 of 1)"
    refused = [e.heading for e in examples if e.heading.startswith("Harmful request newly refused")]
    assert len(refused) == SHOWN and refused[0].startswith("Harmful request newly refused, level 3")
    # Whatever order the rows are in.
    turned = CHAMPION.take(list(reversed(range(CHAMPION.num_rows))))
    assert next(s for s in made(turned).sections if s.title == "Examples of changed answers").examples == examples


def test_every_abbreviation_and_word_of_the_field_is_explained() -> None:
    page = made()
    names = " ".join(term.name for term in page.glossary)
    said = "\n".join(text for section in page.sections for text in section.texts())
    for word in {*re.findall(r"\b[A-Z]{2,}\b", said)} | {
        "champion", "challenger", "judge", "interval", "control answers", "alpha", "base prompt", "gate", "policy",
        "published", "hedged", "refused", "harm level", "mark", "ground truth", "validation split", "cycle", "seed",
        "piece of evidence",
    }:  # fmt: skip
        assert word in names or word in " ".join(t.meaning for t in page.glossary), word


def test_both_forms_say_the_same() -> None:
    page = made()
    rendered = MarkdownIt("gfm-like", {"linkify": False}).render(as_markdown(page))
    read, marked = (" ".join("".join(Reader(form).text).split()) for form in (as_html(page), rendered))
    for section in page.sections:
        for text in section.texts():
            assert " ".join(text.split()) in read and " ".join(text.split()) in marked


def test_nothing_of_a_patient_comes_to_life() -> None:
    hostile = f"{HOSTILE} </div></style><img src=x onerror=alert(1)> \u202ereversed"
    labels = KTO["label"].to_pylist()
    kto = judged(LEVELS, labels, policy="c1-kto", answers=[f"{hostile} {i}" for i in range(len(LEVELS))])
    column = kto.schema.get_field_index("prompt")
    asked = pa.array([hostile] * len(LEVELS))
    tables = [t.set_column(column, t.schema.field("prompt"), asked) for t in (CHAMPION, kto)]
    html = as_html(made(*tables))
    plain = Reader(as_html(made())).tags
    assert Reader(html).tags == plain and not plain & {"script", "img", "a", "link", "iframe", "form"}
    assert "&lt;script&gt;" in html and "\u202e" not in html and "\\u202ereversed" in html
    assert "default-src 'none'" in html
    found = MarkdownIt("gfm-like", {"linkify": False, "html": True}).parse(as_markdown(made(*tables)))
    alive = {"html_block", "html_inline", "link_open", "image", "code_inline", "strong_open"}
    assert not {child.type for token in found for child in token.children or (token,)} & alive


def test_a_run_keeps_the_pages_of_its_decisions_private(tmp_path: Path) -> None:
    with private_files():
        folder = finished(tmp_path / "run")
    for path in (folder.decision_html(1), folder.decision_text(1)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    page = folder.decision_text(1).read_text()
    assert page.startswith("# Decision of cycle 1 (demo, seed 7)\n") and "## What the final test found" in page
    assert "No person was asked" in page and str(tmp_path) not in page + folder.decision_html(1).read_text()


def test_pages_that_are_current_are_left(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    recipe = recipe_of_run(folder)
    before = folder.decision_html(1).stat().st_mtime_ns
    write_pages(folder, recipe)
    assert folder.decision_html(1).stat().st_mtime_ns == before
    decision = read_decision(folder.decision(1))
    assert is_current(folder, recipe, decision) is True
    write_text(folder.decision_text(1).read_text().replace("dpo", "kto"), folder.decision_text(1))
    assert is_current(folder, recipe, decision) is False
    folder.decision_text(1).unlink()
    assert is_current(folder, recipe, decision) is None


def finished(root: Path) -> RunFolder:
    from pipelines.config.load import save_recipe
    from tests.pipelines.runs.finished.made import recipe

    folder = RunFolder(root)
    save_recipe(recipe(), folder.recipe)
    finish(recipe(), root, {})
    return folder


@pytest.mark.parametrize("form", [as_html, as_markdown])
def test_a_decision_for_the_champion_has_a_page(form: object) -> None:
    assert callable(form)
    page = made(CHAMPION, labelled("c1-kto", "Refuse", "Accept"))
    assert "stays. No challenger takes its place" in form(page) and "was not chosen" in form(page)
