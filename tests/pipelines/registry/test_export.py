"""A policy out of the registry: a folder plain transformers loads, with the logits of the source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from actors.contract.run_folder import RunFolder
from actors.engine.model_folder import check_model_folder
from actors.errors import SalusError
from actors.training.adapter import check_adapter
from pipelines.registry.export import export_policy
from pipelines.registry.store import Registry
from pipelines.runs.contents import MODEL_FILES, contents_of


def logits(folder: Path) -> torch.Tensor:
    tokens = AutoTokenizer.from_pretrained(folder)("How do I ask the clinic?", return_tensors="pt")
    with torch.no_grad():
        found: torch.Tensor = AutoModelForCausalLM.from_pretrained(folder)(**tokens).logits
    return found


@pytest.mark.usefixtures("one_thread")
def test_the_merged_folder_is_the_policy(
    run: RunFolder, registry: Registry, versions: Sequence[str], tmp_path: Path
) -> None:
    out = tmp_path / "models" / "clinic"
    out.mkdir(parents=True)
    entry = export_policy(registry, versions[1], out)
    check_model_folder(out)
    assert contents_of(out, MODEL_FILES) == entry.merged.contents
    assert (out / "README.md").read_text().startswith("---\n")
    source = run.training(1, "kto") / "merged"
    assert torch.equal(logits(out), logits(source))
    assert not torch.equal(logits(out), logits(run.training(2, "dpo") / "merged"))
    assert [path.name for path in out.parent.iterdir()] == ["clinic"]


def test_the_adapter_alone(registry: Registry, versions: Sequence[str], tmp_path: Path) -> None:
    export_policy(registry, versions[2], tmp_path / "adapter", "adapter")
    check_adapter(tmp_path / "adapter")
    with pytest.raises(SalusError, match="has no adapter"):
        export_policy(registry, versions[0], tmp_path / "none", "adapter")


@pytest.mark.parametrize("harm", ["changed", "missing"])
def test_weights_that_are_not_those_registered_are_refused(
    harm: str, run: RunFolder, registry: Registry, versions: Sequence[str], tmp_path: Path
) -> None:
    weights = run.training(2, "dpo") / "merged" / "model.safetensors"
    whole = bytearray(weights.read_bytes())
    whole[-1] ^= 1
    weights.write_bytes(whole) if harm == "changed" else weights.unlink()
    with pytest.raises(SalusError, match=r"\(model.safetensors in .* changed or missing\)"):
        export_policy(registry, versions[2], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_a_file_and_pickles(
    run: RunFolder, registry: Registry, versions: Sequence[str], tmp_path: Path
) -> None:
    used = tmp_path / "used"
    used.mkdir()
    (used / "mine").touch()
    for out, sentence in ((used, "is not empty"), (used / "mine", "is a file"), (used / "mine" / "x", "written")):
        with pytest.raises(SalusError, match=sentence):
            export_policy(registry, versions[1], out)
    assert [path.name for path in used.iterdir()] == ["mine"]
    merged = run.training(1, "kto") / "merged"
    (merged / "tokenizer.pkl").touch()
    (merged / "training_args.bin").touch()
    export_policy(registry, versions[1], tmp_path / "out")
    assert not [path for path in (tmp_path / "out").iterdir() if path.suffix in (".pkl", ".bin")]


def test_a_model_file_with_an_odd_name_is_named(tmp_path: Path) -> None:
    (tmp_path / "a\nb.safetensors").touch()
    with pytest.raises(SalusError, match=r"a file 'a\\nb.safetensors'; rename it"):
        contents_of(tmp_path, MODEL_FILES)
