"""All that a run knows of one prompt: answers and labels, people's doubts, what decisions made of it, nearest rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.contract.conversation import answer_key, transcript
from actors.contract.records import LABELS, LEVELS, ROW_NAMES, Prompt, PromptSet, RowKind
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import read_folder, shard_files, strings
from actors.serve.pages.explained import ExplainedAnswer, Explanation, NearRow, TrustedLabel, WeightInDecision
from actors.serve.replica.scheme.nearest import NearestPrompts
from pipelines.decision.control import read_control
from pipelines.decision.ending import past_decisions
from pipelines.decision.record import CandidateResult, Decision
from pipelines.runs.finished.shape import recipe_of_run
from pipelines.runs.open import read_run_record

_PROBABILITIES = tuple(f"p_{label.lower()}" for label in LABELS)


def explain(folder: RunFolder, prompt_id: str, nearest: int = 3, model: Path | None = None) -> Explanation:
    """What the run knows of a prompt.

    Args:
        folder: of the run, finished or not.
        prompt_id: of any of its sets of prompts.
        nearest: how many training rows are shown; 0: none are looked for.
        model: the folder whose embeddings tell what is near; None: no row is looked for.

    Raises:
        SalusError: it is no run, or has no such prompt.
    """
    recipe = recipe_of_run(folder)
    prompts, prompt = _find(folder, prompt_id)
    decisions = past_decisions(folder, recipe.cycles)
    return Explanation(
        prompt=prompt,
        prompts=prompts,
        answers=tuple(_answers(folder, prompts, prompt)),
        trusted=tuple(_trusted(folder, prompt_id, len(decisions))),
        decisions=tuple(_weights(folder, decisions, prompt)) if prompts == "validation" else (),
        nearest=_nearest(folder, prompt.prompt, nearest, model, len(decisions)) if nearest and model else (),
    )


def deployed_model(folder: RunFolder) -> Path | None:
    """Where the deployed policy is, whose embeddings tell what is near; None where its folder is not here.

    Raises:
        SalusError: there is no record of the run.
    """
    policy = read_run_record(folder).policy_path
    return Path(policy) if policy is not None and Path(policy).is_dir() else None


def _find(folder: RunFolder, prompt_id: str) -> tuple[PromptSet, Prompt]:
    sets: tuple[PromptSet, ...] = get_args(PromptSet)
    for name in sets:
        for row in _rows(folder.prompts(name), prompt_id):
            return name, Prompt(**{key: value for key, value in row.items() if key in Prompt.model_fields})
    raise SalusError(
        f"{folder.root} has no prompt {prompt_id!r}; the ids are in the column prompt_id of the files in"
        f" {folder.root / 'prompts'}."
    )


def _rows(place: Path, prompt_id: str) -> Iterator[dict[str, Any]]:
    """The rows about the prompt in a folder of shards, which may not be there."""
    if not place.is_dir():
        return
    for file in sorted(place.glob("*.parquet")):
        table = pq.read_table(file, filters=pc.field("prompt_id") == prompt_id)
        yield from table.to_pylist()


def _answers(folder: RunFolder, prompts: PromptSet, prompt: Prompt) -> Iterator[ExplainedAnswer]:
    if prompts == "train":
        for place in sorted(folder.root.glob("cycles/*/judgments")):
            cycle = int(place.parent.name)
            people = _people(folder, cycle)
            yield from (_answer(row, cycle, people) for row in _rows(place, prompt.prompt_id))
        return
    for place in sorted(folder.evaluations(prompts).glob("*/judged_by/*")):
        yield from (_answer(row, None, {}) for row in _rows(place, prompt.prompt_id))


def _answer(row: dict[str, Any], cycle: int | None, people: dict[str, str]) -> ExplainedAnswer:
    accept, caution, refuse = (row.get(name) for name in _PROBABILITIES)
    given = None if accept is None or caution is None or refuse is None else (accept, caution, refuse)
    return ExplainedAnswer(
        policy=row["policy"],
        cycle=cycle,
        sample=row["sample"],
        answer=row["answer"],
        judge=row["judge"],
        label=row["label"],
        probabilities=given,
        disagreement=row.get("disagreement"),
        people=people.get(answer_key(transcript(row.get("context"), row["prompt"]), row["answer"])) if people else None,
    )


def _people(folder: RunFolder, cycle: int) -> dict[str, str]:
    """By answer key, what people said of a cycle's answers."""
    if not (folder.reviews(cycle) / "report.json").is_file():
        return {}
    rows = read_folder(folder.reviews(cycle), ("key", "label", "votes", "reviewers")).to_pylist()
    return {row["key"]: f"{row['label']} by {row['votes']} of {row['reviewers']}" for row in rows}


