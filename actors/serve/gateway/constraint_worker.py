"""The process that compiles schemas and grammars: one JSON line in, `[kind, text]`, and one out: a fault, or null.

What vLLM compiles with: xgrammar, and llguidance where xgrammar lacks a feature of JSON Schema.
"""

from __future__ import annotations

import json
import os
import resource
import sys

import llguidance
import numpy as np
import xgrammar

from actors.serve.gateway.constraints import ConstraintKind

# Above what the libraries take themselves; memory that is only reserved counts too.
_MOST_BYTES = 8 * 2**30
_LONGEST_FAULT = 200
# Of this process's whole life: one that was left behind with a text that never compiles ends some time.
_MOST_CPU_S = 3600
# Behind every process that answers clients.
_NICE = 10
# All bytes, and an end.
_VOCABULARY = [bytes([code]) for code in range(256)] + [b"</s>"]


class Compiler:
    """Compiles against a vocabulary of single bytes: what no bytes satisfy no tokens do."""

    def __init__(self) -> None:
        self._tokens = xgrammar.TokenizerInfo(
            _VOCABULARY, vocab_type=xgrammar.VocabType.RAW, stop_token_ids=[len(_VOCABULARY) - 1]
        )
        self._compiler = xgrammar.GrammarCompiler(self._tokens, max_threads=1, cache_enabled=False)

    def fault(self, kind: ConstraintKind, text: str) -> str | None:
        """What is wrong with a constraint, in some words; None where nothing is."""
        try:
            compiled = self._compiled(kind, text)
        except (RuntimeError, ValueError) as error:
            return _guidance_fault(text) if kind == "json" else _words(error)
        mask = xgrammar.allocate_token_bitmask(1, self._tokens.vocab_size)
        # False: every token is allowed.
        if not xgrammar.GrammarMatcher(compiled).fill_next_token_bitmask(mask) or np.any(mask.numpy()):
            return None
        return "no text can have this form"

    def _compiled(self, kind: ConstraintKind, text: str) -> xgrammar.CompiledGrammar:
        if kind == "json":
            return self._compiler.compile_json_schema(text)
        if kind == "regex":
            return self._compiler.compile_regex(text)
        if kind == "choice":
            text = "root ::= " + " | ".join(json.dumps(choice) for choice in json.loads(text))
        return self._compiler.compile_grammar(text)


def _guidance_fault(schema: str) -> str | None:
    try:
        grammar = llguidance.LLMatcher.grammar_from_json_schema(schema)
    except ValueError as error:
        return _words(error)
    said = llguidance.LLMatcher.validate_grammar(grammar, None)
    return _words(ValueError(said)) if said else None


def _words(error: Exception) -> str:
    """An error on one line, without the place in the library's sources that it begins with."""
    said = " ".join(str(error).split())
    said = said.split(".cc:", 1)[-1].partition(": ")[2] if ".cc:" in said else said
    return said[:_LONGEST_FAULT].rstrip(". ") or type(error).__name__


def main() -> None:
    """Answer until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_MOST_CPU_S, _MOST_CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(_NICE)
    compiler = Compiler()
    print("ready", flush=True)
    for line in sys.stdin:
        kind, text = json.loads(line)
        print(json.dumps(compiler.fault(kind, text)), flush=True)


if __name__ == "__main__":
    main()
