"""A run written for another program: which there are, what each is given, and where it goes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from actors.contract.records import Record
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.private import private_files
from pipelines.runs.contents import whole_folder
from pipelines.runs.finished.export import labelling, tables
from pipelines.runs.finished.export.answers import Wanted, answer_sets, answers_table, pairs_table
from pipelines.runs.finished.shape import recipe_of_run

Target = Literal["inspect", "lm-eval", "argilla", "label-studio", "hf-dataset", "csv"]
TARGETS: tuple[Target, ...] = get_args(Target)


class ExportReport(Record):
    """What an export holds."""

    target: Target
    # Files of the folder, in order.
    files: tuple[str, ...]
    # Answers, pairs, or policies with their capability.
    counts: dict[str, int]


@private_files()
def export_run(
    folder: RunFolder, target: Target, out: Path, wanted: Wanted | None = None, judged: bool = False
) -> ExportReport:
    """Write a run for another program into a new folder, which is there whole or not at all.

    Its files are readable by their user alone, as those of the run are.

    Args:
        wanted: which answers are taken; lm-eval has none.
        judged: show the judge's label in the tasks of Argilla and Label Studio.

    Raises:
        SalusError: it is no run, has nothing of that kind, a package is missing, or the folder is there already.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SalusError(f"{out} is there already; name another folder.")
    recipe, name = recipe_of_run(folder), folder.root.name
    if target == "inspect" and find_spec("inspect_ai") is None:
        raise SalusError("Inspect is not installed; install Salus with its extra: pip install 'salus[inspect]'.")
    try:
        with whole_folder(out) as made:
            if target == "lm-eval":
                from pipelines.runs.finished.export.harness import write_harness

                counts = {"policies": len(write_harness(folder, recipe, made))}
            else:
                counts = _write_answers(folder, target, made, wanted or Wanted(), judged, name)
            files = tuple(sorted(p.relative_to(made).as_posix() for p in made.rglob("*") if p.is_file()))
    except OSError as error:
        raise SalusError(f"{out} cannot be written ({error.strerror or error}); name another folder.") from error
    return ExportReport(target=target, files=files, counts=counts)


def _write_answers(
    folder: RunFolder, target: Target, out: Path, wanted: Wanted, judged: bool, name: str
) -> dict[str, int]:
    recipe = recipe_of_run(folder)
    sets = answer_sets(folder, wanted)
    counts = {"answers": sum(each.table.num_rows for each in sets)}
    if target == "inspect":
        from pipelines.runs.finished.export.inspect_log import write_logs

        return {"logs": len(write_logs(sets, recipe.scores, name, out)), **counts}
    # Pairs are of no single set of prompts and of no single policy.
    pairs = pairs_table(folder, recipe.cycles) if wanted == Wanted() else None
    if pairs is not None:
        counts["pairs"] = pairs.num_rows
    answers = answers_table(sets)
    if target in ("argilla", "label-studio"):
        if target == "argilla":
            labelling.write_argilla(answers, pairs, out, name, judged)
        else:
            labelling.write_label_studio(answers, pairs, out, judged)
        return counts
    if target == "csv":
        tables.write_csv(answers, pairs, out)
    else:
        tables.write_dataset(answers, pairs, out, name)
    return counts
