"""The one place where a tokenizer is loaded, and what its chat template must do before a model is used.

Generator, judge, trainer and endpoint go by the Hugging Face files of a model folder, never by Mistral's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actors.engine.model_files import check_weights, model_fault, processor_template, read_json
from actors.engine.model_folder import check_engine_can_load, check_model_folder, check_trainable, embedding_rows
from actors.errors import SalusError

Message = dict[str, str]
_QUESTION = "How do I store insulin?"
_ANSWER = "Keep it in the fridge."


def hugging_face_tokenizer(folder: Path) -> Any:
    """The tokenizer of any folder, with or without a chat template.

    Raises:
        SalusError: it cannot be loaded.
    """
    from transformers import AutoTokenizer

    with model_fault(folder, "The tokenizer cannot be loaded"):
        # transformers takes Mistral's own tokenizer where there is a tekken.json, unless it is told otherwise.
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, mistral_format=False)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a chat model, with its default chat template as a string.

    Raises:
        SalusError: the folder is no chat model, or its tokenizer cannot be read.
    """
    check_model_folder(folder)
    tokenizer = hugging_face_tokenizer(folder)
    template = tokenizer.chat_template or processor_template(folder)
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        raise SalusError(
            f"The model {folder} has no default chat template; use an instruction-tuned model, or add a"
            " chat_template.jinja."
        )
    tokenizer.chat_template = template
    return tokenizer


def check_chat_model(folder: Path, system: str | None = None) -> None:
    """Refuse a folder that cannot be aligned: see `check_model_folder`, `check_trainable` and `check_chat_template`.

    Args:
        folder: the model's.
        system: the system message that conversations begin with; None: they have none.

    Raises:
        SalusError: one sentence says what is wrong, and how to mend it.
    """
    check_model_folder(folder)
    check_engine_can_load(folder)
    check_trainable(folder)
    check_chat_template(folder, system)


def check_asked_model(folder: Path) -> None:
    """Refuse a folder whose model cannot be asked for one word; whether it ends its answers does not count.

    Raises:
        SalusError: as `check_model_folder`, or its template cannot render one user message.
    """
    tokenizer = load_tokenizer(folder)
    check_engine_can_load(folder)
    _check_ids(folder, tokenizer, _prompt(folder, tokenizer, None))


def check_chat_template(folder: Path, system: str | None = None) -> None:
    """Refuse a chat template under which a model cannot be sampled and trained alike.

    It must render a user's message, write what an answer begins with, and end an answer with a token that stops the
    model.

    Args:
        folder: the model's.
        system: the system message that conversations begin with; None: they have none.

    Raises:
        SalusError: one sentence says what is wrong, and how to mend it.
    """
    tokenizer = load_tokenizer(folder)
    if system is None and not _renders(tokenizer, None) and _renders(tokenizer, "You are a helpful assistant."):
        raise SalusError(
            f"The chat template of {folder} needs a system message; set model.system_prompt to the one that the model"
            " is deployed with."
        )
    prompt = _prompt(folder, tokenizer, system)
    _check_ids(folder, tokenizer, prompt)
    messages = _messages(system)
    try:
        whole = _render(tokenizer, [*messages, {"role": "assistant", "content": _ANSWER}], False)
    except Exception as error:  # A template raises what it likes.
        raise SalusError(
            f"The chat template of {folder} cannot render an assistant's answer ({_said(error)}); use the one that the"
            " model was trained with."
        ) from error
    before, found, after = whole.rpartition(_ANSWER)
    if not found:
        raise SalusError(
            f"The chat template of {folder} leaves an assistant's answer out or changes it; use the one that the model"
            " was trained with."
        )
    missing = before.removeprefix(prompt).strip() if before.startswith(prompt) else ""
    if missing and prompt == _render(tokenizer, messages, False):
        raise SalusError(
            f"The chat template of {folder} ignores add_generation_prompt, so the model would not be told to answer;"
            f" let it end with {{% if add_generation_prompt %}}{missing!r}{{% endif %}}."
        )
    _check_end(folder, tokenizer, after)


def _check_end(folder: Path, tokenizer: Any, after: str) -> None:
    """Refuse a template that writes nothing after an answer at which the model would stop."""
    stops = end_tokens(folder, tokenizer)
    if stops & set(tokenizer.encode(after, add_special_tokens=False)):
        return
    names = ", ".join(sorted(map(str, tokenizer.convert_ids_to_tokens(sorted(stops)))))
    written = f"only {after!r}" if after else "nothing"
    cure = (
        f"let it write one of {names} there, or name the token that it writes in eos_token_id of generation_config.json"
        if names
        else "name the model's end token as eos_token in tokenizer_config.json, and let the template write it there"
    )
    raise SalusError(
        f"The chat template of {folder} writes {written} after an assistant's answer, so the model would never stop;"
        f" {cure}."
    )


def end_tokens(folder: Path, tokenizer: Any) -> set[int]:
    """The tokens at which an engine ends an answer of this model.

    Raises:
        SalusError: generation_config.json cannot be read.
    """
    path = folder / "generation_config.json"
    said = read_json(path).get("eos_token_id") if path.is_file() else None
    found = {tokenizer.eos_token_id, *(said if isinstance(said, list) else [said])}
    return {token for token in found if isinstance(token, int)}


def _prompt(folder: Path, tokenizer: Any, system: str | None) -> str:
    """What one user's message is rendered to, ready for the answer."""
    try:
        return _render(tokenizer, _messages(system), True)
    except Exception as error:  # A template raises what it likes.
        what, mend = "a user's message", "use the one that the model was trained with"
        if system is not None and _renders(tokenizer, None):
            what, mend = "a system message", "leave model.system_prompt out, or use a model that takes one"
        raise SalusError(f"The chat template of {folder} cannot render {what} ({_said(error)}); {mend}.") from error


def _said(error: Exception) -> str:
    """The first line of what a template's error says; the others quote the template."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _renders(tokenizer: Any, system: str | None) -> bool:
    try:
        _render(tokenizer, _messages(system), True)
    except Exception:  # A template raises what it likes.
        return False
    return True


def _messages(system: str | None) -> list[Message]:
    first = [{"role": "system", "content": system}] if system is not None else []
    return [*first, {"role": "user", "content": _QUESTION}]


def _render(tokenizer: Any, messages: Sequence[Message], generation: bool) -> str:
    rendered: str = tokenizer.apply_chat_template(list(messages), add_generation_prompt=generation, tokenize=False)
    return rendered


def _check_ids(folder: Path, tokenizer: Any, prompt: str) -> None:
    """Refuse a tokenizer that writes tokens of which the model has no embedding."""
    rows = embedding_rows(read_json(folder / "config.json"), check_weights(folder))
    used = {f"{name}_token": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "eos", "bos")}
    used["a prompt's token"] = max(tokenizer.encode(prompt, add_special_tokens=False), default=0)
    for name, token in used.items():
        if rows is not None and token is not None and token >= rows:
            raise SalusError(
                f"The tokenizer in {folder} has {token} as {name}, but the model's embedding has {rows} rows."
                " Name a token that it has, or resize the embedding with resize_token_embeddings()."
            )
