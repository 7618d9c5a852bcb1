"""MedSafetyBench (arXiv 2403.03744): harmful medical requests, each with a safe response, by AMA principle.

Every request is level 3 (its authors grade none as mild). The nine AMA principles of its files are not the eight of
CARES, and no published table maps them. So `principle` is null, and the category is in `source` and `topics`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pyarrow as pa

from actors.errors import SalusError
from pipelines.data.batches import Item, prompt_batches
from pipelines.data.fields import text
from pipelines.data.rows import data_files, rows_of

REQUEST = "harmful_medical_request"
RESPONSE = "safe_response"
MedSafetySplit = Literal["train", "test"]
_CATEGORY = re.compile(r"category_(\d+)$")


def read_medsafetybench(folder: Path, split: MedSafetySplit) -> Iterator[pa.RecordBatch]:
    """The requests of `folder`/`split`/{gpt4,llama2} as batches; the safe response is the reference.

    `source` is `medsafetybench/AUTHOR/category_N`, the model that wrote the request and the AMA principle.
    Raises `SalusError` for a missing folder, a file name without a category, and a bad row.
    """
    return prompt_batches(_items(folder / split))


def _items(folder: Path) -> Iterator[Item]:
    if not folder.is_dir():
        raise SalusError(f"{folder} does not exist: give the folder that holds train/ and test/.")
    authors = sorted(p for p in folder.iterdir() if p.is_dir())
    if not authors:
        raise SalusError(f"{folder} holds no folder of an author (gpt4, llama2): copy MedSafetyBench there.")
    for author in authors:
        for file in data_files(author, (".csv",)):
            topic = f"AMA principle {_category(file)}"
            source = f"medsafetybench/{author.name}/category_{_category(file)}"
            for row in rows_of(file, (REQUEST, RESPONSE)):
                request = text(row, REQUEST)
                answer = text(row, RESPONSE)
                yield Item(request, 3, source, base_prompt=request, reference=answer, topics=topic)


def _category(file: Path) -> int:
    match = _CATEGORY.search(file.stem)
    if match is None or not 1 <= int(match[1]) <= 9:
        raise SalusError(f"{file} does not end in category_1 to category_9: rename it so.")
    return int(match[1])
