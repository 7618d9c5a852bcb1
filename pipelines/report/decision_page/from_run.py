"""The pages of a run's decisions: made from its folder alone, and written beside each record."""

from __future__ import annotations

from actors.contract.run_folder import RunFolder
from actors.files.shards import write_text
from pipelines.config.recipe import Recipe
from pipelines.decision.ending import past_decisions
from pipelines.decision.record import Decision
from pipelines.report.decision_page.build import decision_page
from pipelines.report.decision_page.content import DecisionPage
from pipelines.report.decision_page.render import as_html, as_markdown
from pipelines.runs.finished.audit import answers_of
from pipelines.runs.summary import find_published, find_summary


def page_of(folder: RunFolder, recipe: Recipe, decision: Decision, approval: str | None = None) -> DecisionPage:
    """The page of one decision of a run, with the final test where the run is over.

    Args:
        folder: of the run.
        recipe: the run's.
        decision: as recorded, or as it was made again.
        approval: who approved, where the registry was asked; None: what the run itself knows of it.

    Raises:
        SalusError: the judged answers it rests on, or the summary, cannot be read.
    """
    return decision_page(
        decision,
        answers_of(folder, recipe, decision),
        # Not the folder's name, so that the page is the same wherever the run is copied to.
        f"{recipe.name}, seed {recipe.seed}",
        approval or approval_in_run(decision),
        find_summary(folder.summary),
        next((each for each in find_published(folder, recipe.cycles) if each.cycle == decision.cycle), None),
    )


def approval_in_run(decision: Decision) -> str:
    """What the run knows of an approval when it decides."""
    if decision.approval == "awaiting":
        return (
            "No one yet: this policy awaits approval, and is not served. A named person gives it with salus policy"
            " approve. The registry's audit log then says who, when and why."
        )
    if decision.let_live:
        return "No person was asked: the recipe asks for no approval (publish.approval), so the rule alone published."
    return "There was nothing to approve, as nothing new is published."


def write_pages(folder: RunFolder, recipe: Recipe, cycle: int | None = None) -> None:
    """Write pages of a run's decisions, as HTML and Markdown; one that is there is left if nothing is new.

    Args:
        folder: of the run.
        recipe: the run's.
        cycle: whose page; None: those of all decisions.

    Raises:
        SalusError: as `page_of` does.
    """
    decisions = past_decisions(folder, recipe.cycles)
    for decision in decisions if cycle is None else decisions[cycle - 1 : cycle]:
        page = page_of(folder, recipe, decision)
        forms = ((folder.decision_html, as_html), (folder.decision_text, as_markdown))
        for path, text in ((place(decision.cycle), form(page)) for place, form in forms):
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                write_text(text, path)


def is_current(folder: RunFolder, recipe: Recipe, decision: Decision) -> bool | None:
    """Whether the page on disk is what record and answers give now; None where there is none."""
    path = folder.decision_text(decision.cycle)
    if not path.is_file():
        return None
    return path.read_text(encoding="utf-8") == as_markdown(page_of(folder, recipe, decision))
