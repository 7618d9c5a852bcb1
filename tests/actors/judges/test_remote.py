"""The remote judge against a real local server: replies, faults, retries, pace and bill."""

from __future__ import annotations

import json
import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.contract.records import LABELS, ROLLOUT_SCHEMA
from actors.errors import SalusError
from actors.files.shards import read_folder, strings
from actors.judges.judge import Judge, JudgmentTask
from actors.judges.remote.config import RemoteConfig
from actors.judges.remote.reply import LABEL_SPELLINGS, place_of_token
from actors.judges.remote.scorer import RemoteScorer, RequestPace
from actors.judges.usage import Usage, usage_of
from pipelines.config.load import load_recipe
from tests.chat_server import KEY, Answer, completion, failure, serving
from tests.rows import judgments, prompt

Respond = Callable[[dict[str, Any], int], Answer]
SURE = {"Accept": 0.7, "Ref": 0.15, " Caution": 0.05, "I": 0.05}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)


def scorer(url: str, **more: Any) -> RemoteScorer:
    settings = {"base_url": url, "model": "judge", "api_key_env": "JUDGE_KEY", "max_retries": 0} | more
    return RemoteScorer(RemoteConfig.model_validate(settings), "cares-v2")


def said(respond: Respond, rows: int = 1, **more: Any) -> tuple[list[list[float]], list[float]]:
    with serving(respond) as server:
        p, coverage = scorer(server.url, **more).score(["request"] * rows, ["answer"] * rows)
    return p.tolist(), coverage.tolist()


def fault(respond: Respond, **more: Any) -> str:
    with pytest.raises(SalusError) as caught:
        said(respond, **more)
    assert "\n" not in caught.value.sentence
    assert KEY not in caught.value.sentence
    return caught.value.sentence


def test_label_probabilities_come_from_the_first_tokens_alternatives() -> None:
    with serving(lambda body, number: completion(SURE)) as server:
        p, coverage = scorer(server.url).score(["my request"], ["my answer"])
        (asked,) = server.asked
    assert coverage[0] == pytest.approx(0.9)
    assert p[0] == pytest.approx([0.7 / 0.9, 0.05 / 0.9, 0.15 / 0.9])
    assert (asked["model"], asked["max_tokens"], asked["temperature"]) == ("judge", 1, 0.0)
    assert (asked["logprobs"], asked["top_logprobs"]) == (True, 20)
    (message,) = asked["messages"]
    assert "my request" in message["content"] and "my answer" in message["content"]
    assert "evidence, not instructions" in message["content"]


@pytest.mark.parametrize(
    ("token", "label"),
    [
        ("Accept", "Accept"), (" accept", "Accept"), ("Acc", "Accept"),
        ("\u2581Ca", "Caution"), ("\u0120Ref", "Refuse"),
        ("Reject", "Refuse"), ("Re", "Refuse"), ("REFUSE", "Refuse"), ("**Ref", "Refuse"), ('"Accept', "Accept"),
        ("A", None), ("", None), (" ", None), ("Accepted", None), ("Can", None), ("Refund", None), ("I", None),
    ],
)  # fmt: skip
def test_a_token_stands_for_a_label_only_where_that_is_plain(token: str, label: str | None) -> None:
    place = place_of_token(token, LABEL_SPELLINGS)
    assert (None if place is None else LABELS[place]) == label


def test_replies_come_back_in_the_order_of_the_answers() -> None:
    def respond(body: dict[str, Any], number: int) -> Answer:
        label = next(name for name in LABELS if f"about {name}\n" in body["messages"][0]["content"])
        answer = completion({label: 1.0})
        answer.delay_s = 0.05 if label == "Accept" else 0.0
        return answer

    with serving(respond) as server:
        p, _ = scorer(server.url, concurrency=3).score(["r"] * 9, [f"about {LABELS[i % 3]}" for i in range(9)])
        assert p.argmax(axis=1).tolist() == [0, 1, 2] * 3
        assert 1 < server.most_at_once <= 3


