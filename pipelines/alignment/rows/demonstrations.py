"""What the deployed policy is fine-tuned on before the cycles: the data set's good answers, and conversations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from actors.contract.run_folder import SFT_CYCLE, RunFolder
from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from actors.files.records import find_record
from actors.files.shards import shard_files, strings, write_text
from pipelines.alignment.rows.outside import OutsideReport, OutsideRow, write_outside
from pipelines.config.recipe import Recipe
from pipelines.data.sets.demonstrations import read_demonstrations
from pipelines.runs.prompts.sets import evaluated_keys

DEMONSTRATION_SCHEMA = pa.schema(
    [
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("completion", pa.string(), nullable=False),
        # The turns before the prompt (`actors.contract.conversation`); null: none.
        pa.field("context", pa.string()),
    ]
)
_COLUMNS = ("prompt", "reference", "context", "base_prompt")


def write_demonstrations(recipe: Recipe, folder: RunFolder) -> OutsideReport | None:
    """Write the demonstrations of a run, once; its prompts must be written. None where it fine-tunes nothing.

    Raises:
        SalusError: a file cannot be read, a row is bad, or no demonstration is left.
    """
    if recipe.sft is None:
        return None
    output = folder.rows(SFT_CYCLE, "demonstrations")
    done = output / "report.json"
    if report := find_record(OutsideReport, done, "a report of demonstrations", "delete its folder"):
        return report
    seed = derive_seed(recipe.seed, "demonstrations")
    rows = _rows(recipe, folder)
    report = write_outside(rows, evaluated_keys(folder), output, DEMONSTRATION_SCHEMA, recipe.sft.most, seed)
    if not report.kept:
        raise SalusError(
            f"No demonstration is left of the {report.read} that were read. The train prompts have no reference answer,"
            " or all conversations are about prompts that this run measures policies by. Name others as sft.path, or"
            " leave sft out."
        )
    write_text(report.model_dump_json(indent=2), done)
    return report


def _rows(recipe: Recipe, folder: RunFolder) -> Iterator[OutsideRow]:
    config = recipe.sft
    assert config is not None
    if config.references:
        for file in shard_files(folder.prompts("train")):
            table = pq.read_table(file, columns=list(_COLUMNS))
            for prompt, reference, context, base in zip(*(strings(table, name) for name in _COLUMNS), strict=True):
                if reference.strip():
                    yield _row(prompt, reference, context or None, base)
    if config.path is not None:
        for asked, answer in read_demonstrations(Path(config.path).expanduser()):
            yield _row(asked.prompt, answer, asked.context, asked.first)


def _row(prompt: str, completion: str, context: str | None, first: str) -> OutsideRow:
    return OutsideRow(
        values={"prompt": prompt, "completion": completion, "context": context},
        texts=(context or "", prompt, completion),
        prompts=(prompt, first),
    )