def _trusted(folder: RunFolder, prompt_id: str, cycles: int) -> Iterator[TrustedLabel]:
    for cycle in range(1, cycles + 1):
        table = read_control(folder.control(cycle))
        if table is None:
            continue
        for row in table.filter(pc.field("prompt_id") == prompt_id).to_pylist():
            yield TrustedLabel(
                cycle=cycle, **{name: row[name] for name in TrustedLabel.model_fields if name != "cycle"}
            )


def _weights(folder: RunFolder, decisions: Sequence[Decision], prompt: Prompt) -> Iterator[WeightInDecision]:
    for decision in decisions:
        own = _label(folder, decision, decision.champion, prompt)
        before = _mark(decision, prompt, own)
        for each in decision.challengers:
            if each.policy is None or each.comparison is None:
                continue
            after = _mark(decision, prompt, _label(folder, decision, each, prompt))
            gained = None if before is None or after is None else (after - before) / each.comparison.gain.n
            yield WeightInDecision(
                cycle=decision.cycle,
                contender=each.name,
                policy=each.policy,
                champion_mark=before,
                mark=after,
                share_of_gain=gained,
                chosen=each.name == decision.chosen,
            )


def _label(folder: RunFolder, decision: Decision, contender: CandidateResult, prompt: Prompt) -> str | None:
    """The label that the decision went by: of the champion where that judges, else of the run's only judge."""
    judged = folder.evaluations("validation") / str(contender.policy) / "judged_by"
    places = sorted(judged.glob("*")) if judged.is_dir() else []
    own = judged / str(decision.champion.policy)
    for row in _rows(own if own in places else (places or [own])[0], prompt.prompt_id):
        found: str | None = row["label"]
        return found
    return None


def _mark(decision: Decision, prompt: Prompt, label: str | None) -> float | None:
    if label is None:
        return None
    return float(decision.table.marks()[LEVELS.index(prompt.level), LABELS.index(label)])


def _nearest(folder: RunFolder, request: str, n: int, model: Path, cycles: int) -> tuple[NearRow, ...]:
    found: list[tuple[int, RowKind, pa.Table]] = []
    for cycle in range(1, cycles + 1):
        for kind in ROW_NAMES:
            place = folder.rows(cycle, kind)
            if place.is_dir() and list(place.glob("*.parquet")):
                found.append((cycle, kind, pa.concat_tables(map(pq.read_table, shard_files(place)))))
    prompts = sorted({text for *_, table in found for text in strings(table, "prompt")})
    if not prompts:
        return ()
    near = NearestPrompts(prompts, model).similarities(request)
    rank = dict(zip(prompts, near.tolist(), strict=True))
    wanted = {prompts[place] for place in np.argsort(-near, kind="stable")[:n]}
    rows = [
        _near_row(cycle, kind, rank[row["prompt"]], row)
        for cycle, kind, table in found
        for row in table.filter(pc.is_in(table["prompt"], value_set=pa.array(sorted(wanted)))).to_pylist()
    ]
    rows.sort(key=lambda row: (-row.similarity, row.prompt, row.cycle, row.kind))
    return tuple(rows)


def _near_row(cycle: int, kind: RowKind, similarity: float, row: dict[str, Any]) -> NearRow:
    texts: tuple[tuple[str, str], ...] = (("chosen", row.get("chosen", "")), ("rejected", row.get("rejected", "")))
    if kind == "unpaired":
        texts = (("desirable" if row["label"] else "undesirable", row["completion"]),)
    return NearRow(
        cycle=cycle, kind=kind, similarity=similarity, level=row.get("level"), prompt=row["prompt"], texts=texts
    )
