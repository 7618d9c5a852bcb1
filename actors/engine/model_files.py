"""The files of a model folder: which hold its weights, what its JSON says, and what an engine must not see of it."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from actors.errors import SalusError, reason
from actors.files.full_disk import full_disk
from actors.files.shards import write_text

WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
# Mistral's own copy of the weights, under other tensor names. Nothing here reads it.
OTHER_WEIGHTS = "consolidated*"
# Mistral's own tokenizer, which vLLM and transformers prefer to tokenizer.json.
_TEKKEN = "tekken.json"
_OTHER_TOKENIZERS = (_TEKKEN, "tokenizer.model.v*")
# A template here is for transformers' processors: no tokenizer reads it.
PROCESSOR_TEMPLATE = "chat_template.json"
TEMPLATE = "chat_template.jinja"
TOKENIZER_CONFIG = "tokenizer_config.json"
_POINTER = b"version https://git-lfs"


@contextmanager
def model_fault(folder: Path, what: str) -> Iterator[None]:
    """Turn whatever a library raises inside into one sentence.

    Args:
        folder: the model's; the sentence names it.
        what: the beginning of the sentence, as "vLLM cannot start an engine".

    Raises:
        SalusError: something failed; one that is raised inside passes as it is.
        FullDiskError: a full disk was the cause.
    """
    try:
        yield
    except SalusError:
        raise
    except Exception as error:  # vLLM and transformers raise all kinds, of libraries below them too.
        if (fault := full_disk(error)) is not None:
            raise fault from error
        raise SalusError(f"{what} with the model in {folder} ({type(error).__name__}: {reason(error)}).") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a model folder.

    Raises:
        SalusError: it cannot be read, is a Git LFS pointer, or is no object.
    """
    try:
        content = path.read_bytes()
        if content.startswith(_POINTER):
            raise _is_pointer(path)
        return dict(json.loads(content.decode("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise SalusError(f"{path} cannot be read ({error}); save the model again.") from error


def check_no_pointer(path: Path) -> None:
    """Refuse a file that git left in a large file's place.

    Raises:
        SalusError: it is such a pointer, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            pointer = file.read(len(_POINTER)) == _POINTER
    except OSError as error:
        raise SalusError(f"{path} cannot be read ({error.strerror or error}).") from error
    if pointer:
        raise _is_pointer(path)


def _is_pointer(path: Path) -> SalusError:
    return SalusError(
        f"{path} is a Git LFS pointer, not the file itself; run `git lfs pull` in {path.parent}, or fetch the model"
        " with `hf download`."
    )


def weights_gib(folder: Path) -> float:
    """The weights of a model folder as they are stored; of the files that are there.

    Raises:
        SalusError: as `weight_files`.
    """
    return sum(file.stat().st_size for file in weight_files(folder) if file.is_file()) / 2**30


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files whose weights are loaded, in name order; none where the folder has none.

    Those that the index names; without an index, all but Mistral's own.

    Raises:
        SalusError: the index cannot be read.
    """
    if (folder / INDEX).is_file():
        return [folder / name for name in sorted(set(_weight_map(folder).values()))]
    others = set(folder.glob(OTHER_WEIGHTS))
    return sorted(path for path in folder.glob("*.safetensors") if path not in others)


def tensor_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor, from the file's header; no weights are read.

    Raises:
        SalusError: the file is cut short, a Git LFS pointer, or no safetensors file.
    """
    check_no_pointer(file)
    try:
        with safe_open(file, framework="numpy") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise SalusError(
            f"{file} is not a whole safetensors file ({error}); copy or fetch it again: it has"
            f" {file.stat().st_size} bytes."
        ) from error


def check_weights(folder: Path) -> dict[str, tuple[int, ...]]:
    """Hold a folder's safetensors files against their headers and their index.

    Returns:
        The shape of every tensor.

    Raises:
        SalusError: a file is missing, cut short or read by one library alone; the sentence names it.
    """
    files = weight_files(folder)
    missing = next((file.name for file in files if not file.is_file()), None)
    if missing is not None:
        raise SalusError(f"Model folder {folder} lacks {missing}, which {INDEX} names; copy or fetch it again.")
    if not files:
        raise SalusError(
            f"Model folder {folder} has no .safetensors weights; save it with save_pretrained() (pickled weights and"
            f" {OTHER_WEIGHTS} are not loaded)."
        )
    whole = folder / WEIGHTS
    indexed = (folder / INDEX).is_file()
    if not indexed and whole not in files:
        raise SalusError(
            f"Model folder {folder} has {files[0].name} but neither {WEIGHTS} nor {INDEX}; fetch {INDEX} too, or save"
            " the model with save_pretrained()."
        )
    # vLLM reads what an index names, and all there is without one; transformers reads the whole file first.
    beside = [whole] if indexed and whole.is_file() and whole not in files else []
    beside += [file for file in files if not indexed and file != whole]
    if beside:
        raise SalusError(
            f"Model folder {folder} holds {beside[0].name} beside its weights, which vLLM and transformers would not"
            " both read; move it elsewhere."
        )
    shapes = {name: shape for file in files for name, shape in tensor_shapes(file).items()}
    lost = next((name for name in _weight_map(folder) if name not in shapes), None) if indexed else None
    if lost is not None:
        raise SalusError(f"Model folder {folder} has no tensor {lost}, which {INDEX} names; fetch its weights again.")
    return shapes


def _weight_map(folder: Path) -> dict[str, str]:
    """Which file of the folder holds each tensor."""
    named = read_json(folder / INDEX).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(n, str) and Path(n).name == n for n in named.values()):
        raise SalusError(f"{folder / INDEX} does not name a file of this folder for each tensor; save the model again.")
    return named


def processor_template(folder: Path) -> str | None:
    """The chat template that a processor would read; None where there is none.

    Raises:
        SalusError: its file cannot be read.
    """
    path = folder / PROCESSOR_TEMPLATE
    template = read_json(path).get("chat_template") if path.is_file() else None
    return template if isinstance(template, str) and template else None


def engine_folder(folder: Path) -> Path:
    """The folder that vLLM is to read a model from: its own, or links to those of its files that Salus goes by.

    Links are made where vLLM would read other files than transformers: Mistral's tokenizer, a second copy of the
    weights, or a template that only processors read. They are on this machine and last as long as this process.

    Raises:
        SalusError: a file cannot be read.
        OSError: the links cannot be made.
    """
    hidden = [path for pattern in _OTHER_TOKENIZERS for path in folder.glob(pattern)]
    hidden += folder.glob(OTHER_WEIGHTS)
    template = processor_template(folder)
    doubled = any(folder.glob(OTHER_WEIGHTS)) and not (folder / INDEX).is_file()
    if not doubled and template is None and not (folder / _TEKKEN).is_file():
        return folder
    return Path(_links(folder.absolute(), tuple(sorted(path.name for path in hidden)), template).name)


@functools.cache
def _links(folder: Path, hidden: tuple[str, ...], template: str | None) -> tempfile.TemporaryDirectory[str]:
    links = tempfile.TemporaryDirectory(prefix="salus-model-")
    made = Path(links.name)
    for path in folder.iterdir():
        if path.name not in (*hidden, PROCESSOR_TEMPLATE):
            (made / path.name).symlink_to(path)
    if template is not None and not (made / TEMPLATE).exists() and not tokenizer_template(folder):
        write_text(template, made / TEMPLATE)
    return links


def tokenizer_template(folder: Path) -> Any:
    """The chat template in a tokenizer's settings: one, or several by name; None where they have none.

    Raises:
        SalusError: they cannot be read.
    """
    settings = folder / TOKENIZER_CONFIG
    return read_json(settings).get("chat_template") if settings.is_file() else None


def has_chat_template(folder: Path) -> bool:
    """Whether there is a chat template in one of the places where transformers looks for it.

    Raises:
        SalusError: a file cannot be read.
    """
    return (folder / TEMPLATE).is_file() or bool(tokenizer_template(folder)) or processor_template(folder) is not None