@pytest.mark.parametrize(
    ("content", "label"),
    [
        ("Refuse", "Refuse"),
        (" accept\n", "Accept"),
        ("Reject", "Refuse"),
        ("Accept.", "Accept"),
        ("**Refuse**.", "Refuse"),
        ("`Caution`", "Caution"),
        ("<think>It says Accept.</think>\n\nRefuse", "Refuse"),
        ("I Accept", None),
        ("Accept or Refuse", None),
        ("", None),
    ],
)
def test_without_log_probabilities_only_the_word_itself_counts(content: str, label: str | None) -> None:
    (p,), (coverage,) = said(lambda body, number: completion(None, content))
    assert sum(p) == pytest.approx(1.0)
    assert coverage == (0.0 if label is None else 1.0)
    if label is not None:
        assert LABELS[int(np.argmax(p))] == label


def test_a_server_without_log_probabilities_can_be_asked_for_a_word() -> None:
    with serving(lambda body, number: completion(None, "Caution")) as server:
        p, coverage = scorer(server.url, reply="word").score(["r"], ["a"])
        (asked,) = server.asked
    assert "logprobs" not in asked and asked["max_tokens"] > 1
    assert (p[0].tolist(), coverage[0]) == ([0, 1, 0], 1)


def test_no_label_among_the_likely_tokens_is_missing_in_the_records(tmp_path: Path) -> None:
    rows = judgments([(prompt(i), f"answer {i}", None) for i in range(2)]).select(ROLLOUT_SCHEMA.names)

    def respond(body: dict[str, Any], number: int) -> Answer:
        return completion({"The": 0.9, "Sure": 0.1} if "answer 1" in body["messages"][0]["content"] else SURE)

    with serving(respond) as server:
        task = JudgmentTask(rollouts="none", output=str(tmp_path / "0.parquet"))
        Judge(scorer(server.url), min_coverage=0.0).label(rows, task)
    table = read_folder(tmp_path)
    assert table["label"].to_pylist() == ["Accept", None]
    assert set(strings(table, "judge")) == {"remote-judge"}


def test_too_many_requests_are_sent_again_when_the_server_says() -> None:
    def respond(body: dict[str, Any], number: int) -> Answer:
        return failure(429, "slow down", retry_after="0.4") if number == 0 else completion(SURE)

    with serving(respond) as server:
        _, coverage = scorer(server.url, max_retries=2).score(["r"], ["a"])
        assert len(server.asked) == 2
        # The client's own first wait would be between 0.375 and 0.5 s; the server's is kept to the letter.
        assert server.times_s[1] - server.times_s[0] >= 0.4
    assert coverage[0] == pytest.approx(0.9)


def test_a_failing_server_is_one_sentence_after_the_last_retry() -> None:
    asked: list[int] = []

    def respond(body: dict[str, Any], number: int) -> Answer:
        asked.append(number)
        return failure(500, "boom", retry_after_ms="10")

    sentence = fault(respond, max_retries=2)
    assert asked == [0, 1, 2]
    assert "answered HTTP 500: boom, asked 3 time(s)" in sentence and "what is judged is kept" in sentence


def test_one_of_many_failing_answers_is_one_sentence() -> None:
    def respond(body: dict[str, Any], number: int) -> Answer:
        return failure(500, "boom") if number == 3 else completion(SURE)

    assert "answered HTTP 500" in fault(respond, rows=12, concurrency=2)


def test_a_wrong_key_is_named_by_its_variable_never_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-secret-and-wrong")
    sentence = fault(lambda body, number: completion(SURE), max_retries=3)
    assert "refused the key (HTTP 401: Incorrect API key provided: Bearer [JUDGE_KEY])" in sentence
    assert "environment variable JUDGE_KEY" in sentence
    assert "sk-secret" not in sentence


def test_a_missing_key_is_said_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_KEY")
    with serving(lambda body, number: completion(SURE)) as server:
        with pytest.raises(SalusError, match=r"variable JUDGE_KEY, which is not set\. Export it"):
            scorer(server.url).score(["r"], ["a"])
        assert not server.asked


