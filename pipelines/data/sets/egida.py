"""Egida (arXiv 2502.13603): unsafe instructions in 18 attack styles, and preference pairs made from them.

Nothing in it is graded for harm, so the level is a setting. The DPO configs pair a safe answer of another model
with the unsafe answer ("discarded") of the model they are named after.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from actors.contract.records import Method, Record
from actors.errors import SalusError
from pipelines.data.batches import Item, prompt_batches
from pipelines.data.fields import optional_text, text, topics
from pipelines.data.hub import hub_rows
from pipelines.data.rows import NAMED_FORMATS, Row, rows_of
from pipelines.data.sets.egida_groups import Groups

EGIDA_REPOSITORY = "HPAI-BSC/Egida"
# The style of an instruction that no attack was put around.
PLAIN_STYLE = "BaseInstruction"
EgidaName = Literal[
    "Egida",
    "Egida-S",
    "Egida-HSafe",
    "Egida-DPO-Meta-Llama-3.1-8B-Instruct",
    "Egida-DPO-Meta-Llama-3.1-70B-Instruct",
    "Egida-DPO-Qwen2.5-7B-Instruct",
    "Egida-DPO-Qwen2.5-72B-Instruct",
]
# Splits as the data set's card names them; all others have "train" alone.
_HUB_SPLIT: dict[str, str] = {"Egida": "full", "Egida-HSafe": "test"}


class EgidaConfig(BaseModel):
    """Which part of Egida is read, and how its rows become prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: EgidaName = Field("Egida", description="config of the data set; in a folder, the file's name")
    level: Literal[1, 2, 3] = Field(3, description="harm level of every prompt; our choice")
    prompt: str | None = Field(None, description="column of the prompt; None: 'prompt', else 'question'")
    base_prompt: str | None = Field(
        None, description="column that groups the styles of one instruction; None: the first that tells (see reader)"
    )
    topics: str = Field("topics", description="column of the topics; where it is missing, prompts have none")


class PreferencePair(Record):
    """Two answers to one prompt of a data set, the better one first."""

    prompt: str
    chosen: str
    rejected: str
    level: Literal[0, 1, 2, 3]
    base_prompt: str
    source: str
    topics: str | None = None
    style: str | None = None


def read_egida(location: str | Path = EGIDA_REPOSITORY, config: EgidaConfig | None = None) -> Iterator[pa.RecordBatch]:
    """The prompts as batches of `PROMPT_SCHEMA`; the chosen answer of a DPO config is the `reference`.

    `location` is a file, a folder with a file called after the config, or the hub's repository name. Styles of
    one instruction share a base prompt: the `base_prompt` column, else `question` beside a `prompt`, else the
    plain instruction that the text contains, else the text itself. Raises `SalusError` for a missing path and a
    bad row.
    """
    chosen = config or EgidaConfig()
    groups = Groups.of(_plain_instructions(location, chosen))
    return prompt_batches(_item(row, chosen, groups) for row in _rows(location, chosen))


def read_egida_pairs(
    location: str | Path = EGIDA_REPOSITORY, config: EgidaConfig | None = None
) -> Iterator[PreferencePair]:
    """The pairs of a DPO config, one at a time; `location` as in `read_egida`.

    Raises `SalusError` for a missing path, a config without pairs, and a bad row.
    """
    chosen = config or EgidaConfig(name="Egida-DPO-Meta-Llama-3.1-8B-Instruct")
    groups = Groups.of(_plain_instructions(location, chosen))
    for row in _rows(location, chosen):
        if "chosen" not in row.values:
            row.fail("there is no 'chosen' answer, so it is no pair; read one of the Egida-DPO configs.")
        item = _item(row, chosen, groups)
        yield PreferencePair.model_validate(
            {
                "prompt": item.prompt,
                "chosen": text(row, "chosen"),
                "rejected": text(row, "discarded" if "discarded" in row.values else _rejected(row)),
                "level": chosen.level,
                "base_prompt": item.base_prompt,
                "source": item.source,
                "topics": item.topics,
                "style": item.style,
            }
        )


def _rejected(row: Row) -> str:
    if "rejected" not in row.values:
        row.fail("there is neither 'discarded' nor 'rejected' beside 'chosen'; add the worse answer.")
    return "rejected"


def _item(row: Row, config: EgidaConfig, groups: Groups) -> Item:
    prompt = text(row, _prompt_column(row, config))
    style = _style(row)
    return Item(
        prompt=prompt,
        level=config.level,
        source=f"{config.name.lower()}/{optional_text(row, 'source') or 'unnamed'}",
        base_prompt=_base(row, config, groups, prompt),
        method=_method(style),
        reference=optional_text(row, "chosen"),
        style=style,
        topics=topics(row, config.topics),
    )


def _method(style: str | None) -> Method:
    """Egida does not name CARES methods: every attack is taken as indirect, a plain instruction as direct."""
    return "direct" if style is None else "indirect"


def _style(row: Row) -> str | None:
    style = optional_text(row, "style")
    return None if style is None or style == PLAIN_STYLE else f"egida:{style}"


def _prompt_column(row: Row, config: EgidaConfig) -> str:
    column = config.prompt or ("prompt" if "prompt" in row.values else "question")
    if column not in row.values:
        row.fail(f"there is no column '{column}' with the prompt; name it with data.egida.prompt.")
    return column


def _base(row: Row, config: EgidaConfig, groups: Groups, prompt: str) -> str:
    if config.base_prompt is not None:
        if config.base_prompt not in row.values:
            row.fail(f"there is no column '{config.base_prompt}', which data.egida.base_prompt names.")
        return text(row, config.base_prompt)
    if _prompt_column(row, config) != "question" and "question" in row.values:
        return text(row, "question")
    return groups.contained_in(prompt) or prompt


def _plain_instructions(location: str | Path, config: EgidaConfig) -> Iterator[str]:
    """The texts no attack was put around, as far as the rows say so."""
    for row in _rows(location, config):
        if row.values.get("style") == PLAIN_STYLE:
            yield text(row, _prompt_column(row, config))


def _rows(location: str | Path, config: EgidaConfig) -> Iterator[Row]:
    path = Path(location)
    if path.is_dir():
        path = _file_in(path, config.name)
    elif not path.exists() and str(location) == EGIDA_REPOSITORY:
        return hub_rows(EGIDA_REPOSITORY, _HUB_SPLIT.get(config.name, "train"), (), config=config.name)
    return rows_of(path, ())


def _file_in(folder: Path, name: EgidaName) -> Path:
    for suffix in NAMED_FORMATS:
        if (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    endings = ", ".join(NAMED_FORMATS)
    raise SalusError(f"{folder} holds no file {name} ({endings}): copy it there, or choose another data.egida.name.")
