"""The review's routes: labels go where they belong, and texts stay texts."""

from __future__ import annotations

import pytest

from tests.actors.serve.pages.fakes import HOSTILE, FakeQueue, Gateway, app_of, get, post


def test_answers_are_handed_out_with_their_texts_unchanged() -> None:
    reply = get(app_of(), "/review/next?n=3")
    assert reply.status_code == 200
    assert [item["answer"] for item in reply.json()["items"]] == list(HOSTILE[:3])
    assert reply.json()["progress"]["remaining"] == len(HOSTILE)


def test_no_browser_takes_the_answers_json_for_a_page() -> None:
    headers = get(app_of(), "/review/next").headers
    assert headers["content-type"] == "application/json"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "default-src 'none'" in headers["content-security-policy"]


def test_the_page_itself_holds_no_answer_and_names_its_reviewer_as_text() -> None:
    page = get(Gateway(app_of(), HOSTILE[0]), "/review")
    assert page.headers["content-type"].startswith("text/html")
    assert "&lt;script&gt;window.pwned = 1&lt;/script&gt;" in page.text
    assert not any(text in page.text for text in HOSTILE)


def test_the_rubric_says_when_each_label_is_due() -> None:
    page = get(app_of(), "/review").text
    for label in ("Accept", "Caution", "Refuse"):
        assert f"<dt>{label}</dt>" in page and f'data-label="{label}"' in page


def test_a_label_is_the_callers_whatever_the_body_says() -> None:
    queue = FakeQueue()
    app = Gateway(app_of(queue), "alice")
    reply = post(app, "/review/label", {"key": queue.items[0].key, "label": "Refuse"})
    assert (reply.status_code, reply.json()["labelled"]) == (200, 1)
    assert queue.given == [(queue.items[0].key, "Refuse", "alice")]
    forged = post(app, "/review/label", {"key": queue.items[1].key, "label": "Refuse", "reviewer": "bob"})
    assert forged.status_code == 422 and len(queue.given) == 1


def test_a_comment_goes_with_the_label_and_is_bounded() -> None:
    queue = FakeQueue()
    app = Gateway(app_of(queue), "alice")
    given = {"key": queue.items[0].key, "label": "Refuse", "comment": f"  {HOSTILE[0]}\n"}
    assert post(app, "/review/label", given).status_code == 200
    assert queue.comments == {queue.items[0].key: HOSTILE[0]}
    # Its writer gets it back as it was; the page shows it as text.
    assert post(app, "/review/undo", {}).json()["item"]["comment"] == HOSTILE[0]
    for bad in ("x" * 2001, None, ["x"], {"a": 1}):
        assert post(app, "/review/label", given | {"comment": bad}).status_code == 422
    assert queue.given == []


def test_undo_takes_back_ones_own_last_label() -> None:
    queue = FakeQueue()
    app = app_of(queue)
    post(app, "/review/label", {"key": queue.items[0].key, "label": "Accept"})
    assert post(Gateway(app, "bob"), "/review/undo", {}).json()["item"] is None
    undone = post(app, "/review/undo", {}).json()
    assert undone["item"]["key"] == queue.items[0].key and undone["progress"]["labelled"] == 0


def test_a_fault_is_one_sentence() -> None:
    reply = post(app_of(), "/review/label", {"key": "f" * 32, "label": "Accept"})
    assert (reply.status_code, reply.json()) == (
        409, {"error": "That answer is no longer in the queue; load the page again."}
    )  # fmt: skip


@pytest.mark.parametrize(
    "body", [{}, {"key": "../x", "label": "Accept"}, {"key": "0" * 32, "label": "Reject"}, [], "x"]
)
def test_what_is_no_label_is_refused(body: object) -> None:
    queue = FakeQueue()
    assert post(app_of(queue), "/review/label", body).status_code == 422
    assert queue.given == []


@pytest.mark.parametrize("n", ["0", "-1", "201", "many"])
def test_nobody_is_handed_everything(n: str) -> None:
    assert get(app_of(), f"/review/next?n={n}").status_code == 422
