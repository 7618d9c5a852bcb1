"""What training reads and leaves on disk: model folders to load, LoRA adapters to check, merge and combine.

An adapter is a folder with `adapter_config.json` and `adapter_model.safetensors`, as PEFT writes it.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.engine.model_files import model_fault
from actors.engine.model_folder import check_model_folder, check_trainable, sees_images
from actors.errors import SalusError
from actors.files.shards import write_text

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
# What PEFT writes as a list and holds as a set.
_MODULE_SETS = ("exclude_modules", "target_modules")
PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl"})
# What a policy needs beside its weights; copied byte for byte, so that a challenger talks like its champion.
COMPANIONS = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.model",
    "chat_template*",
    "generation_config.json",
    # What reads images and sounds beside the texts.
    "*processor_config.json",
)


def load_model(folder: Path, half: bool) -> PreTrainedModel:
    """The model in bfloat16 (`half`) or float32, whatever it is stored in; without its generation config.

    Raises:
        SalusError: the folder is no chat model in safetensors, is quantized, or its weights cannot be read.
    """
    import torch

    check_model_folder(folder)
    check_trainable(folder)
    with model_fault(folder, "No training can start"):
        model: PreTrainedModel = model_class(folder).from_pretrained(
            folder, dtype=torch.bfloat16 if half else torch.float32, trust_remote_code=False
        )
        _freeze_other_towers(model)
    return _without_generation(model)


def _without_generation(model: PreTrainedModel) -> PreTrainedModel:
    """The model with transformers' own generation config; a written model gets that of its base as a companion.

    transformers saves no generation config that contradicts itself, such as a temperature without sampling. Many
    published models come with one.
    """
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig()
    return model


def model_class(folder: Path) -> Any:
    """The class of transformers that loads a folder's model whole, the towers beside its language model included."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    return AutoModelForImageTextToText if sees_images(folder) else AutoModelForCausalLM


def language_layers(model: PreTrainedModel) -> str | None:
    """Where the language model of a model with other towers is, as `model.language_model`; None where it is all.

    Only there an adapter belongs: texts alone are trained on, so no other tower would learn anything.
    """
    if getattr(model.config, "vision_config", None) is None:
        return None
    decoder = model.get_decoder()
    place: str = next(name for name, module in model.named_modules() if module is decoder)
    return place


def _freeze_other_towers(model: PreTrainedModel) -> None:
    """Keep what is beside the language model as it is: no gradient reaches it, and the workers would wait for one."""
    inside = language_layers(model)
    if inside is not None:
        parent, _, name = inside.rpartition(".")
        for other, module in model.get_submodule(parent).named_children():
            if other != name:
                module.requires_grad_(False)


def check_adapter(folder: Path) -> None:
    """Refuse a folder that is no LoRA adapter in safetensors form, or that vLLM would not serve whole.

    Raises SalusError where the config or the weights are missing or unreadable, where the weights are a pickle, and
    where it is no LoRA. Also where `modules_to_save` or biases hold weights outside the LoRA matrices.
    """
    if not folder.is_dir():
        raise SalusError(f"There is no adapter folder {folder}; give the folder that PEFT's save_pretrained wrote.")
    config = adapter_config(folder)
    if config.get("peft_type") != "LORA":
        raise SalusError(
            f"The adapter {folder} is of type {config.get('peft_type')}, not LORA; train a LoRA adapter instead."
        )
    if config.get("modules_to_save"):
        raise SalusError(
            f"The adapter {folder} carries whole modules ({', '.join(config['modules_to_save'])}, "
            "modules_to_save), which vLLM does not serve; train it without them, or merge it first."
        )
    if config.get("bias", "none") != "none":
        raise SalusError(
            f"The adapter {folder} trains biases (bias={config['bias']}), which vLLM does not serve; "
            "train it with bias none."
        )
    _check_weights(folder)


