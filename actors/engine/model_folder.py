"""What a model folder must hold, and what lets one take another one's place."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from actors.contract.records import PolicyRef
from actors.engine.chat_format import own_template
from actors.engine.model_files import check_no_pointer, check_weights, has_chat_template, read_json
from actors.engine.sampling_defaults import sampling_defaults
from actors.errors import SalusError

# What a Hugging Face tokenizer is stored in.
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
# How the classes of models are called that write text after text.
_WRITERS = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")
# The first layer of every family, by the end of its name: a row a token.
EMBEDDINGS = ("embed_tokens.weight", "embed_in.weight", "wte.weight", "word_embeddings.weight")
_TOKEN_IDS = ("pad_token_id", "eos_token_id", "bos_token_id")


def check_model_folder(folder: Path) -> None:
    """A model folder holds a config, whole safetensors weights and a tokenizer with a chat template.

    Neither torch nor vLLM is imported, and no weights are read: their headers are.

    Raises:
        SalusError: says what is missing or wrong, and how to mend it.
    """
    if not folder.is_dir():
        raise SalusError(f"Model folder {folder} does not exist; give the path of a Hugging Face model folder.")
    if not (folder / "config.json").is_file():
        bare = (folder / "adapter_config.json").is_file()
        mend = "it is a bare LoRA adapter: merge it into its base model" if bare else "save it with save_pretrained()"
        raise SalusError(f"Model folder {folder} has no config.json; {mend}.")
    config = read_json(folder / "config.json")
    _check_architecture(folder, config)
    shapes = check_weights(folder)
    _check_token_ids(folder, config, shapes)
    tokenizer = next((name for name in _TOKENIZERS if (folder / name).is_file()), None)
    if tokenizer is None:
        raise SalusError(
            f"Model folder {folder} has no tokenizer; copy tokenizer.json and tokenizer_config.json from the model it"
            " was made from."
        )
    check_no_pointer(folder / tokenizer)
    if not has_chat_template(folder):
        raise SalusError(
            f"The tokenizer in {folder} has no chat template; add chat_template.jinja, as the model was trained with."
        )


def check_trainable(folder: Path) -> None:
    """Refuse a model whose weights are quantized: no adapter is trained on such, and none is merged into them.

    Raises:
        SalusError: they are, or config.json cannot be read.
    """
    config = read_json(folder / "config.json")
    quantized = config.get("quantization_config") or _text(config).get("quantization_config")
    if quantized:
        method = quantized.get("quant_method") if isinstance(quantized, dict) else None
        raise SalusError(
            f"The model in {folder} is quantized ({method or 'quantization_config in its config.json'}) and cannot be"
            " trained; give the folder of the 16-bit model that it was made from."
        )


def check_engine_can_load(folder: Path) -> None:
    """Refuse a model that also reads images where vLLM lacks what it loads such models with, even to ask texts alone.

    Raises:
        SalusError: torchvision is not installed, or config.json cannot be read.
    """
    if sees_images(folder) and find_spec("torchvision") is None:
        raise SalusError(
            f"The model in {folder} also reads images, and vLLM loads it with torchvision, which is not installed."
            " Install the build that fits this torch, or give a model of texts alone."
        )


def _check_architecture(folder: Path, config: dict[str, Any]) -> None:
    kinds = [str(kind) for kind in config.get("architectures") or ()]
    writes = not kinds or any(kind.endswith(_WRITERS) for kind in kinds)
    if not writes or config.get("is_encoder_decoder"):
        raise SalusError(
            f"The model in {folder} ({', '.join(kinds) or config.get('model_type')}) does not answer in a chat; give a"
            " decoder-only language model (its class ends in ForCausalLM)."
        )
    if config.get("auto_map") and not _is_native(config, kinds):
        raise SalusError(
            f"The model in {folder} brings its own code (auto_map in its config.json), which Salus does not run; give"
            " a model whose class transformers has itself."
        )


def _is_native(config: dict[str, Any], kinds: list[str]) -> bool:
    # Imported here: it takes a second, and few models bring code.
    import transformers

    known = set(dir(transformers))
    return config.get("model_type") in transformers.CONFIG_MAPPING and all(kind in known for kind in kinds)


def _check_token_ids(folder: Path, config: dict[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    rows = embedding_rows(config, shapes)
    if rows is None:
        return
    generation = folder / "generation_config.json"
    sources = {
        "config.json": _text(config) | {key: config[key] for key in _TOKEN_IDS if config.get(key) is not None},
        generation.name: read_json(generation) if generation.is_file() else {},
    }
    for source, said in sources.items():
        for key in _TOKEN_IDS:
            ids = said.get(key)
            for token in ids if isinstance(ids, list) else [ids]:
                # Old Llamas count the padding token from the end.
                if isinstance(token, int) and not (-rows if key == "pad_token_id" else 0) <= token < rows:
                    raise SalusError(
                        f"{key} is {token} in {folder / source}, but the model's embedding has {rows} rows."
                        " Name a token that it has, or resize the embedding with resize_token_embeddings()."
                    )


def embedding_rows(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """How many tokens a model has an embedding of, padding included; None: unsaid.

    Args:
        config: its config.json.
        shapes: those of its tensors.
    """
    found = [shape[0] for name, shape in shapes.items() if name.endswith(EMBEDDINGS) and len(shape) == 2]
    said = _text(config).get("vocab_size")
    return max(found) if found else said if isinstance(said, int) else None


def _text(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the language model, which multimodal configs keep under this key."""
    text = config.get("text_config")
    return dict(text) if isinstance(text, dict) and text else dict(config)


