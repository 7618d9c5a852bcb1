"""What `tests.benchmarks.scale` measures the shuffle against: one process, plain Python and pyarrow, the same rows.

    python -m tests.benchmarks.scale_script unpaired JUDGMENTS_FOLDER OUTPUT_FOLDER SEED

It holds all rows in memory, knows the settings' defaults alone, and imports nothing of Salus. Prints its seconds.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

MARKS = {
    0: {"Accept": 1.0, "Caution": 0.0, "Refuse": 0.0},
    1: {"Accept": 0.0, "Caution": 1.0, "Refuse": 1.0},
    2: {"Accept": 0.0, "Caution": 0.5, "Refuse": 1.0},
    3: {"Accept": 0.0, "Caution": 0.0, "Refuse": 1.0},
}
COLUMNS = ["prompt_id", "prompt", "level", "reference", "answer", "label", "finish_reason", "context", "thought"]
ROWS_PER_FILE = 50_000
MAX_CLASS_RATIO = 4.0
PAIRS_PER_PROMPT = 2
TAIL: list[Any] = [("level", pa.int8()), ("order", pa.string()), ("context", pa.string())]
SCHEMAS = {
    "unpaired": pa.schema([("prompt", pa.string()), ("completion", pa.string()), ("label", pa.bool_()), *TAIL]),
    "pairs": pa.schema([("prompt", pa.string()), ("chosen", pa.string()), ("rejected", pa.string()), *TAIL]),
}
Row = dict[str, Any]


def unpaired(groups: list[list[Row]]) -> list[Row]:
    rows = []
    for group in groups:
        for row in group:
            mark = MARKS[row["level"]][row["label"]]
            whole = row["finish_reason"] != "length" and row["answer"].strip()
            if mark == 0 or (mark == 1 and whole):
                rows.append(asked(row) | {"completion": said(row), "label": mark > 0})
    return rows


def pairs(groups: list[list[Row]]) -> list[Row]:
    rows = []
    for group in groups:
        first = group[0]
        answers = [
            (MARKS[r["level"]][r["label"]], said(r), r["finish_reason"] != "length" and bool(r["answer"].strip()))
            for r in group
        ]
        if first["reference"] and not any(mark == 1 and whole for mark, _, whole in answers):
            answers.append((1.0, first["reference"], True))
        marks: dict[str, set[float]] = {}
        for mark, text, _ in answers:
            marks.setdefault(text, set()).add(mark)
        unique = {text: next(iter(of)) for text, of in marks.items() if len(of) == 1}
        whole = {text for _, text, choosable in answers if choosable}
        found = sorted(
            (low - high, chosen, rejected)
            for chosen, high in unique.items()
            if chosen in whole
            for rejected, low in unique.items()
            if high > low
        )
        picked: list[tuple[float, str, str]] = []
        for fresh_only in (True, False):
            for pair in found:
                used = any(pair[1] == p[1] or pair[2] == p[2] for p in picked)
                if len(picked) < PAIRS_PER_PROMPT and pair not in picked and not (fresh_only and used):
                    picked.append(pair)
        rows += [asked(first) | {"chosen": chosen, "rejected": rejected} for _, chosen, rejected in picked]
    return rows


def asked(row: Row) -> Row:
    context = {"context": row["context"]} if row["context"] else {}
    return {"prompt": row["prompt"], "level": row["level"]} | context


def said(row: Row) -> str:
    return f"{row['thought'] or ''}{row['answer']}"


def main(kind: str, judgments: Path, output: Path, seed: int) -> None:
    began = time.perf_counter()
    groups: dict[str, list[Row]] = {}
    for row in pq.read_table(judgments, columns=COLUMNS).to_pylist():
        if row["label"] is not None:
            groups.setdefault(row["prompt_id"], []).append(row)
    rows = {"unpaired": unpaired, "pairs": pairs}[kind](list(groups.values()))
    for row in rows:
        text = json.dumps([seed, *(row[key] for key in sorted(row))], ensure_ascii=False)
        row["order"] = hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
    rows = list({row["order"]: row for row in rows}.values())
    rows.sort(key=lambda row: row["order"])
    positive = np.array([row["label"] if kind == "unpaired" else row["level"] == 0 for row in rows])
    ones, zeros = int(positive.sum()), int((~positive).sum())
    keep = min(1.0, MAX_CLASS_RATIO * zeros / ones), min(1.0, MAX_CLASS_RATIO * ones / zeros)
    draw = np.array([int(row["order"][-8:], 16) / 2**32 for row in rows])
    kept = draw < np.where(positive, *keep)
    output.mkdir(parents=True)
    files = -(-len(rows) // ROWS_PER_FILE)
    # As Ray Data parts rows evenly: a sum of fractions.
    cuts = [int(cut) for cut in accumulate([0.0] + [len(rows) / files] * (files - 1))] + [len(rows)]
    for i, (start, end) in enumerate(pairwise(cuts)):
        part = slice(start, end)
        some = [row for row, keeps in zip(rows[part], kept[part], strict=True) if keeps]
        of_class = positive[part][kept[part]]
        place = np.empty(len(some))
        for each in (of_class, ~of_class):
            place[each] = (np.arange(each.sum()) + 0.5) / max(each.sum(), 1)
        ordered = [some[j] for j in np.argsort(place, kind="stable")]
        pq.write_table(pa.Table.from_pylist(ordered, SCHEMAS[kind]), output / f"{i:05d}.parquet")
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
