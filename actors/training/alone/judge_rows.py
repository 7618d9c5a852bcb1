"""Labelled answers on their way into TRL: Parquet rows become token ids, through the template the judge is asked with.

A judge is taught to reply with the label's word and then the end of its turn. Rows keep their order; one record batch
is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.contract.records import LABELS
from actors.engine.chat import end_of_turn
from actors.errors import SalusError
from actors.files.shards import strings
from actors.judges.prompt import JudgePrompt

JUDGE_ROW_SCHEMA = pa.schema([(name, pa.string()) for name in ("prompt", "answer", "label")])
TOKEN_SCHEMA = pa.schema([(name, pa.list_(pa.int32())) for name in ("input_ids", "labels")])
# torch's cross-entropy skips these positions.
IGNORED = -100
BATCH_ROWS = 1024


class JudgeRows:
    """Labelled answers as a judge will read them: its prompt without loss, its reply with.

    Raises:
        SalusError: there is no such template, the tokenizer does not tell the labels apart, or no token ends
            an answer.
    """

    def __init__(self, tokenizer: Any, prompt_version: str, max_model_len: int) -> None:
        # One token is left for the label, as in `EngineScorer`: rows are cut where they will be cut there.
        self._prompt = JudgePrompt(prompt_version, tokenizer, max_model_len - 1)
        self._replies = reply_tokens(tokenizer, LABELS)

    def row(self, prompt: str, answer: str, label: str) -> tuple[list[int], list[int]]:
        """Token ids of one row, and what is learnt at each of them; the reply alone carries loss."""
        reply = self._replies.get(label)
        if reply is None:
            raise SalusError(f"The label {label!r} is not one of {', '.join(LABELS)}; mend the row.")
        asked = self._prompt.tokens(prompt, answer)
        return [*asked, *reply], [IGNORED] * len(asked) + reply

    def stage(self, rows: Path, out: Path) -> int:
        """Write the Parquet file `rows` (`JUDGE_ROW_SCHEMA`) to the Arrow stream file `out`; returns their number.

        Raises:
            SalusError: it cannot be read, lacks a column, holds an unknown label, or is empty.
        """
        count = 0
        with pa.OSFile(str(out), "wb") as sink, pa.ipc.new_stream(sink, TOKEN_SCHEMA) as writer:
            for batch in _batches(rows):
                columns = [strings(batch, name) for name in JUDGE_ROW_SCHEMA.names]
                tokens = [self.row(*row) for row in zip(*columns, strict=True)]
                ids, labels = ([pair[i] for pair in tokens] for i in (0, 1))
                writer.write_batch(pa.RecordBatch.from_pydict({"input_ids": ids, "labels": labels}, TOKEN_SCHEMA))
                count += batch.num_rows
        if count == 0:
            raise SalusError(f"{rows} holds no labelled answer; write some.")
        return count


def _batches(rows: Path) -> Iterator[pa.Table]:
    try:
        file = pq.ParquetFile(rows)
    except (OSError, pa.ArrowInvalid) as error:
        raise SalusError(f"{rows} is not a readable Parquet file ({error}); write it again.") from error
    missing = [name for name in JUDGE_ROW_SCHEMA.names if name not in file.schema_arrow.names]
    if missing:
        raise SalusError(f"{rows} has no column {missing[0]}; it holds {', '.join(file.schema_arrow.names)}.")
    batches = file.iter_batches(batch_size=BATCH_ROWS, columns=JUDGE_ROW_SCHEMA.names)
    return (pa.Table.from_batches([batch]) for batch in batches)


def reply_tokens(tokenizer: Any, words: Sequence[str]) -> dict[str, list[int]]:
    """Token ids of each word as a judge is scored on it (`first_tokens`), and the end of the turn behind it.

    Raises:
        SalusError: the chat template does not show an answer, or nothing ends one.
    """
    end = int(tokenizer.convert_tokens_to_ids(end_of_turn(tokenizer)))
    return {word: [*tokenizer.encode(word, add_special_tokens=False), end] for word in words}
