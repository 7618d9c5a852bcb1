"""The text of a recipe for a model, a data file and a judge: lengths by the model, numbers by the data."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from actors.contract.conversation import transcripts
from actors.contract.records import PROMPT_SCHEMA, PromptSet, Split
from actors.engine.model_folder import longest_sequence
from actors.errors import SalusError
from actors.judges.template import load_template
from pipelines.cli.init.server import Reply
from pipelines.cluster.devices import gpu_memories_gib
from pipelines.cluster.footprint import shape_of_folder
from pipelines.config.recipe import Recipe
from pipelines.data.sets.tabular import ColumnMapping, read_tabular
from pipelines.data.split import SplitFractions, split_by_base_prompt
from pipelines.measures.metrics import SEVERE
from pipelines.measures.shares import independent_prompts, upper_end
from pipelines.runs.prompts.lengths import token_counts

TEMPLATE = "init.yaml.jinja"
SEED = 7
# Fewer rows are split with larger shares to validate with.
_FEW_ROWS = 500
# A generator, a judge, two trainers and a replica have a GPU each.
_GPUS = 5
_CHARACTERS_PER_TOKEN = 3
_ROUND_TO = 64
_ANSWER_TOKENS = 256
# LoRA's learning rate below a size in 10^9 parameters, our choice: small models learn at a higher one.
_RATES = ((0.001, 3e-3), (0.02, 1e-3), (0.5, 2e-4), (math.inf, 5e-5))


@dataclass(frozen=True)
class ToldJudge:
    """What was told of the judge."""

    regimen: str
    # A folder or hub id (EXT, LMA), or a server's base address (REMOTE).
    place: str | None = None
    # The model's name at the server, the variable with its key (None: it asks for none), and how it replies.
    model: str | None = None
    api_key_env: str | None = None
    reply: Reply = "logprobs"


def recipe_text(name: str, model: str, data: Path, columns: Mapping[str, Any], judge: ToldJudge) -> str:
    """A commented recipe, as YAML.

    Args:
        name: of the recipe.
        model: a model folder or a hub id.
        data: the data file, or a folder of some.
        columns: the mapping of its columns (`data.columns`).
        judge: who labels the answers.

    Raises:
        SalusError: the data has a bad row or too few, or a config.json cannot be read.
    """
    table = pa.Table.from_batches(read_tabular(data, ColumnMapping.model_validate(columns)), PROMPT_SCHEMA)
    few = table.num_rows < _FEW_ROWS
    fractions = SplitFractions(train=0.6, validation=0.2, test=0.2) if few else SplitFractions()
    splits = split_by_base_prompt(table, fractions, SEED)
    empty = [split for split, rows in splits.items() if not rows.num_rows]
    if empty:
        raise SalusError(f"{data} has {table.num_rows} prompts, which leaves the {empty[0]} split empty; give more.")
    validation, train = splits["validation"], splits["train"].num_rows
    folder = Path(model).expanduser()
    held = longest_sequence(folder) if folder.is_dir() else None
    longest = _longest_prompt(folder, splits)
    answer = _ANSWER_TOKENS if held is None else max(16, min(_ANSWER_TOKENS, held - longest))
    length = _rounded(longest + answer, held)
    gpu = len(gpu_memories_gib()) >= _GPUS
    environment = Environment(
        loader=PackageLoader("pipelines.config", "recipes"), undefined=StrictUndefined, finalize=yaml_value
    )
    return (
        environment.get_template(TEMPLATE).render(
            name=name,
            seed=SEED,
            model=_model(model),
            data={
                "path": str(data),
                "columns": dict(columns),
                "split": fractions.model_dump(),
                "train_per_cycle": min(300, train),
                "prompts_per_shard": min(75, -(-min(300, train) // 4)),
            },
            answer_tokens=min(answer, max(16, length - longest)),
            longest_prompt=longest,
            exact=folder.is_dir(),
            held=held,
            length=length,
            gpu=gpu,
            learning_rate=next(rate for size, rate in _RATES if _parameters_b(model) < size),
            judge=_judge(judge, longest + answer),
            calibration=f"runs/calibration-{name}-s{SEED}/calibration.json",
            harmless=(harmless := _whole(independent_prompts(validation, 0))),
            severe=(severe := _whole(independent_prompts(validation, SEVERE))),
            publish={
                "err": _provable(harmless, 0.15),
                "err_rise": _provable(harmless, 0.1),
                "severe_rise": _provable(severe, 0.1),
            },
            validation=validation.num_rows,
            min_n=min(50, validation.num_rows),
        )
        + "\n"
    )


def _whole(prompts: float) -> int:
    # Rewrites make it no whole number, and a limit is not to be promised on more than there is.
    return max(1, int(prompts)) if prompts else 0


def _provable(base_prompts: int, limit: float) -> float:
    """The limit, or in steps of .05 the least one above it that so many base prompts can show kept."""
    while base_prompts and limit < 1.0 and upper_end(0.0, base_prompts) > limit:
        limit = round(limit + 0.05, 2)
    return limit


def yaml_value(value: object) -> str:
    """A value as YAML on one line, whatever is in it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{yaml_value(key)}: {yaml_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, str) and re.fullmatch(r"[a-z][a-z_]*", value) and isinstance(yaml.safe_load(value), str):
        return value
    style = '"' if isinstance(value, str) else None
    return (
        str(yaml.safe_dump(value, default_style=style, allow_unicode=True, width=10**6)).removesuffix("\n...\n").strip()
    )


