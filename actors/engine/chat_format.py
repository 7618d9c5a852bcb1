"""How a deployed policy is asked: its system prompt, its template's switches, and the date its template writes.

They become part of the chat template in the policy's folder. Whatever loads that folder then asks alike:
generators, trainers, the endpoint, and every policy that is trained from it.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from actors.contract.records import Record
from actors.engine.model_files import TEMPLATE, TOKENIZER_CONFIG, processor_template, read_json, tokenizer_template
from actors.engine.thoughts import ThoughtMarks
from actors.errors import SalusError
from actors.files.shards import write_text

# Beside the template: what went into it. `actors.training.adapter.COMPANIONS` carries both on.
FORMAT = "chat_template.salus.json"
_DATE_CALL = re.compile(r"strftime_now\s*\(\s*(['\"])(.*?)\1\s*\)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ChatFormat(Record):
    """How a policy is asked, beside its own template."""

    system_prompt: str | None = None
    template_kwargs: Mapping[str, JsonValue] = {}
    # The day that a template which writes today's date gets.
    date: datetime.date
    thoughts: ThoughtMarks = ThoughtMarks()

    def changes(self, template: str) -> bool:
        """Whether a policy of this template is asked in another way with these settings than without them."""
        said = self.system_prompt is not None or bool(self.template_kwargs) or self.thoughts != ThoughtMarks()
        return said or "strftime_now" in template

    @property
    def system_prompt_sha256(self) -> str | None:
        return hashlib.sha256(self.system_prompt.encode()).hexdigest() if self.system_prompt is not None else None


def deployed_template(template: str, chat: ChatFormat) -> str:
    """The template with the settings before it: they hold where a conversation does not say otherwise.

    Raises:
        SalusError: a switch has a name that no template can read.
    """
    parts = []
    if "strftime_now" in template:
        days: dict[str, JsonValue] = {call[1]: chat.date.strftime(call[1]) for call in _DATE_CALL.findall(template)}
        known = f"{_literal(days)}.get(format, {_literal(chat.date.isoformat())})"
        parts.append("{%- macro strftime_now(format) -%}{{- " + known + " -}}{%- endmacro %}")
    for name, value in sorted(chat.template_kwargs.items()):
        if _NAME.fullmatch(name) is None:
            raise SalusError(f"model.chat_template_kwargs names {name!r}, which no template can read; use a word.")
        parts.append(f"{{%- set {name} = {name} if {name} is defined else {_literal(value)} %}}")
    if chat.system_prompt is not None:
        own = f"[{{'role': 'system', 'content': {_literal(chat.system_prompt)}}}]"
        parts.append("{%- if not messages or messages[0]['role'] not in ('system', 'developer') %}")
        parts.append(f"{{%- set messages = {own} + messages | list %}}{{%- endif %}}")
    # A line break that the template begins with would go with the block before it.
    gap = "\n" if parts and template.startswith("\n") else ""
    return "".join(parts) + gap + template


def own_template(folder: Path) -> str | None:
    """The chat template of a model's folder, wherever it is kept there; None where it has none."""
    file = folder / TEMPLATE
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = tokenizer_template(folder)
    if isinstance(found, list):
        # Several by name, as of tokenizers that have one for tools.
        found = {each.get("name"): each.get("template") for each in found}.get("default")
    return found if isinstance(found, str) else processor_template(folder)


def write_deployed(model: Path, chat: ChatFormat, out: Path) -> None:
    """Fill the folder `out` with links to the model's files and the template of `deployed_template`.

    Raises:
        SalusError: the model has no template.
    """
    template = own_template(model)
    if template is None:
        raise SalusError(f"The tokenizer in {model} has no chat template; add {TEMPLATE}.")
    for file in sorted(model.iterdir()):
        if file.is_file() and file.name not in (TEMPLATE, FORMAT, TOKENIZER_CONFIG):
            (out / file.name).symlink_to(file.resolve())
    settings = read_json(model / TOKENIZER_CONFIG) if (model / TOKENIZER_CONFIG).is_file() else {}
    settings.pop("chat_template", None)
    write_text(json.dumps(settings, indent=2, ensure_ascii=False), out / TOKENIZER_CONFIG)
    write_text(deployed_template(template, chat), out / TEMPLATE)
    write_text(chat.model_dump_json(indent=2), out / FORMAT)


def chat_format_of(folder: Path) -> ChatFormat | None:
    """How the policy of a folder is asked; None: by its own template alone.

    Raises:
        SalusError: the file that says so cannot be read.
    """
    path = folder / FORMAT
    if not path.is_file():
        return None
    try:
        return ChatFormat.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SalusError(f"{path} cannot be read ({type(error).__name__}); register the policy again.") from error


def thought_marks(folder: Path) -> ThoughtMarks:
    """How the policy of a folder marks its thoughts. Raises as `chat_format_of` does."""
    chat = chat_format_of(folder)
    return chat.thoughts if chat is not None else ThoughtMarks()


def thinks(folder: Path) -> bool:
    """Whether the template of a folder knows thoughts. Raises as `chat_format_of` does."""
    return thought_marks(folder).begin in (own_template(folder) or "")


def _literal(value: JsonValue) -> str:
    """A value as Jinja reads it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    # Jinja takes JSON's strings and numbers, and has a word of its own for nothing.
    return "none" if value is None else json.dumps(value, ensure_ascii=False)
