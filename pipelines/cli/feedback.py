"""`salus feedback`: what people said of an endpoint's answers; `salus review`: judged answers they should label."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from actors.contract.untrusted import visible
from actors.errors import SalusError
from pipelines.cli.console.commands import FactsCommand
from pipelines.cli.console.output import answer, console, say

if TYPE_CHECKING:
    from rich.table import Table

    from pipelines.feedback.review.queue import Queued

Folder = Annotated[
    str, typer.Argument(metavar="FOLDER", help="The endpoint's feedback.folder, a copy of it, or its feedback.store.")
]
LabelsFolder = Annotated[Path | None, typer.Option("--labels", metavar="DIR", help="Leave out what is labelled there.")]
# Characters of a text in a table.
SHOWN = 160


def register(app: typer.Typer) -> None:
    feedback = typer.Typer(help="What people said of an endpoint's answers.", no_args_is_help=True)
    feedback.command(cls=FactsCommand, epilog="Example: salus feedback show feedback")(show)
    feedback.command(cls=FactsCommand, epilog="Example: salus feedback export feedback feedback.parquet")(export)
    app.add_typer(feedback, name="feedback")
    review = typer.Typer(
        help="People's labels of judged answers; they are given on the endpoint's page /review.", no_args_is_help=True
    )
    review.command("list", cls=FactsCommand, epilog="Example: salus review list runs/demo-s7 --labels labels")(
        list_answers
    )
    review.command("export", cls=FactsCommand, epilog="Example: salus review export labels gold.csv")(export_labels)
    review.command("import", cls=FactsCommand, epilog="Example: salus review import project-3.json labels")(
        import_labels
    )
    app.add_typer(review, name="review")


def show(folder: Folder) -> None:
    """Count feedback by verdict, policy version, caller and day, and say where callers contradict each other."""
    from pipelines.feedback.counts import count_feedback, feedback_tables
    from pipelines.feedback.items import read_items

    items = read_items(_here(folder))
    counts = count_feedback(items)
    answer(counts)
    shown = feedback_tables(counts) if items.num_rows else f"No feedback in {folder}."
    console().print(shown, markup=False, highlight=False)


def export(
    folder: Folder,
    out: Annotated[Path, typer.Argument(metavar="OUT.parquet", help="A file that is not there yet.")],
) -> None:
    """Write every item beside the answer it is about as one Parquet file."""
    from actors.files.shards import write_table
    from pipelines.feedback.items import read_items

    if out.exists():
        raise SalusError(f"{out} is there already; name another file.")
    items = read_items(_here(folder))
    try:
        write_table(items, out)
    except OSError as error:
        raise SalusError(f"{out} cannot be written ({error.strerror}); name another file.") from error
    answer({"items": items.num_rows, "file": out})
    say(f"{items.num_rows} items of feedback in {out}")


def _here(folder: str) -> Path:
    """A folder of feedback on this machine: fetched first where it is at an address."""
    from pipelines.runs.inputs import fetch_input

    return fetch_input(folder, "FOLDER", lambda line: console().print(line, markup=False, highlight=False))


def list_answers(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, finished or running.")],
    labels: LabelsFolder = None,
    top: Annotated[int, typer.Option(min=1, help="How many to show.")] = 20,
) -> None:
    """List the answers that people should label: control answers that a cycle waits for, then those that tell most."""
    from actors.contract.run_folder import RunFolder
    from pipelines.feedback.control.queue import ControlQueue
    from pipelines.feedback.review.queue import QueueConfig, waiting
    from pipelines.feedback.review.run_queue import RunQueue
    from pipelines.feedback.review.stored import read_labels
    from pipelines.runs.store.place import local_folder

    folder = RunFolder(local_folder(run, "The list of answers to review needs"))
    if not folder.recipe.is_file():
        raise SalusError(f"{run} is not a run folder: it has no {folder.recipe.name}.")
    labelled = read_labels(labels).keys() if labels is not None else set()
    places = (*ControlQueue(folder).places(), *RunQueue(folder, QueueConfig()).places())
    open_ones = waiting(places, labelled)
    answer({"waiting": len(open_ones), "answers": [shown_answer(place) for place in open_ones[:top]]})
    out = console()
    out.print(answers_table(open_ones[:top]) if open_ones else "No judged answer waits for a label.", highlight=False)
    if len(open_ones) > top:
        out.print(f"{len(open_ones) - top} more.", highlight=False)


def export_labels(
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="The folder of labels.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A file that ends in .csv or .jsonl.")],
    control: Annotated[
        bool,
        typer.Option(
            "--control",
            help="Only answers drawn at random: fair for measuring a judge, where those it was unsure of are too hard.",
        ),
    ] = False,
) -> None:
    """Write the labels most reviewers agree on, for salus judge calibrate --labels and salus judge train --labels."""
    from pipelines.feedback.review.consensus import settle
    from pipelines.feedback.review.export import export_labels as write_labels
    from pipelines.feedback.review.stored import read_labels

    done = write_labels(settle(read_labels(labels)), out, control)
    left = [f"{n} {why}" for n, why in ((done.ties, "without a majority"), (done.blank, "blank")) if n]
    told = f" (left out: {', '.join(left)})" if left else ""
    answer(done.model_dump() | {"file": out})
    say(f"{done.labels} label{'s' * (done.labels != 1)} in {out}{told}")


def shown_answer(place: Queued) -> dict[str, object]:
    """What the list shows of an answer, for a program: its texts are whole."""
    row = place.row
    return {
        "level": row.level,
        "method": row.method,
        "policy": row.policy,
        "judge": row.judge,
        "label": row.label,
        "why": place.why(),
        "prompt": row.prompt,
        "answer": row.answer,
    }


def import_labels(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Argilla's records.json or its folder, or Label Studio's export in the format JSON."
        ),
    ],
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="The folder of labels; made where there is none.")],
    control: Annotated[
        bool, typer.Option("--control", help="All these answers were drawn at random, which is fair to a judge.")
    ] = False,
) -> None:
    """Add labels that people gave in Argilla or Label Studio, to the tasks that salus runs export wrote."""
    from pipelines.feedback.review.imported import import_labels as add_labels

    done = add_labels(file, labels, "control" if control else "informative")
    answer(done)
    say(
        f"{done.labels} labels of {done.reviewers} reviewers from {done.source} in {labels}"
        f" ({done.unlabelled} tasks without a label)"
    )


def answers_table(places: list[Queued]) -> Table:
    """Answers in the order people should see them; their texts are not ours: no markup."""
    from rich.table import Table
    from rich.text import Text

    from pipelines.data.inspection import one_line

    table = Table(title="Answers to review", show_lines=True)
    for column in ("level", "method", "judge", "why", "prompt", "answer"):
        table.add_column(column)
    for place in places:
        row = place.row
        level = "-" if row.level is None else str(row.level)
        texts = (
            row.method or "-",
            row.label or "-",
            place.why(),
            *(one_line(text, SHOWN) for text in (row.prompt, row.answer)),
        )
        table.add_row(level, *(Text(visible(text), overflow="fold") for text in texts))
    return table