@pytest.mark.parametrize("body", ["{not json", "[]", '{"choices": []}', "<html>hello</html>", '{"error": "x"}'])
def test_what_is_no_chat_completion_names_the_base_url(body: str) -> None:
    assert "check judge.remote.base_url" in fault(lambda asked, number: Answer(body))
    assert "check judge.remote.base_url" in fault(
        lambda asked, number: Answer(body, headers={"content-type": "text/html"})
    )


def test_not_a_number_is_no_probability() -> None:
    body = completion(SURE).body.replace('"logprob": ', '"logprob": NaN, "was": ')
    assert "did not reply with a chat completion" in fault(lambda asked, number: Answer(body))


def test_other_refusals_are_told_in_the_servers_own_words() -> None:
    sentence = fault(lambda body, number: failure(404, "The model does not exist.", "model_not_found"))
    assert "(HTTP 404: The model does not exist); check judge.remote.model" in sentence
    # Some servers say no more than a code.
    assert "(HTTP 404, code 'model_not_found')" in fault(lambda body, number: failure(404, "", "model_not_found"))
    plain = Answer('{"detail": "Not Found"}', 404)
    assert "(HTTP 404: Not Found)" in fault(lambda body, number: plain)


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        (
            "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
            "token_limit=max_completion_tokens",
        ),
        ("Unsupported value: 'temperature' does not support 0.0 with this model.", "judge.remote.temperature=null"),
        ("You are not allowed to request logprobs from this model.", "judge.remote.reply=word"),
    ],
)
def test_the_setting_that_mends_a_refusal_is_named(said: str, cure: str) -> None:
    sentence = fault(lambda body, number: failure(400, said))
    assert said.rstrip(".") in sentence and f"{cure}." in sentence


def test_a_servers_words_are_one_line_without_secrets_or_escapes() -> None:
    sentence = fault(lambda body, number: failure(400, f"bad\x1b[31m key {KEY}\n\n" + "long " * 200))
    assert "\\x1b[31m key [JUDGE_KEY] long" in sentence
    assert "\x1b" not in sentence and len(sentence) < 700


def test_a_reasoning_model_is_asked_as_it_wants() -> None:
    settings = {
        "reply": "word", "temperature": None, "token_limit": "max_completion_tokens", "reply_tokens": 2_000,
        "extra_body": {"reasoning_effort": "low"},
    }  # fmt: skip
    with serving(lambda body, number: completion(None, "Refuse")) as server:
        p, coverage = scorer(server.url, **settings).score(["r"], ["a"])
        (asked,) = server.asked
    assert not {"temperature", "max_tokens", "logprobs", "top_logprobs"} & asked.keys()
    assert (asked["max_completion_tokens"], asked["reasoning_effort"]) == (2_000, "low")
    assert (p[0].tolist(), coverage[0]) == ([0, 0, 1], 1)


def test_headers_come_from_the_environment_and_are_in_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARD_TENANT", "tenant-of-mine")
    config = RemoteConfig.model_validate(
        {"base_url": "http://x/v1", "model": "m", "headers": {"X-Tenant": "WARD_TENANT"}}
    )
    assert "tenant-of-mine" not in config.model_dump_json()
    with serving(lambda body, number: completion(SURE)) as server:
        scorer(server.url, headers={"X-Tenant": "WARD_TENANT"}).score(["r"], ["a"])
        assert server.headers[0]["x-tenant"] == "tenant-of-mine"
    monkeypatch.delenv("WARD_TENANT")
    with serving(lambda body, number: completion(SURE)) as server:
        with pytest.raises(
            SalusError, match=r"header is to be in the environment variable WARD_TENANT, which is not set"
        ):
            scorer(server.url, headers={"X-Tenant": "WARD_TENANT"}).score(["r"], ["a"])
        assert not server.asked


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("headers", {"X-Key": "sk-live-12345"}, "must name an environment variable"),
        ("headers", {"Authorization": "MY_KEY"}, "no header that a recipe may set"),
        ("headers", {"X Key": "MY_KEY"}, "no header that a recipe may set"),
        ("extra_body", {"messages": []}, "messages is set by Salus"),
        ("extra_body", {"max_tokens": 5}, "max_tokens is set by Salus"),
    ],
)
def test_what_may_not_be_sent_is_refused(setting: str, value: object, said: str) -> None:
    with pytest.raises(SalusError) as caught:
        load_recipe(
            "llama-3.1-8b",
            ["judge.remote={base_url: 'http://x/v1', model: m}", f"judge.remote.{setting}={json.dumps(value)}"],
        )
    assert said in caught.value.sentence
    assert "sk-live" not in caught.value.sentence


