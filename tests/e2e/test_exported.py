"""A policy that left through the registry: transformers and vLLM make of it what the run recorded, token by token."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from actors.contract.records import PolicyRef
from actors.engine.chat import chat_tokens
from actors.engine.port import Sampling
from actors.files.shards import read_folder, strings
from pipelines.registry.entry import PolicyEntry
from pipelines.registry.export import Kind, export_policy
from pipelines.registry.store import Registry
from tests.e2e.engine_answers import Answer, alone, by_adapter, by_engine
from tests.e2e.whole_run import Aligned
from tests.transformers_engine import TransformersEngine

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
ASKED = 24


@pytest.fixture(scope="module")
def registry(aligned: Aligned) -> Registry:
    folder = aligned.recipe.publish.registry
    assert folder is not None
    return Registry(folder)


@pytest.fixture(scope="module")
def policy(registry: Registry) -> PolicyEntry:
    """The winner of the first cycle, which was trained on the deployed model."""
    (entry,) = [entry for entry in registry.entries() if entry.origin.cycle == 1]
    return entry


@pytest.fixture(scope="module")
def asked(aligned: Aligned, policy: PolicyEntry) -> list[str]:
    return strings(recorded_rows(aligned, policy), "prompt")


@pytest.fixture(scope="module")
def recorded(aligned: Aligned, policy: PolicyEntry) -> list[Answer]:
    """What the run wrote down of its greedy answers on the validation split."""
    rows = recorded_rows(aligned, policy)
    return list(zip(strings(rows, "answer"), map(int, rows["tokens"].to_numpy()), strict=True))


def recorded_rows(aligned: Aligned, policy: PolicyEntry) -> pa.Table:
    return read_folder(aligned.folder.evaluation_rollouts("validation", policy.origin.run_version)).slice(0, ASKED)


def exported(registry: Registry, policy: PolicyEntry, out: Path, kind: Kind) -> Path:
    export_policy(registry, policy.version, out, kind)
    assert policy.version in (out / "README.md").read_text()
    return out


def test_the_merged_policy_answers_as_in_the_run(
    aligned: Aligned, registry: Registry, policy: PolicyEntry, asked: list[str], recorded: list[Answer], tmp_path: Path
) -> None:
    model = exported(registry, policy, tmp_path / "clinic", "merged")
    generate = aligned.recipe.generate
    longest = generate.sampling.max_tokens
    plain = TransformersEngine(PolicyRef(version="exported", path=str(model)))
    tokens = [chat_tokens(plain.tokenizer, prompt) for prompt in asked]
    greedy = Sampling(k=1, temperature=0.0, max_tokens=longest)
    answers = [(each.text.strip(), each.tokens) for (each,) in plain.generate(tokens, greedy, [0] * len(tokens))]
    assert len({text for text, _ in recorded}) > 1
    assert answers == recorded
    assert alone(by_engine, model, generate.engine, asked, longest) == recorded


def test_so_does_the_adapter_on_the_deployed_model(
    aligned: Aligned, registry: Registry, policy: PolicyEntry, asked: list[str], recorded: list[Answer], tmp_path: Path
) -> None:
    adapter = exported(registry, policy, tmp_path / "adapter", "adapter")
    base = Path(str(aligned.recipe.model.path))
    generate = aligned.recipe.generate
    assert alone(by_adapter, base, adapter, generate.engine, asked, generate.sampling.max_tokens) == recorded