def sees_images(folder: Path) -> bool:
    """Whether a model has a tower for images beside its language model.

    Raises:
        SalusError: config.json cannot be read.
    """
    return bool(read_json(folder / "config.json").get("vision_config"))


# Where a config.json says how many tokens its model was made for; vLLM takes the smallest, too.
_LENGTH_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
# Ways to stretch positions after which a config.json names the stretched length.
_STRETCHED = ("su", "longrope", "llama3")


def longest_sequence(folder: Path) -> int | None:
    """How many tokens a model holds, prompt and answer together, as vLLM reads its config.json; None: unsaid there.

    It is read here without vLLM or torch, which take seconds to import.

    Raises:
        SalusError: config.json cannot be read.
    """
    text = _text(read_json(folder / "config.json"))
    named = [text[key] for key in _LENGTH_KEYS if text.get(key)]
    if not named:
        return None
    length, factor = text.get("model_max_length") or min(named), 1.0
    # Gemma 3 names the stretched length whatever its way.
    for rope in () if "gemma3" in (text.get("model_type") or "") else _ropes(text):
        kind = rope.get("rope_type") or rope.get("type") or "default"
        if kind not in _STRETCHED:
            factor = rope.get("factor") or factor
        if kind == "yarn":
            length = rope.get("original_max_position_embeddings") or length
    return int(length * factor)


def _ropes(text: dict[str, Any]) -> list[dict[str, Any]]:
    """How positions are stretched: once for all layers, or by their kinds."""
    found = text.get("rope_parameters") or text.get("rope_scaling") or {}
    by_kind = [each for each in found.values() if isinstance(each, dict)]
    return by_kind or [found]


# What of a model's config.json fixes the shape of its weights.
SHAPE_KEYS = (
    "architectures",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "tie_word_embeddings",
)


def shape_difference(served: PolicyRef, policy: PolicyRef) -> str | None:
    """The first thing by which a policy cannot take the served one's place in its engine; None where it can."""
    old, new = (read_json(Path(p.path) / "config.json") for p in (served, policy))
    for key in SHAPE_KEYS:
        if old.get(key) != new.get(key):
            return f"its {key} is {new.get(key)} instead of {old.get(key)}"
    templates = [own_template(Path(p.path)) for p in (served, policy)]
    if templates[0] != templates[1]:
        return "its chat template is another one, and with it the system prompt or the way it is asked"
    # Fixed when a server starts, and so is what was measured with them.
    drawn, draws = (sampling_defaults(Path(p.path)) for p in (served, policy))
    if drawn != draws:
        return f"its own sampling defaults are {draws.in_words()} instead of {drawn.in_words()}"
    held, holds = (longest_sequence(Path(p.path)) for p in (served, policy))
    if held is not None and holds is not None and holds < held:
        return f"it holds {holds} tokens instead of {held}"
    return None


def check_same_shape(served: PolicyRef, policy: PolicyRef) -> None:
    """Refuse a policy whose weights cannot take the served ones' place, naming the first difference."""
    difference = shape_difference(served, policy)
    if difference is not None:
        raise SalusError(
            f"Policy {policy.version} cannot replace {served.version} in place: {difference}. Serve with"
            " publish.router=true, which starts a second application for it, or stop the endpoint and start it with"
            " this policy."
        )