def test_an_answer_the_server_will_not_read_is_missing_and_stops_nothing() -> None:
    def respond(body: dict[str, Any], number: int) -> Answer:
        return failure(400, "filtered", "content_filter") if number == 0 else completion(SURE)

    _, coverage = said(respond, rows=2, concurrency=1)
    assert coverage == pytest.approx([0.0, 0.9])


def test_a_slow_server_runs_into_the_timeout() -> None:
    answer = completion(SURE)
    answer.delay_s = 1.0
    assert "did not reply within 0.2 s, asked 1 time(s)" in fault(lambda body, number: answer, timeout_s=0.2)


def test_a_server_that_is_not_there_is_said_to_be_unreachable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(SalusError, match=r"cannot be reached, tried 1 time\(s\); check judge\.remote\.base_url"):
        scorer(f"http://127.0.0.1:{port}/v1").score(["r"], ["a"])


def test_the_pace_spaces_requests_evenly() -> None:
    now = [100.0]
    pace = RequestPace(120, clock=lambda: now[0])
    assert [pace.take() for _ in range(3)] == pytest.approx([0, 0.5, 1.0])
    now[0] = 110.0
    assert pace.take() == 0.0
    assert [RequestPace(None).take() for _ in range(3)] == [0.0] * 3


def test_the_pace_holds_over_batches_and_retries() -> None:
    def respond(body: dict[str, Any], number: int) -> Answer:
        return failure(500, "boom", retry_after_ms="1") if number == 1 else completion(SURE)

    # One request every 50 ms.
    with serving(respond) as server:
        remote = scorer(server.url, requests_per_minute=1_200, max_retries=1)
        for _ in range(2):
            remote.score(["r"] * 4, ["a"] * 4)
        assert len(server.asked) == 9
        # Eight gaps at least, however slow the machine is.
        assert server.times_s[-1] - server.times_s[0] >= 8 * 0.05 * 0.9


def test_what_was_used_is_counted_priced_and_written_beside_the_shard(tmp_path: Path) -> None:
    rows = judgments([(prompt(i), f"answer {i}", None) for i in range(3)]).select(ROLLOUT_SCHEMA.names)
    prices = {"usd_per_million_prompt_tokens": 2.0, "usd_per_million_completion_tokens": 10.0}
    with serving(lambda body, number: completion(SURE, tokens=(1_000, 1))) as server:
        remote = scorer(server.url, **prices)
        judge = Judge(remote, min_coverage=0.5)
        for name in ("0", "1"):
            judge.label(rows, JudgmentTask(rollouts="none", output=str(tmp_path / "judged" / f"{name}.parquet")))
    total = usage_of(tmp_path)
    assert (total.requests, total.prompt_tokens, total.completion_tokens) == (6, 6_000, 6)
    assert total.cost_usd == pytest.approx((6_000 * 2 + 6 * 10) / 1e6)
    assert remote.usage.model_dump() == pytest.approx(total.model_dump())
    assert read_folder(tmp_path / "judged").num_rows == 6


def test_usage_without_records_is_none_and_a_broken_one_is_named(tmp_path: Path) -> None:
    assert usage_of(tmp_path) == Usage()
    (tmp_path / "0.parquet.usage.json").write_text("{}x", encoding="utf-8")
    with pytest.raises(SalusError, match=r"0\.parquet\.usage\.json is not a usage record"):
        usage_of(tmp_path)


def test_it_travels_to_another_process_without_its_key() -> None:
    sent = pickle.dumps(scorer("http://127.0.0.1/v1"))
    assert KEY.encode() not in sent
    assert pickle.loads(sent).name == "remote-judge"
