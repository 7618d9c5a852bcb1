"""Whole weights merged: the updates of several policies to one base, one tensor at a time, from safetensors.

The formulas are PEFT's own (`peft.utils.merge_utils`): TIES (Yadav et al., arXiv 2306.01708) and DARE (Yu et al.,
arXiv 2311.03099), both by tensor, as mergekit has them. Unlike there, weights are not divided by their sum.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from actors.files.atomic import make_folder
from actors.training.adapter import copy_companions
from actors.training.merging.config import WeightedMerge

if TYPE_CHECKING:
    import torch

_PATTERN = "*.safetensors"
_INDEX = "model.safetensors.index.json"


def merge_weights(base: Path, policies: Sequence[Path], out: Path, how: WeightedMerge) -> None:
    """Write a full Hugging Face folder to `out`: `base` with the merged updates of `policies`, in base's dtypes.

    Each file of the base gives one of the same name. Tensors that hold no fractions stay those of the base. The same
    seed gives the same bytes, however the weights are cut into files.

    Args:
        base: the model folder that all policies were trained from.
        policies: folders of whole weights, at least two.
        out: receives the model.
        how: the method, and the weight of each policy.

    Raises:
        SalusError: a policy has other tensors than the base, or tensors of other shapes.
        OSError: `out` cannot be written.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    places = [_places(folder) for folder in (base, *policies)]
    for folder, found in zip(policies, places[1:], strict=True):
        if odd := sorted(found.keys() ^ places[0].keys()):
            raise SalusError(f"{folder} has other tensors than {base} ({odd[0]}); merge policies of one base model.")
    make_folder(out)
    for file in sorted(base.glob(_PATTERN)):
        merged: dict[str, torch.Tensor] = {}
        with safe_open(file, framework="pt") as own:
            for name in own.keys():  # noqa: SIM118  # It is no mapping.
                others = [_read(place[name], name) for place in places[1:]]
                merged[name] = _merged(name, own.get_tensor(name), others, how, policies)
        save_file(merged, out / file.name, metadata={"format": "pt"})
        # safetensors lets no group read what it writes, whatever the umask.
        shutil.copymode(file, out / file.name)
    for name in ("config.json", _INDEX):
        if (base / name).is_file():
            shutil.copyfile(base / name, out / name)
    copy_companions(base, out)


def _places(folder: Path) -> dict[str, Path]:
    """The file of each tensor."""
    from safetensors import safe_open

    found: dict[str, Path] = {}
    for file in sorted(folder.glob(_PATTERN)):
        with safe_open(file, framework="pt") as tensors:
            found |= dict.fromkeys(tensors.keys(), file)
    if not found:
        raise SalusError(f"{folder} holds no weights in safetensors; give a model folder.")
    return found


def _read(file: Path, name: str) -> torch.Tensor:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as tensors:
        found: torch.Tensor = tensors.get_tensor(name)
    return found


def _merged(
    name: str, base: torch.Tensor, others: Sequence[torch.Tensor], how: WeightedMerge, policies: Sequence[Path]
) -> torch.Tensor:
    """The base's tensor with the merged updates, computed in float32."""
    import torch

    for folder, other in zip(policies, others, strict=True):
        if other.shape != base.shape:
            raise SalusError(
                f"{folder} has {name} in the shape {tuple(other.shape)}, not {tuple(base.shape)}; merge policies of one"
                " base model."
            )
    if not base.is_floating_point():
        return base
    updates = [other.float() - base.float() for other in others]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(how.seed, "merge", name))
        return (base.float() + _update(updates, how)).to(base.dtype)


def _update(updates: list[torch.Tensor], how: WeightedMerge) -> torch.Tensor:
    import torch
    from peft.utils.merge_utils import dare_linear, dare_ties, task_arithmetic, ties

    weights, settings = torch.tensor(how.weights), how.settings
    with warnings.catch_warnings():
        # Density 1 keeps all, which is no fault.
        warnings.filterwarnings("ignore", message="The density")
        if settings.method == "linear":
            return task_arithmetic(updates, weights)
        if settings.method == "ties":
            return ties(updates, weights, settings.density, settings.sign)
        if settings.method == "dare_linear":
            return dare_linear(updates, weights, settings.density)
        return dare_ties(updates, weights, settings.density, settings.sign)
