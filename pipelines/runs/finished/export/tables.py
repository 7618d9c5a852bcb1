"""Answers, judgments and pairs as CSV, and as a folder that `datasets.load_dataset` reads."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from actors.files.shards import strings, write_table, write_text

_CARD = """# Judged answers

Answers, judgments and preference pairs of a run of Salus, as `salus runs export` writes them.

- **The texts may hold harmful requests and harmful answers.** They were made to measure and train refusals.
- People's conversations may be among them where the run's prompts held some: keep what you were given in confidence.
- Labels are a judge's, with its probabilities; they are no word of a clinician.

| configuration | rows |
| --- | --- |
{rows}
"""


def write_csv(answers: pa.Table, pairs: pa.Table | None, out: Path) -> None:
    """`answers.csv` and, where there are pairs, `pairs.csv`.

    Texts are written as they are. A spreadsheet may take one that begins with `=` for a formula.
    """
    write_text(_csv(answers), out / "answers.csv")
    if pairs is not None:
        write_text(_csv(pairs), out / "pairs.csv")


def write_dataset(answers: pa.Table, pairs: pa.Table | None, out: Path, name: str) -> None:
    """`answers/SET.parquet`, `pairs/train.parquet`, and the card that tells `load_dataset(OUT, "answers")` of them."""
    sets = list(dict.fromkeys(strings(answers, "prompts")))
    for prompts in sets:
        own = answers.filter(pc.equal(answers["prompts"], pa.scalar(prompts)))
        write_table(own, out / "answers" / f"{prompts}.parquet")
    configs, rows = [_config("answers", sets)], [f"| answers | {answers.num_rows:,} |"]
    if pairs is not None:
        write_table(pairs, out / "pairs" / "train.parquet")
        configs.append(_config("pairs", ["train"]))
        rows.append(f"| pairs | {pairs.num_rows:,} |")
    head = _front_matter(name, configs)
    write_text(f"---\n{head}\n---\n\n" + _CARD.format(rows="\n".join(rows)), out / "README.md")


def _front_matter(name: str, configs: list[dict[str, Any]]) -> str:
    # Late: nothing else here needs it, and it takes long.
    from huggingface_hub import DatasetCardData

    # The hub asks before it shows what has the last tag.
    tags = ["salus", "medical", "preference-alignment", "not-for-all-audiences"]
    card = DatasetCardData(
        pretty_name=f"Judged answers of {name}", task_categories=["text-generation"], tags=tags, configs=configs
    )
    return str(card.to_yaml())


def _config(name: str, splits: list[str]) -> dict[str, Any]:
    files = [{"split": split, "path": f"{name}/{split}.parquet"} for split in splits]
    return {"config_name": name, "data_files": files}


def _csv(table: pa.Table) -> str:
    text = io.StringIO(newline="")
    # All in quotes: a lone carriage return would otherwise end a row.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(table.column_names)
    writer.writerows([_cell(value) for value in row.values()] for row in table.to_pylist())
    return text.getvalue()


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
