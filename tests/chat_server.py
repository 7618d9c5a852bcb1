"""A real HTTP server on this machine that speaks the chat part of the OpenAI protocol, as each test tells it."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-local-test"


@dataclass
class Answer:
    """One HTTP response."""

    body: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0


@dataclass
class ChatServer:
    """What the server was asked, and what it answers: `respond(request body, number of the request from 0)`."""

    respond: Callable[[dict[str, Any], int], Answer]
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    most_at_once: int = 0
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        key = headers.get("authorization")
        with self._lock:
            number = len(self.asked)
            self.asked.append(json.loads(body))
            self.headers.append(headers)
            self.times_s.append(time.monotonic())
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if path != "/v1/chat/completions":
                return failure(404, "no such path")
            if key != f"Bearer {KEY}":
                return failure(401, f"Incorrect API key provided: {key}")
            found = self.respond(self.asked[number], number)
            time.sleep(found.delay_s)
            return found
        finally:
            with self._lock:
                self._at_once -= 1


def completion(top: Mapping[str, float] | None, content: str = "Accept", tokens: tuple[int, int] = (100, 1)) -> Answer:
    """A chat completion whose first token had these likely alternatives; None: without log-probabilities."""
    logprobs = None
    if top is not None:
        entries = [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in top.items()]
        logprobs = {"content": [{**entries[0], "top_logprobs": entries}] if entries else []}
    message = {"role": "assistant", "content": content}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": "judge",
        "choices": [{"index": 0, "message": message, "logprobs": logprobs, "finish_reason": "length"}],
        "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)},
    }
    return Answer(json.dumps(body))


def failure(status: int, message: str, code: str | None = None, **headers: str) -> Answer:
    """An error as the protocol words it."""
    body = {"error": {"message": message, "type": "error", "param": None, "code": code}}
    return Answer(json.dumps(body), status, {name.replace("_", "-"): value for name, value in headers.items()})


@contextmanager
def serving(respond: Callable[[dict[str, Any], int], Answer]) -> Iterator[ChatServer]:
    """A server on a free port of the loopback interface, stopped at the end."""
    chat = ChatServer(respond)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            found = chat.answer(self.path, headers, body)
            payload = found.body.encode()
            # A client that gave up no longer listens.
            with suppress(ConnectionError):
                self.send_response(found.status)
                for name, value in {"content-type": "application/json", **found.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    chat.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield chat
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
