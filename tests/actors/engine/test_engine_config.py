"""How long an engine is, what vLLM is told of it, and that every engine is told by the same function."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import actors
import pipelines
from actors.engine.config import BATCHED_TOKENS, EngineConfig, engine_arguments
from actors.errors import SalusError
from actors.serve.config import PublisherConfig, SmokeConfig, SmokePrompt, check_lengths
from actors.serve.guard.config import GuardConfig, GuardEngineConfig
from tests.tiny_model import make_tiny_model

CHUNKS = ("enable_chunked_prefill", "max_num_batched_tokens")
# What starts an engine of vLLM's, or tells one how: its own classes, and Ray's way to hand on what they take.
STARTERS = ("LLM", "EngineArgs", "AsyncEngineArgs", "from_engine_args", "from_vllm_config")
HANDED_ON = "engine_kwargs"


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "short", positions=128)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "long", positions=32_768)


class TestLength:
    @pytest.mark.parametrize(
        ("config", "usual"), [(EngineConfig(), 256), (PublisherConfig().engine, 512), (GuardEngineConfig(), 2048)]
    )
    def test_unset_is_what_the_model_holds_and_at_most_the_usual(
        self, config: EngineConfig, usual: int, short: Path, long: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "config.json").write_text("{}")
        assert (config.length(short), config.length(long), config.length(tmp_path)) == (128, usual, usual)
        assert config.longest == usual

    def test_set_is_taken_as_it_is_or_refused_in_one_sentence(self, short: Path, long: Path) -> None:
        assert EngineConfig(max_model_len=128).length(short) == 128
        assert EngineConfig(max_model_len=20_000).length(long) == 20_000
        with pytest.raises(SalusError) as caught:
            EngineConfig(max_model_len=129).length(short, "judge.engine")
        assert caught.value.sentence == (
            f"judge.engine.max_model_len=129 is more than the 128 tokens that the model in {short} holds; set 128 or"
            " fewer, or leave the setting out."
        )

    def test_an_endpoint_is_held_against_all_its_models(self, short: Path, long: Path) -> None:
        guard = GuardConfig(kind="guard", model=short)
        check_lengths(PublisherConfig(guard=guard), short)
        with pytest.raises(SalusError, match=r"^publish\.max_model_len=512 is more than the 128 tokens"):
            check_lengths(PublisherConfig(max_model_len=512), short)
        smoke = SmokeConfig(prompts=(SmokePrompt(text="Hello"),), max_tokens=200)
        with pytest.raises(SalusError, match=r"^publish\.smoke\.max_tokens=200 leaves no room .* the 128 tokens"):
            check_lengths(PublisherConfig(smoke=smoke), short)
        longer = guard.model_copy(update={"engine": GuardEngineConfig(max_model_len=1024)})
        with pytest.raises(SalusError, match=r"^publish\.guard\.engine\.max_model_len=1024 is more"):
            check_lengths(PublisherConfig(guard=longer), long)


class TestArguments:
    def test_a_cpu_engine_reads_every_prompt_whole(self, short: Path, long: Path) -> None:
        for config in (EngineConfig(), PublisherConfig().engine, GuardEngineConfig()):
            told = engine_arguments(config, short)
            assert (told["enable_chunked_prefill"], told["max_num_batched_tokens"]) == (False, BATCHED_TOKENS)
        assert engine_arguments(EngineConfig(max_model_len=20_000), long)["max_num_batched_tokens"] == 20_000

    def test_on_cuda_vllm_reads_prompts_as_it_likes(self, short: Path) -> None:
        for config in (EngineConfig(device="cuda"), PublisherConfig(gpus_per_replica=1).engine):
            assert not set(CHUNKS) & set(engine_arguments(config, short))

    def test_cache_size_is_for_cpu_and_memory_share_for_gpu(self, short: Path) -> None:
        on_cpu = engine_arguments(PublisherConfig(kv_cache_gib=0.5).engine, short)
        on_gpu = engine_arguments(PublisherConfig(gpus_per_replica=1, gpu_memory_utilization=0.5).engine, short)
        assert on_cpu["kv_cache_memory_bytes"] == 2**29 and "gpu_memory_utilization" not in on_cpu
        assert on_gpu["gpu_memory_utilization"] == 0.5 and "kv_cache_memory_bytes" not in on_gpu

    def test_on_cuda_bfloat16_and_graphs_are_what_nothing_else_is(self, short: Path) -> None:
        def told(config: EngineConfig) -> tuple[str, bool]:
            arguments = engine_arguments(config, short)
            return arguments["dtype"], arguments["enforce_eager"]

        for on_gpu in (EngineConfig(device="cuda"), PublisherConfig(gpus_per_replica=0.5).engine):
            assert told(on_gpu) == ("bfloat16", False)
        assert told(GuardEngineConfig(device="cuda", dtype="float16", enforce_eager=True)) == ("float16", True)
        assert told(PublisherConfig(gpus_per_replica=1, dtype="float32").engine) == ("float32", False)
        for on_cpu in (EngineConfig(), EngineConfig(device="cpu"), PublisherConfig(gpus_per_replica=0).engine):
            assert told(on_cpu) == ("float32", True)

    def test_a_replicas_settings_are_its_engines(self, short: Path) -> None:
        publish = PublisherConfig(
            dtype="bfloat16", max_num_seqs=3, tensor_parallel_size=2, gpus_per_replica=2, enforce_eager=False
        )
        told = engine_arguments(publish.engine, short)
        assert (told["dtype"], told["max_num_seqs"], told["tensor_parallel_size"]) == ("bfloat16", 3, 2)
        assert (told["enforce_eager"], told["max_model_len"]) == (False, 128)


def sources() -> Iterator[tuple[str, ast.Module]]:
    for package in (actors, pipelines):
        root = Path(str(package.__file__)).parent
        for path in sorted(root.rglob("*.py")):
            yield f"{root.name}/{path.relative_to(root)}", ast.parse(path.read_text(encoding="utf-8"))


def engines_made(tree: ast.Module) -> list[ast.Call]:
    """Calls that start an engine, or hand arguments to one."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = [(call, getattr(call.func, "attr", getattr(call.func, "id", None))) for call in calls]
    return [call for call, name in names if name in STARTERS or any(k.arg == HANDED_ON for k in call.keywords)]


def test_every_engine_takes_its_arguments_from_one_function() -> None:
    found = {name: calls for name, tree in sources() if (calls := engines_made(tree))}
    assert set(found) == {"actors/engine/vllm.py", "actors/serve/replica/app.py"}
    for name, calls in found.items():
        text = Path(str(actors.__file__)).parent.parent.joinpath(name).read_text(encoding="utf-8")
        assert len(calls) == 1 and text.count("engine_arguments(") == 1, name
        told = {keyword.arg for keyword in calls[0].keywords if keyword.arg is not None}
        assert told <= {"model", "disable_log_stats"} or HANDED_ON in told


def test_how_prompts_are_read_is_said_in_one_place() -> None:
    said = [name for name, tree in sources() for node in ast.walk(tree) if named(node, CHUNKS)]
    assert set(said) == {"actors/engine/config.py"} and len(said) == len(CHUNKS)


def named(node: ast.AST, names: tuple[str, ...]) -> bool:
    return getattr(node, "arg", None) in names or (isinstance(node, ast.Constant) and node.value in names)
