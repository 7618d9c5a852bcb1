"""Log-likelihoods of given texts from a real tiny model: additive, cut at the right token, filed once by policy."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.contract.records import PolicyRef
from actors.engine.chat import chat_tokens
from actors.engine.likelihood import ITEM_SCHEMA, SCORE_SCHEMA, LikelihoodTask, item_tokens
from actors.engine.port import Sampling
from actors.errors import SalusError
from actors.files.shards import write_table
from actors.generator import Generator
from tests.tiny_model import tiny_tokenizer
from tests.transformers_engine import TransformersEngine

OPTIONS = ("Ten units.", "Ask a doctor.", "Insulin")


@pytest.fixture(scope="module")
def engine(policies: dict[str, PolicyRef]) -> TransformersEngine:
    return TransformersEngine(policies["a"])


def task(policy: PolicyRef, folder: Path, name: str, chat: bool = True) -> LikelihoodTask:
    shard = folder / "items.parquet"
    if not shard.exists():
        rows = [
            {"item_id": "q1", "option": i, "right": i == 1, "prompt": "How much insulin?", "continuation": option}
            for i, option in enumerate(OPTIONS)
        ]
        write_table(pa.Table.from_pylist(rows, schema=ITEM_SCHEMA), shard)
    return LikelihoodTask(policy=policy, items=str(shard), output=str(folder / name), chat=chat)


def test_a_text_is_as_likely_as_its_parts_one_after_the_other(engine: TransformersEngine) -> None:
    prompt, text = [5, 9, 40], [7, 30, 61, 12]
    whole, first, rest = engine.log_likelihoods([prompt, prompt, prompt + text[:1]], [text, text[:1], text[1:]])
    assert whole.log_likelihood == pytest.approx(first.log_likelihood + rest.log_likelihood, abs=1e-4)
    assert (whole.tokens, first.tokens, rest.tokens) == (4, 1, 3)
    assert first.log_likelihood == pytest.approx(engine.score_next([prompt], text[:1])[0, 0], abs=1e-4)


def test_what_greedy_decoding_writes_is_greedy(engine: TransformersEngine) -> None:
    prompt = chat_tokens(engine.tokenizer, "How much insulin?")
    best = int(engine.score_next([prompt], range(len(engine.tokenizer)))[0].argmax())
    found = engine.log_likelihoods([prompt, prompt], [[best], [best - 1]])
    assert [continuation.greedy for continuation in found] == [True, False]
    assert found[0].log_likelihood > found[1].log_likelihood


@pytest.mark.parametrize(
    ("prompt", "continuation", "words"),
    [
        ([], [5], "Sequence 0 .* empty prompt"),
        ([5], [], "Sequence 0 .* empty continuation"),
        ([5] * 200, [6] * 56, "has 256 tokens, but only 255 fit"),
    ],
)
def test_what_cannot_be_scored_is_named(
    engine: TransformersEngine, prompt: list[int], continuation: list[int], words: str
) -> None:
    with pytest.raises(SalusError, match=words):
        engine.log_likelihoods([prompt], [continuation])
    assert engine.log_likelihoods([[5] * 200], [[6] * 55])[0].tokens == 55


def test_chat_prompts_end_where_the_answer_begins() -> None:
    tokenizer = tiny_tokenizer()
    found = item_tokens(tokenizer, "How much insulin?", "Ten units.", chat=True)
    assert found.prompt == chat_tokens(tokenizer, "How much insulin?")
    assert tokenizer.decode(found.continuation) == "Ten units."
    plain = item_tokens(tokenizer, "How much insulin?\nAnswer:", " Ten units.", chat=False)
    assert tokenizer.decode(plain.prompt) == "How much insulin?\nAnswer:"
    assert tokenizer.decode(plain.continuation) == " Ten units."


def test_a_token_that_spans_the_border_belongs_to_the_continuation() -> None:
    tokenizer = tiny_tokenizer()
    # One token of the corpus's own, in two halves.
    assert len(tokenizer.encode(" every")) == 1
    found = item_tokens(tokenizer, "forge eve", "ry", chat=False)
    assert (tokenizer.decode(found.prompt), tokenizer.decode(found.continuation)) == ("forge", " every")
    longer = item_tokens(tokenizer, "forge eve", "ry four hours", chat=False)
    assert tokenizer.decode(longer.continuation) == " every four hours"


def test_a_shard_is_scored_in_order_with_all_its_columns(policies: dict[str, PolicyRef], tmp_path: Path) -> None:
    engine = TransformersEngine(policies["a"])
    span = Generator(engine).log_likelihoods(task(policies["b"], tmp_path, "out.parquet"))
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.schema.equals(SCORE_SCHEMA)
    assert table["continuation"].to_pylist() == list(OPTIONS)
    assert set(table["policy"].to_pylist()) == {"b"} and engine.loads[-1] == "b"
    assert (table["log_likelihood"].to_numpy() < 0).all()
    assert span.rows == 3 and span.end_s > span.start_s


def test_a_shard_on_disk_is_not_scored_again(policies: dict[str, PolicyRef], tmp_path: Path) -> None:
    engine = TransformersEngine(policies["a"])
    generator = Generator(engine)
    generator.log_likelihoods(task(policies["a"], tmp_path, "out.parquet"))
    before = pq.read_table(tmp_path / "out.parquet")
    span = generator.log_likelihoods(task(policies["b"], tmp_path, "out.parquet"))
    assert span.start_s == span.end_s and span.rows == 3
    assert pq.read_table(tmp_path / "out.parquet").equals(before)
    assert engine.loads == ["a", "a"]


def test_policies_differ_and_the_template_matters(policies: dict[str, PolicyRef], tmp_path: Path) -> None:
    generator = Generator(TransformersEngine(policies["a"]))
    found = []
    for name, policy, chat in (("a", "a", True), ("b", "b", True), ("plain", "a", False)):
        generator.log_likelihoods(task(policies[policy], tmp_path, f"{name}.parquet", chat))
        found.append(pq.read_table(tmp_path / f"{name}.parquet")["log_likelihood"].to_pylist())
    assert len({tuple(values) for values in found}) == 3


def test_an_item_that_does_not_fit_is_named(policies: dict[str, PolicyRef], tmp_path: Path) -> None:
    generator = Generator(TransformersEngine(policies["a"], max_model_len=12))
    with pytest.raises(
        SalusError, match=r"Question q1 of .* with its option 0, but only 11 fit; raise generate.engine"
    ):
        generator.log_likelihoods(task(policies["a"], tmp_path, "out.parquet"))
    assert not (tmp_path / "out.parquet").exists()


def test_scoring_goes_between_generations(policies: dict[str, PolicyRef], tmp_path: Path) -> None:
    engine = TransformersEngine(policies["a"])
    prompt = chat_tokens(engine.tokenizer, "How much insulin?")
    greedy = Sampling(k=1, temperature=0.0, max_tokens=4)
    before = engine.generate([prompt], greedy, [0])
    Generator(engine).log_likelihoods(task(policies["a"], tmp_path, "out.parquet"))
    assert engine.generate([prompt], greedy, [0]) == before
