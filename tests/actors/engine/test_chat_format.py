"""A deployed policy's folder says how it is asked: system prompt, switches and date are in its template."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from actors.contract.conversation import Turn
from actors.contract.records import PolicyRef
from actors.engine.chat import conversation_text
from actors.engine.chat_format import ChatFormat, chat_format_of, deployed_template, own_template, write_deployed
from actors.engine.model_folder import shape_difference
from actors.errors import SalusError
from actors.training.adapter import copy_companions
from tests.tiny_model import CHAT_TEMPLATE, make_tiny_model, tiny_tokenizer

DAY = datetime.date(2026, 11, 29)
USER = Turn(role="user", content="Hi")
DATED = "{{- strftime_now('%d %b %Y') }}|{%- for m in messages %}{{- m['role'] + ':' + m['content'] }}{%- endfor %}"
THINKS = CHAT_TEMPLATE + "{% if enable_thinking is defined and not enable_thinking %}<no thought>{% endif %}"
NEEDS = "{%- if messages[0]['role'] != 'system' %}{{ raise_exception('no system') }}{%- endif %}" + CHAT_TEMPLATE


def rendered(template: str, *turns: Turn) -> str:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    return conversation_text(tokenizer, turns)


def with_system(text: str) -> ChatFormat:
    return ChatFormat(system_prompt=text, date=DAY)


@given(st.text(min_size=1).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text)))
def test_any_system_prompt_is_rendered_as_it_is(text: str) -> None:
    given_as_message = rendered(CHAT_TEMPLATE, Turn(role="system", content=text), USER)
    assert rendered(deployed_template(CHAT_TEMPLATE, with_system(text)), USER) == given_as_message


def test_a_conversations_own_system_message_takes_its_place() -> None:
    template = deployed_template(CHAT_TEMPLATE, with_system("Ours"))
    own = (Turn(role="system", content="Theirs"), USER)
    assert rendered(template, *own) == rendered(CHAT_TEMPLATE, *own)


def test_a_template_that_needs_a_system_message_works_once_there_is_a_prompt() -> None:
    assert "Ours" in rendered(deployed_template(NEEDS, with_system("Ours")), USER)


def test_switches_hold_where_a_request_does_not_say_otherwise() -> None:
    template = deployed_template(THINKS, ChatFormat(template_kwargs={"enable_thinking": False}, date=DAY))
    tokenizer = tiny_tokenizer()
    messages = [USER.model_dump()]
    tokenizer.chat_template = template
    assert "<no thought>" in str(tokenizer.apply_chat_template(messages, tokenize=False))
    assert "<no thought>" not in str(tokenizer.apply_chat_template(messages, tokenize=False, enable_thinking=True))


def test_the_date_of_a_template_is_the_recipes() -> None:
    assert rendered(deployed_template(DATED, ChatFormat(date=DAY)), USER) == "29 Nov 2026|user:Hi"


def test_a_template_without_date_and_settings_stays_as_it_is() -> None:
    chat = ChatFormat(date=DAY)
    assert not chat.changes(CHAT_TEMPLATE)
    assert chat.changes(DATED)
    assert deployed_template(CHAT_TEMPLATE, chat) == CHAT_TEMPLATE


def test_a_switch_that_is_no_name_is_refused() -> None:
    with pytest.raises(SalusError, match=r"model.chat_template_kwargs names 'a b'"):
        deployed_template(CHAT_TEMPLATE, ChatFormat(template_kwargs={"a b": 1}, date=DAY))


def test_whatever_loads_the_deployed_folder_asks_alike(tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "model")
    out = tmp_path / "deployed"
    out.mkdir()
    write_deployed(model, with_system("You are a clinic's assistant."), out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert "You are a clinic's assistant." in conversation_text(tokenizer, [USER])
    assert (out / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    assert "chat_template" not in json.loads((out / "tokenizer_config.json").read_text())
    # A policy that is trained from it inherits both the template and what is in it.
    child = tmp_path / "child"
    child.mkdir()
    copy_companions(out, child)
    assert own_template(child) == own_template(out)
    assert chat_format_of(child) == with_system("You are a clinic's assistant.")
    assert chat_format_of(model) is None


@pytest.mark.parametrize("place", ["chat_template.jinja", "tokenizer_config.json", "named"])
def test_a_template_is_found_wherever_a_folder_keeps_it(place: str, tmp_path: Path) -> None:
    if place == "chat_template.jinja":
        (tmp_path / place).write_text("x")
    else:
        several = [{"name": "tool_use", "template": "y"}, {"name": "default", "template": "x"}]
        found = "x" if place == "tokenizer_config.json" else several
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": found}))
    assert own_template(tmp_path) == "x"


def test_an_endpoint_refuses_a_policy_that_was_measured_under_another_system_prompt(tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "model")
    (tmp_path / "deployed").mkdir()
    write_deployed(model, with_system("Ours"), tmp_path / "deployed")
    served, policy = (PolicyRef(version=name, path=str(tmp_path / name)) for name in ("model", "deployed"))
    assert "system prompt" in str(shape_difference(served, policy))
    assert shape_difference(served, served) is None
