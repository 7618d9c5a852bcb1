"""Model folders that cannot be served are refused with what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.errors import SalusError
from actors.model_folder import check_model_folder
from tests.tiny_model import make_tiny_model


def drop_template(folder: Path) -> None:
    for name in ("chat_template.jinja",):
        (folder / name).unlink(missing_ok=True)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config.pop("chat_template", None)
    path.write_text(json.dumps(config))


def drop_weights(folder: Path) -> None:
    for file in folder.glob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (drop_weights, "has no .safetensors weights"),
        (drop_template, "has no chat template; add chat_template.jinja"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, spoil: Callable[[Path], None], words: str) -> None:
    folder = make_tiny_model(tmp_path / "model")
    check_model_folder(folder)
    spoil(folder)
    with pytest.raises(SalusError, match=words):
        check_model_folder(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SalusError, match=r"nowhere does not exist; give the path of a Hugging Face model folder"):
        check_model_folder(tmp_path / "nowhere")


def test_a_bare_adapter_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(SalusError, match="a bare LoRA adapter: merge it into its base model"):
        check_model_folder(tmp_path)
