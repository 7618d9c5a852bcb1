"""LoRA adapters of one model combined into one, by PEFT: one after the other, or merged by a method.

An adapter is a folder with `adapter_config.json` and `adapter_model.safetensors`, as PEFT writes it.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from actors.errors import SalusError
from actors.training.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS, adapter_config, check_adapter, model_class
from actors.training.merging.config import WeightedMerge

if TYPE_CHECKING:
    from peft import LoraConfig

# Parts of an adapter that PEFT does not combine.
_ODD = ("use_dora", "lora_bias", "target_parameters")


def combine(config: Path, adapters: Sequence[Path], out: Path, how: WeightedMerge | None = None) -> None:
    """Write one adapter to `out` that changes a model as `adapters` do together.

    Its scaling is 1, its weights float32. PEFT works in a model whose weights are never read or written, so a large
    model costs no memory here.

    Args:
        config: a folder with the model's `config.json`; its weights are not read.
        adapters: at least two.
        out: receives the adapter.
        how: the method, and the weight of each; None: linear, each with weight 1. Linear concatenates the matrices,
            which is exact: the rank is the sum of theirs. The other methods are applied to the updates of each layer,
            and the merged update is cut to a rank by its singular values.

    Raises:
        SalusError: one cannot be used, does not fit the model, or has parts that cannot be combined.
        OSError: `out` cannot be written.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoConfig

    for adapter in adapters:
        check_adapter(adapter)
        odd = [part for part in _ODD if adapter_config(adapter).get(part)]
        if odd:
            raise SalusError(
                f"The adapter {adapter} has {odd[0]}, which cannot be combined; use merged weights instead."
            )
    names = [f"adapter_{number}" for number in range(len(adapters))]
    weights = list(how.weights) if how is not None else [1.0] * len(names)
    # PEFT draws the new matrices before it fills them; zero times a drawn number may be minus zero.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # PEFT 0.21 asks transformers by an older name.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        # Density 1 keeps all, which is no fault.
        warnings.filterwarnings("ignore", message="The density")
        torch.manual_seed(how.seed if how is not None else 0)
        with torch.device("meta"):
            shape = AutoConfig.from_pretrained(config, trust_remote_code=False)
            # float32: PEFT gives the new matrices the dtype of the layer they are on.
            model = model_class(config).from_config(shape, dtype=torch.float32, trust_remote_code=False)
        # PEFT leaves matrices on a meta layer without values; memory that is never touched is never taken.
        model.to_empty(device="cpu")
        try:
            combined = PeftModel.from_pretrained(model, adapters[0], adapter_name=names[0])
            for name, adapter in zip(names[1:], adapters[1:], strict=True):
                combined.load_adapter(adapter, name)
            # The scaling of each is in its matrices; PEFT would scale the sum by its rank's root once more.
            cast("LoraConfig", combined.peft_config[names[0]]).use_rslora = False
            combined.add_weighted_adapter(names, weights, "default", **_peft_options(how, adapters))
        except (RuntimeError, ValueError) as error:
            raise SalusError(
                f"The adapters {', '.join(map(str, adapters))} cannot be combined ({str(error).splitlines()[0]}); "
                "use merged weights instead."
            ) from error
        combined.save_pretrained(str(out), selected_adapters=["default"], save_embedding_layers=False)
    # safetensors lets no group read what it writes, whatever the umask.
    shutil.copymode(out / ADAPTER_CONFIG, out / ADAPTER_WEIGHTS)


def _peft_options(how: WeightedMerge | None, adapters: Sequence[Path]) -> dict[str, Any]:
    """The method in PEFT's words.

    Its `linear`, `ties` and `dare_*` merge the two factors of the updates apart. That adds products of factors of
    different policies. Its `cat` and `*_svd` are of the updates themselves, as the papers have it.
    """
    if how is None or how.settings.method == "linear":
        return {"combination_type": "cat"}
    return {
        "combination_type": f"{how.settings.method}_svd",
        "density": how.settings.density,
        "majority_sign_method": how.settings.sign,
        "svd_rank": how.settings.rank or sum(int(adapter_config(adapter)["r"]) for adapter in adapters),
        "svd_full_matrices": False,
    }