def adapter_config(folder: Path) -> dict[str, Any]:
    """An adapter's config. Raises SalusError where it is missing or unreadable."""
    path = folder / ADAPTER_CONFIG
    if not path.is_file():
        raise SalusError(f"The adapter {folder} has no {ADAPTER_CONFIG}; give the folder that PEFT wrote.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SalusError(f"{path} is not valid JSON ({error}); write the adapter again.") from error
    if not isinstance(config, dict):
        raise SalusError(f"{path} holds no JSON object; write the adapter again.")
    return config


def _check_weights(folder: Path) -> None:
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLE_SUFFIXES)
    if pickles:
        raise SalusError(
            f"The adapter {folder} holds pickle files ({', '.join(pickles)}), which can run code when "
            "loaded; save it as safetensors and remove them."
        )
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise SalusError(f"The adapter {folder} has no {ADAPTER_WEIGHTS}; save it as safetensors.")


def settle_config(folder: Path, base: str, revision: str | None = None) -> None:
    """Write an adapter's config as every process on every machine would; `base` names the model it belongs to.

    `revision` is the commit of a `base` on the hub; None for a folder, or where it is not known.

    PEFT writes the path that model was loaded from, which nothing here reads: an adapter is merged into the model it is
    given with. And it keeps module names in sets, whose order is another one in every process.
    """
    config = adapter_config(folder) | {"base_model_name_or_path": base, "revision": revision}
    modules = {name: sorted(config[name]) for name in _MODULE_SETS if isinstance(config.get(name), list)}
    write_text(json.dumps(config | modules, indent=2, sort_keys=True), folder / ADAPTER_CONFIG)


def merge(base: Path, adapter: Path, out: Path) -> None:
    """Write `base` with `adapter` folded into its weights to `out`, a full Hugging Face folder.

    The weights keep the dtype `base` is stored in; tokenizer, chat template and generation config are copied
    from `base` unchanged. Both are read afresh from disk: merging a model that TRL holds in memory has been
    seen to give copies without the change. Raises SalusError for an adapter or a base that cannot be used.
    """
    import torch
    from peft import PeftModel
    from transformers.utils import logging

    # An engine's process shows no bars of its own, and each is a line in a job's log.
    logging.disable_progress_bar()
    check_adapter(adapter)
    check_model_folder(base)
    check_trainable(base)
    with model_fault(base, "No adapter can be merged"):
        model = model_class(base).from_pretrained(base, dtype="auto", trust_remote_code=False)
    try:
        # PEFT draws the matrices before it fills them; an engine's process keeps its own draws.
        with torch.random.fork_rng(devices=[]):
            # PEFT would take a GPU, which in an engine's process is the engine's.
            peft_model = PeftModel.from_pretrained(model, adapter, torch_device="cpu")
    except (RuntimeError, ValueError) as error:
        raise SalusError(
            f"The adapter {adapter} does not fit the model {base} ({str(error).splitlines()[0]}); "
            "merge it into the model it was trained on."
        ) from error
    merged = _without_generation(peft_model.merge_and_unload())
    merged.save_pretrained(out)
    copy_companions(base, out)


def copy_companions(base: Path, out: Path) -> None:
    """Copy tokenizer, chat template and generation config from one model folder to another, byte for byte."""
    if not (base / "generation_config.json").is_file():
        (out / "generation_config.json").unlink(missing_ok=True)
    for pattern in COMPANIONS:
        for path in base.glob(pattern):
            if path.is_file():
                shutil.copyfile(path, out / path.name)


def rms_change(before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> float:
    """Root mean square of the difference over all elements; NaN where any weight is not finite."""
    squares = 0.0
    for name, old in before.items():
        squares += float((after[name].float() - old.float()).double().square().sum())
    return math.sqrt(squares / sum(old.numel() for old in before.values()))


def rms_change_on_disk(before: Path, after: Path) -> float:
    """`rms_change` of two model folders, one tensor at a time; tensors of one folder alone are left out."""
    from safetensors import safe_open

    places = {name: path for path in before.glob("*.safetensors") for name in _tensor_names(path)}
    squares, elements = 0.0, 0
    for path in after.glob("*.safetensors"):
        with safe_open(path, framework="pt") as new:
            for name in new.keys() & places.keys():
                with safe_open(places[name], framework="pt") as old:
                    difference = new.get_tensor(name).float() - old.get_tensor(name).float()
                squares += float(difference.double().square().sum())
                elements += difference.numel()
    return math.sqrt(squares / max(elements, 1))


def _tensor_names(path: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return list(file.keys())
