"""A scheme at the endpoint: the app gets what was measured, and everything before it sees the client's request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.contract.conversation import Turn, context_of, whole_conversation
from actors.contract.records import PROMPT_SCHEMA, PolicyRef
from actors.engine.chat import conversation_tokens
from actors.engine.tokenizer import load_tokenizer
from actors.errors import SalusError
from actors.files.shards import write_text
from actors.serve.gateway.exchange import ExchangeLayers, ServedAnswer, ServedExchange
from actors.serve.replica.scheme.asked import Example, ServedScheme, read_scheme
from actors.serve.replica.scheme.middleware import SchemeMiddleware
from actors.serve.replica.scheme.nearest import all_similarities
from pipelines.config.model import SchemeConfig
from pipelines.data.batches import Item, prompt_batches, prompt_table
from pipelines.measures.schemes import as_asked
from tests.actors.serve.gateway.served import USAGE, Served, error_of, small_app
from tests.tiny_model import make_tiny_model

EXAMPLES: tuple[Example, ...] = (
    ("How do I store insulin?", "In a fridge."),
    ("Is a refill of my inhaler free?", "Ask the pharmacy."),
    ("May I forge a note?", "I cannot help with that."),
)
CONFIG = SchemeConfig(system_prompt="You are careful.", suffix="Think step by step.", few_shot=2)
QUESTION = "How do I store my inhaler?"
ROOM = 400


class Kept:
    """A reader that keeps what it is told of, as capture and shadow do."""

    most_bytes = 10_000

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    async def read(self, exchange: ServedExchange, given: ServedAnswer) -> None:
        self.asked.append(dict(exchange.asked))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def policy(tmp_path: Path, model: Path) -> PolicyRef:
    scheme = ServedScheme(
        name="medprompt",
        system_prompt=CONFIG.system_prompt,
        suffix=CONFIG.suffix,
        few_shot=CONFIG.few_shot,
        examples=EXAMPLES,
        answer_tokens=16,
    )
    write_text(scheme.model_dump_json(), tmp_path / "scheme.json")
    return PolicyRef(version="c1-kto", path=str(model), scheme=str(tmp_path / "scheme.json"))


def served(policy: PolicyRef | None, room: int = ROOM, layers: ExchangeLayers | None = None) -> Served:
    app = SchemeMiddleware(small_app(), lambda: policy, room)
    return Served(app=app, layers=layers or ExchangeLayers())


def chat(*messages: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in messages]


def measured(model: Path, *turns: tuple[str, str], config: SchemeConfig = CONFIG) -> list[dict[str, str]]:
    """The messages that a run asks on the test split for the same conversation."""
    whole = [Turn(role=role, content=text) for role, text in turns]
    item = Item(whole[-1].content, 0, source="test", base_prompt="b", context=context_of(whole))
    table = prompt_table(prompt_batches([item])).select(PROMPT_SCHEMA.names)
    near = all_similarities([item.prompt], [request for request, _ in EXAMPLES], model) if config.few_shot else None
    (row,) = as_asked(table, config, EXAMPLES, near).to_pylist()
    return [turn.model_dump() for turn in whole_conversation(row["context"], row["prompt"])]


@pytest.mark.parametrize(
    "turns",
    [
        [("user", QUESTION)],
        [("system", "Be brief."), ("user", "Hello"), ("assistant", "Hello."), ("user", QUESTION)],
    ],
)
def test_the_app_is_asked_what_was_measured(policy: PolicyRef, model: Path, turns: list[tuple[str, str]]) -> None:
    kept = Kept()
    endpoint = served(policy, layers=ExchangeLayers(capture=kept))
    answer = endpoint.chat(messages=chat(*turns), temperature=0.3)
    assert answer.status_code == 200
    seen = answer.json()["seen"]
    assert seen["messages"] == measured(model, *turns)
    # The two nearest of three examples, and nothing else of the request is changed.
    assert seen["messages"][0] == {"role": "system", "content": "You are careful."}
    assert seen["messages"][-1]["content"] == f"{QUESTION}\n\nThink step by step."
    assert {each["content"] for each in seen["messages"][1:5:2]} == {EXAMPLES[0][0], EXAMPLES[1][0]}
    assert (seen["model"], seen["temperature"]) == ("salus", 0.3)
    # Guard, capture and logs have the client's own words; tokens are those that the engine read.
    assert kept.asked[0]["messages"] == chat(*turns)
    assert endpoint.last.tokens.prompt == USAGE["prompt_tokens"]


def test_without_room_for_examples_there_are_none(policy: PolicyRef, model: Path) -> None:
    tokenizer = load_tokenizer(model)
    full = measured(model, ("user", QUESTION))
    fits = len(conversation_tokens(tokenizer, [Turn(**each) for each in full])) + 16
    bare = measured(model, ("user", QUESTION), config=CONFIG.model_copy(update={"few_shot": 0}))
    for room, expected in ((fits, full), (fits - 1, bare)):
        seen = served(policy, room).chat(messages=chat(("user", QUESTION))).json()["seen"]
        assert seen["messages"] == expected
    # A longer answer leaves less room.
    longer = served(policy, fits).chat(messages=chat(("user", QUESTION)), max_tokens=17).json()["seen"]
    assert len(longer["messages"]) == 2


def test_a_policy_without_a_scheme_is_asked_as_the_client_asks(policy: PolicyRef) -> None:
    plain = policy.model_copy(update={"scheme": None})
    for each in (plain, None):
        seen = served(each).chat(messages=chat(("user", QUESTION))).json()["seen"]
        assert seen["messages"] == chat(("user", QUESTION))


def test_the_scheme_follows_the_policy(policy: PolicyRef, tmp_path: Path) -> None:
    other = read_scheme(Path(policy.scheme or "")).model_copy(update={"system_prompt": "Be bold.", "few_shot": 0})
    write_text(other.model_dump_json(), tmp_path / "other.json")
    policies = [policy, policy.model_copy(update={"version": "c2-dpo", "scheme": str(tmp_path / "other.json")})]
    current = [policies[0]]
    endpoint = Served(app=SchemeMiddleware(small_app(), lambda: current[0], ROOM))
    for each, words in zip(policies, ("You are careful.", "Be bold."), strict=True):
        current[0] = each
        seen = endpoint.chat(messages=chat(("user", QUESTION))).json()["seen"]
        assert seen["messages"][0]["content"] == words


def test_what_a_scheme_cannot_ask_is_refused_in_a_sentence(policy: PolicyRef) -> None:
    endpoint = served(policy)
    completion = endpoint.ask("POST", "/v1/completions", "client", json_body={"model": "salus", "prompt": "x"})
    assert completion.status_code == 400 and "takes chats alone" in error_of(completion)["message"]
    named = endpoint.chat(messages=chat(("user", QUESTION), ("assistant", "I would")))
    assert named.status_code == 400 and "end with the user's word" in error_of(named)["message"]
    # What asks for no answer passes.
    assert endpoint.ask("GET", "/v1/models", "client").status_code == 200


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    write_text("{}", tmp_path / "scheme.json")
    with pytest.raises(SalusError, match=r"is not an inference scheme .*; register the run's policy again"):
        read_scheme(tmp_path / "scheme.json")
