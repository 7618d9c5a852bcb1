"""What may not leave with an upload: folders of this machine, tokens and keys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors import safe_open

from actors.errors import SalusError
from pipelines.runs.finished.hub.upload import HubFile

# The hub's tokens, Salus's and OpenAI's keys, AWS's key ids, and private keys. A vocabulary has no such long words.
_SECRETS = re.compile(
    r"\bhf_[A-Za-z0-9]{30,}|\bsalus_[A-Za-z0-9_-]{43}|\bsk-[A-Za-z0-9_-]{32,}|\bAKIA[0-9A-Z]{16}\b"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
# Settings in which libraries keep the folder a model was loaded from.
_PATH_SETTINGS = ("_name_or_path", "name_or_path", "base_model_name_or_path", "tokenizer_file", "vocab_file")
_ABSOLUTE = re.compile(r"/|~/|file:|[A-Za-z]:\\")
_TEXTS = {".json", ".md", ".jinja", ".txt", ".yaml", ".yml"}
# Columns of a data set that say who wrote and judged; the others are texts, numbers and ids.
_NAMES = ("policy", "judge", "judge_prompt", "source")


def check_private(files: Sequence[HubFile], folders: Iterable[Path], own_token: str | None = None) -> None:
    """Refuse an upload of which a file names a folder of this machine, or holds a secret.

    Args:
        folders: folders that may be in no file: of the run, of models, of the registry; the home folder is added.
        own_token: the hub's token of this machine.

    Raises:
        SalusError: names the file and, of a folder, the folder.
    """
    known = {str(folder) for folder in folders if len(folder.parts) > 2}
    if len(Path.home().parts) > 1:
        known.add(f"{Path.home()}/")
    for file in files:
        for text in map(_unescaped, _texts(file)):
            if _SECRETS.search(text) or (own_token and own_token in text):
                raise SalusError(
                    f"{file.path} holds what reads as a token or key, so nothing was uploaded. Take it out of the"
                    " model's files, and register a run that began without it."
                )
            if (folder := next((each for each in sorted(known) if each in text), None)) is not None:
                raise SalusError(_sentence(file, folder))
        for setting, path in _settings(file):
            raise SalusError(_sentence(file, f"{path} ({setting})"))


def _sentence(file: HubFile, folder: str) -> str:
    return (
        f"{file.path} names a folder of this machine, {folder}, so nothing was uploaded; export the policy, take that"
        " line out, and upload the folder with `hf upload`."
    )


def _unescaped(text: str) -> str:
    """Without the backslashes that Markdown and JSON put before characters."""
    return re.sub(r"\\([^A-Za-z0-9\s])", r"\1", text)


def _texts(file: HubFile) -> Iterator[str]:
    """What a file says in words; of weights their head, of a table the names in it."""
    suffix = Path(file.path).suffix
    if isinstance(file.content, bytes):
        yield file.content.decode(errors="replace")
    elif suffix == ".safetensors":
        with safe_open(file.content, "numpy") as weights:
            yield json.dumps(weights.metadata() or {})
    elif suffix == ".parquet":
        table = pq.ParquetFile(file.content)
        yield " ".join(f"{key!r} {value!r}" for key, value in (table.schema_arrow.metadata or {}).items())
        named = [name for name in _NAMES if name in table.schema_arrow.names]
        for column in table.read(columns=named).columns:
            yield from (str(each) for each in pc.unique(column).to_pylist())
    elif suffix in _TEXTS:
        yield file.content.read_text(encoding="utf-8", errors="replace")


def _settings(file: HubFile) -> Iterator[tuple[str, str]]:
    """Settings at the top of a JSON file that are a path from the root."""
    if Path(file.path).suffix != ".json" or file.path == "tokenizer.json":
        return
    text = file.content if isinstance(file.content, bytes) else file.content.read_bytes()
    try:
        found: Any = json.loads(text)
    except ValueError:
        return
    for setting in _PATH_SETTINGS:
        value = found.get(setting) if isinstance(found, dict) else None
        if isinstance(value, str) and _ABSOLUTE.match(value):
            yield setting, value
