"""The feedback a cycle is trained on: sifted, and written into the run folder once, so that a resumed run has the same.

The copy stays as long as the run folder does, whatever `feedback.retention_days` of the endpoint says.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from actors.contract.conversation import USER, Turn, conversation_json, turns_of
from actors.contract.records import PolicyRef, Record
from actors.contract.run_folder import RunFolder
from actors.contract.untrusted import ChatMarkup, strip_invisible
from actors.engine.tokenizer import hugging_face_tokenizer
from actors.errors import SalusError
from actors.files.records import find_record
from actors.files.shards import write_table, write_text
from actors.serve.feedback.redaction import MARK
from actors.serve.guard.response import FINISH_REASON
from pipelines.config.preference import FeedbackRowsConfig
from pipelines.feedback.evaluated import EvaluatedPrompts
from pipelines.feedback.items import ITEM_SCHEMA, check_folder, read_items
from pipelines.runs.prompts.sets import evaluated_keys

# Items that are looked at as Python objects at a time.
_AT_ONCE = 10_000


class SnapshotReport(Record):
    """What became of the items that were read; `cycles/CC/feedback/report.json` of the run folder."""

    kept: int
    # About an answer that was not captured, or has expired.
    unknown_answer: int = 0
    other_policy: int = 0
    untrusted_caller: int = 0
    supplied: int = 0
    # About the template that a guard put in an answer's place: the policy did not say it.
    guarded_answer: int = 0
    other_turns: int = 0
    # With a mark of redaction in an answer: it would teach the policy to write marks.
    redacted_answer: int = 0
    # About a prompt the run is evaluated on.
    evaluated: int = 0

    def sentence(self) -> str:
        """How many were kept, and why the others were not."""
        left = {name: count for name, count in self.model_dump(exclude={"kept"}).items() if count}
        why = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in left.items())
        total = self.kept + sum(left.values())
        return f"{self.kept} of {total} items of feedback kept" + (f" (left out: {why})" if why else "")


def check_feedback(config: FeedbackRowsConfig | None) -> None:
    """Raise `SalusError`, before anything costly, where there is no such feedback folder, or no caller is trusted."""
    if config is None:
        return
    if config.trusted_only == ():
        raise SalusError(
            "preference.feedback trains on the feedback of trusted callers alone, and names none. Set"
            " preference.feedback.trusted_only to the names of their keys (salus feedback show FOLDER says who gave"
            " some), or to null to trust all callers."
        )
    check_folder(Path(config.path).expanduser())


def snapshot_feedback(
    config: FeedbackRowsConfig | None, folder: RunFolder, cycle: int, policy: PolicyRef | None = None
) -> SnapshotReport | None:
    """Write what is there now for this cycle; what is already written is left. None where no feedback is asked for.

    Control markup in the texts is broken up: that of `policy`'s tokenizer, and that of common chat formats.

    Raises:
        SalusError: it cannot be read.
    """
    if config is None:
        return None
    done = folder.feedback(cycle) / "report.json"
    if report := find_record(SnapshotReport, done, "a report of feedback", "delete its folder"):
        return report
    items = read_items(Path(config.path).expanduser())
    evaluated = EvaluatedPrompts(evaluated_keys(folder))
    markup = _markup_of(policy)
    kept: list[dict[str, Any]] = []
    left: Counter[str] = Counter()
    for batch in items.to_batches(max_chunksize=_AT_ONCE):
        for item in (_harmless(row, markup) for row in batch.to_pylist()):
            reason = _left_out(item, config, evaluated)
            left[reason or "kept"] += 1
            if reason is None:
                kept.append(item)
    write_table(pa.Table.from_pylist(kept, schema=ITEM_SCHEMA), folder.feedback(cycle) / "part-00000.parquet")
    report = SnapshotReport.model_validate({"kept": 0} | dict(left))
    write_text(report.model_dump_json(indent=2), done)
    return report


def _markup_of(policy: PolicyRef | None) -> ChatMarkup:
    if policy is None:
        return ChatMarkup()
    return ChatMarkup(hugging_face_tokenizer(Path(policy.path)))


def _harmless(item: dict[str, Any], markup: ChatMarkup) -> dict[str, Any]:
    """The item with texts that hold no control markup: a policy reads them between real control tokens."""

    def plain(text: str) -> str:
        return markup.broken(strip_invisible(text))

    names = ("prompt", "answer", "correction")
    turns = turns_of(item["conversation"]) if item["conversation"] else ()
    conversation = conversation_json([Turn(role=turn.role, content=plain(turn.content)) for turn in turns])
    return item | {name: plain(item[name]) for name in names if item[name]} | {"conversation": conversation}


def _left_out(item: dict[str, Any], config: FeedbackRowsConfig, evaluated: EvaluatedPrompts) -> str | None:
    """Why an item is not trained on, as `SnapshotReport` counts it; None where it is."""
    if not item["prompt"] or not item["answer"] or (item["verdict"] == "corrected" and not item["correction"]):
        return "unknown_answer"
    if config.policies is not None and item["policy"] not in config.policies:
        return "other_policy"
    if config.trusted_only is not None and item["caller"] not in config.trusted_only:
        return "untrusted_caller"
    if item["origin"] == "supplied" and not config.supplied:
        return "supplied"
    if item["finish_reason"] == FINISH_REASON:
        return "guarded_answer"
    if config.other_turns == "leave_out" and len(turns_of(item["conversation"])) > 1:
        return "other_turns"
    if MARK.search(item["answer"]) or MARK.search(item["correction"] or ""):
        return "redacted_answer"
    asked = [turn.content for turn in turns_of(item["conversation"]) if turn.role == USER]
    return "evaluated" if any(map(evaluated.holds, (*asked, item["prompt"]))) else None