def check_name(name: str) -> None:
    """Raise SalusError where a recipe cannot be called so."""
    pattern = next(part.pattern for part in Recipe.model_fields["name"].metadata if hasattr(part, "pattern"))
    if not re.fullmatch(pattern, name):
        raise SalusError(
            f"A recipe cannot be called {name!r}: use small letters, digits, dots, hyphens and underscores, a letter"
            " or a digit first."
        )


def _longest_prompt(folder: Path, splits: Mapping[Split, pa.Table]) -> int:
    """Tokens of the longest prompt; a guess where the model's tokenizer is not on disk."""
    tables: dict[PromptSet, pa.Table] = {split: table for split, table in splits.items() if table.num_rows}
    if folder.is_dir():
        return max(counted.longest[1] for counted in token_counts(folder, tables, 0).values())
    longest = max(len(text) for table in tables.values() for text in transcripts(table))
    return longest // _CHARACTERS_PER_TOKEN + _ROUND_TO


def _rounded(tokens: int, held: int | None) -> int:
    rounded = -(-tokens // _ROUND_TO) * _ROUND_TO
    return rounded if held is None else min(rounded, held)


def _model(place: str) -> dict[str, Any]:
    on_disk = Path(place).expanduser().is_dir()
    return {
        "source": "folder" if on_disk else "hub",
        "path": place,
        "parameters_b": None if on_disk else _size_in_name(place),
    }


def _parameters_b(place: str) -> float:
    folder = Path(place).expanduser()
    return shape_of_folder(folder).parameters / 1e9 if folder.is_dir() else _size_in_name(place)


def _size_in_name(name: str) -> float:
    """10^9 parameters, as 8.0 of Llama-3.1-8B."""
    found = re.findall(
        r"(?<![\w.])(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", name.casefold().replace("-", " ").replace("_", " ")
    )
    if not found:
        return 8.0
    number, unit = found[-1]
    return float(number) / (1000 if unit == "m" else 1)


def _judge(judge: ToldJudge, tokens: int) -> dict[str, Any]:
    place = judge.place or ""
    if judge.regimen == "RULES":
        return {"regimen": "RULES"}
    if judge.regimen == "REMOTE":
        asked = {"base_url": place, "model": judge.model, "api_key_env": judge.api_key_env, "reply": judge.reply}
        return {"regimen": "REMOTE", **asked}
    folder = Path(place).expanduser()
    held = longest_sequence(folder) if folder.is_dir() else None
    instructions = len(load_template("cares-v2")) // _CHARACTERS_PER_TOKEN + _ROUND_TO
    return {"regimen": judge.regimen, "length": _rounded(tokens + instructions, held)} | _model(place)
