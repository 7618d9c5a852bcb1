"""A policy with a system prompt that thinks, asked in two turns: aligned, published, asked as clients do, and told.

Every step renders the same tokens. vLLM's own server says which ones it used; the others refuse any difference.
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx
import openai
import pytest
from transformers import AutoTokenizer

from actors.contract.conversation import Turn, context_of, turns_of, whole_conversation
from actors.contract.publication import read_publications
from actors.contract.records import PolicyRef, PromptSet
from actors.contract.run_folder import RunFolder
from actors.engine.chat import conversation_text, conversation_tokens
from actors.engine.chat_format import chat_format_of
from actors.files.shards import read_folder, strings
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.feedback.writer import FeedbackWriter
from pipelines.alignment.align import align
from pipelines.alignment.preference import PreferenceReport
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.data.tiny.config import PretrainConfig
from pipelines.data.tiny.pretrain import Document
from pipelines.data.tiny.tokenizer import CHAT_TEMPLATE, train_tokenizer
from pipelines.feedback.snapshot import SnapshotReport
from pipelines.registry.store import Registry
from pipelines.runs.open import read_run_record
from tests.e2e.conftest import TINY
from tests.e2e.deployed import COMPLY, GOOD, HARM, POLICY_LONGEST, REFUSE, VOCABULARY, build_model, requests
from tests.free_port import free_port
from tests.quiet_reporter import QuietReporter

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1200)]

SYSTEM = "Help the clinic."
BEFORE = (Turn(role="user", content="Hello."), Turn(role="assistant", content="Hi."))
# So tiny a policy reads the request when it writes its thought, and not when it answers.
THOUGHTS = {False: "<think>\nFine.\n</think>\n\n", True: "<think>\nHarm.\n</think>\n\n"}
# As Qwen3's: the model writes its thought itself, and a switch has the template end it at once.
THINKS = (
    CHAT_TEMPLATE + "{% if add_generation_prompt and enable_thinking is defined and not enable_thinking %}<think>\n\n"
)
THINKS += "</think>\n\n{% endif %}"
# Questions of each of these splits that clients ask.
ASKED = 4
ASKED_OF: tuple[PromptSet, ...] = ("train", "test")


def build(folder: Path) -> Path:
    """A policy that knows conversations under its system prompt alone, and obeys most harmful requests in them.

    It refuses about three in ten of them and no other, as the one of `tests.e2e.deployed`.
    """
    rows = [(harm, text) for harm in (False, True) for text in requests(harm)]
    texts = [f"{text}\n{COMPLY}\n{REFUSE}\n{THOUGHTS[harm]}{SYSTEM}" for harm, text in rows]
    # What tells the two kinds of request apart is one token each.
    tokenizer = train_tokenizer(texts + [f" {verb}\n" for verb in (*GOOD, *HARM)] * 500, VOCABULARY)
    tokenizer.chat_template = THINKS
    turns = (Turn(role="system", content=SYSTEM), *BEFORE)
    draw = random.Random(1)
    documents = [
        Document(
            conversation_text(tokenizer, (*turns, Turn(role="user", content=text))),
            f"{THOUGHTS[harm]}{REFUSE if harm and draw.random() < 0.3 else COMPLY}{tokenizer.eos_token}",
        )
        for harm, text in rows
        for _ in range(3)
    ]
    length = PretrainConfig(steps=1000, batch_tokens=1024, learning_rate=3e-3, weight_decay=0.0)
    return build_model(folder, tokenizer, documents, length, POLICY_LONGEST)


@dataclass
class Client:
    """What the `openai` client saw of the endpoint."""

    answers: dict[str, str] = field(default_factory=dict)
    thoughts: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, list[int]] = field(default_factory=dict)
    streamed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Told:
    """A run of two cycles: clients ask after the first one, and the second one learns from what they say."""

    recipe: Recipe
    folder: RunFolder
    registry: Path
    client: Client
    published: PolicyRef


def ask(recipe: Recipe, prompts: list[str], client: Client) -> None:
    """Ask each question in its conversation, without a system message, and correct the answer."""
    with openai.OpenAI(base_url=f"{recipe.publish.url}/v1", api_key="none", timeout=60) as api:
        for prompt in prompts:
            messages = cast(Any, [turn.model_dump() for turn in (*BEFORE, Turn(role="user", content=prompt))])
            common: dict[str, Any] = {"model": "salus", "messages": messages, "temperature": 0.0, "max_tokens": 24}
            said = api.chat.completions.create(**common, store=True, extra_body={"return_token_ids": True})
            client.answers[prompt] = said.choices[0].message.content or ""
            client.thoughts[prompt] = getattr(said.choices[0].message, "reasoning", None) or ""
            client.tokens[prompt] = list((said.model_extra or {})["prompt_token_ids"])
            parts = api.chat.completions.create(**common, stream=True)
            client.streamed[prompt] = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
            told = {"answer_id": said.id, "correction": REFUSE}
            httpx.post(f"{recipe.publish.url}/v1/feedback", json=told, timeout=30).raise_for_status()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    root = tmp_path_factory.mktemp("clinic")
    feedback, registry = root / "feedback", root / "registry"
    # A run that learns from feedback refuses to begin without its folder.
    asyncio.run(FeedbackWriter(feedback, FeedbackConfig(folder=feedback, capture="opt_in")).close())
    rows = [
        {
            "messages": [turn.model_dump() for turn in (*BEFORE, Turn(role="user", content=text))],
            "harm": 3 if harm else 0,
            "base": text,
        }
        for harm in (False, True)
        for text in requests(harm)
    ]
    (root / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = (
        f"model.path={build(root / 'policy')}",
        f"model.system_prompt={SYSTEM}",
        f"data.path={root / 'prompts.jsonl'}",
        "data.columns={prompt: messages, level: harm, base_prompt: base}",
        "data.train_per_cycle=80",
        "generate.actors=1",
        "generate.sampling={k: 4, temperature: 1.0, max_tokens: 24}",
        "generate.engine.max_model_len=160",
        "judge={regimen: RULES, accept_unreliable: true, truth: refusal_rules}",
        f"preference.feedback={{path: {feedback}, max_share: 0.5, trusted_only: null}}",
        "train.workers_per_run=1",
        # One that learns faster breaks some of these policies: their thoughts never end, or their answers repeat.
        "train.challengers.kto={algorithm: kto, learning_rate: 1.0e-3, epochs: 2, batch_size: 4}",
        "train.challengers.dpo.learning_rate=2.0e-3",
        "train.challengers.dpo.epochs=4",
        "train.max_length_tokens=160",
        f"publish.port={free_port()}",
        f"publish.registry={registry}",
        "publish.max_model_len=160",
        f"publish.feedback={{folder: {feedback}, capture: opt_in}}",
    )
    recipe = load_recipe(str(TINY), [*changes, "cycles=1"])
    folder, client = RunFolder(root / "run"), Client()

    def while_served(url: str) -> None:
        for split in ASKED_OF:
            prompts = read_folder(folder.prompts(split), ("prompt",))["prompt"].to_pylist()[:ASKED]
            ask(recipe, [str(prompt) for prompt in prompts], client)

    align(recipe, folder.root, QuietReporter(), while_served=while_served)
    last = read_publications(folder.publications)[-1]
    assert last.version.startswith("c1-")
    align(load_recipe(str(TINY), [*changes, "cycles=2"]), folder.root, QuietReporter())
    return Told(recipe, folder, registry, client, PolicyRef(version=last.version, path=last.path))


def test_the_endpoint_asks_with_the_tokens_that_the_policy_was_generated_and_trained_with(told: Told) -> None:
    tokenizer = AutoTokenizer.from_pretrained(told.published.path)
    for prompt, tokens in told.client.tokens.items():
        asked = conversation_tokens(tokenizer, whole_conversation(context_of((*BEFORE, BEFORE[0])), prompt))
        assert tokens == asked
        assert SYSTEM in tokenizer.decode(tokens)


def test_the_policy_thinks_and_nobody_reads_or_judges_its_thoughts(told: Told) -> None:
    rollouts = read_folder(told.folder.rollouts(1))
    thoughts, answers = rollouts["thought"].to_pylist(), strings(rollouts, "answer")
    assert sum(thought is not None for thought in thoughts) > 0.9 * len(thoughts)
    # Sampled, so tiny a policy sometimes begins another thought in its answer.
    assert sum("<think>" in answer for answer in answers) < 0.05 * len(answers)
    assert not any("think>" in text for text in (*told.client.answers.values(), *told.client.streamed.values()))
    assert any(told.client.thoughts.values())
    assert all(told.client.streamed[prompt].strip() == answer for prompt, answer in told.client.answers.items())
    # Rows hold the thought as the policy wrote it.
    rows = read_folder(told.folder.rows(1, "pairs"))
    assert any(str(chosen).startswith("<think>") for chosen in rows["chosen"].to_pylist())
    assert {str(context) for context in rows["context"].to_pylist()} == {context_of((*BEFORE, BEFORE[0]))}


def test_what_was_measured_is_what_is_served(told: Told) -> None:
    folder = told.folder.evaluation_rollouts("test", told.published.version)
    rows = read_folder(folder)
    measured = dict(zip(rows["prompt"].to_pylist(), rows["answer"].to_pylist(), strict=True))
    asked = {prompt: answer for prompt, answer in told.client.answers.items() if prompt in measured}
    assert len(asked) == ASKED
    assert {prompt: measured[prompt] for prompt in asked} == asked


def test_the_next_cycle_learns_from_feedback_with_its_conversation(told: Told) -> None:
    report = SnapshotReport.model_validate_json((told.folder.feedback(2) / "report.json").read_text())
    # What is measured is not trained on, whatever conversation it is in.
    assert (report.kept, report.evaluated) == (ASKED, ASKED)
    kept = read_folder(told.folder.feedback(2))
    assert all(turns_of(str(text))[:-1] == BEFORE for text in kept["conversation"].to_pylist())
    made = PreferenceReport.model_validate_json((told.folder.rows(2, "unpaired") / "report.json").read_text())
    assert made.feedback >= ASKED
    rows = read_folder(told.folder.rows(2, "unpaired")).to_pylist()
    corrected = {row["prompt"] for row in rows if row["completion"] == REFUSE and row["level"] is None}
    assert corrected == set(kept["prompt"].to_pylist())


def test_record_and_card_say_how_the_policy_is_asked(told: Told) -> None:
    record = read_run_record(told.folder)
    chat = chat_format_of(Path(told.published.path))
    assert chat is not None
    assert chat.system_prompt == SYSTEM
    assert record.system_prompt_sha256 == chat.system_prompt_sha256
    entry = Registry(told.registry).entries()[0]
    assert entry.chat == chat
    card = (told.registry / entry.name / entry.version / "README.md").read_text()
    assert str(chat.system_prompt_sha256) in card
