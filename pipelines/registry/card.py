"""The model card of a registered policy: what it is for, where it comes from, how good, and how far to believe it.

Names paths of no machine, so that it can leave with the weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from actors.contract.records import METHODS, Interval
from pipelines.registry.entry import DeployedModel, JudgeFacts, PolicyEntry, TrainingData
from pipelines.registry.figures import in_words, judge_figures, validation_figures

FOR = (
    "Answering questions in a medical assistant that was adjusted, after its deployment, to refuse harmful requests and"
    " answer harmless ones. It is meant to be measured on the prompts of the place that uses it before it answers"
    " patients, and to be watched while it does."
)
NOT_FOR = (
    "Diagnosis, dosing or triage without a clinician who checks every answer. It is no medical device, and nothing here"
    " says that its answers are medically right: the figures below are about what it refuses and accepts.",
    "Other languages, prompts or conversations of several turns: none of them was measured.",
    "A filter against deliberate attack: the attack success rate below was taken on one set of prompts.",
)
TOY = "Its weights were made by Salus to show how alignment works; it knows no medicine and is of no use to patients."
LIMITS = (
    "The prompts of the validation split chose this policy among its rivals, so its figures there flatter it; the run's"
    " summary has those of the test split, for the run's last champion.",
    "Intervals are 95 % bootstrap intervals. They draw whole base prompts, so that rewrites of one rise and fall"
    " together, and those of the judge draw whole prompts; these are taken for independent of each other.",
    "Every figure is by the judge named above, and is worth what the judge is.",
)
# Characters Markdown or its common extensions give a meaning to in the middle of a line.
_MARKUP = re.compile(r"([\\`*_\[\]|~$!])")
# As entities: HTML, and what GitHub turns into links and mentions by itself.
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", ":": "&#58;", "@": "&#64;", ".": "&#46;"}
_ENTITY = re.compile(r"[&<>@]|:(?=//)|(?<=www)\.", re.IGNORECASE)


def model_card(entry: PolicyEntry) -> str:
    """The text of the entry's `README.md`: YAML front matter, then sections; text of others is escaped."""
    sections = (
        ("What it is for", FOR),
        ("What it is not for", _items(_not_for(entry.base))),
        ("Lineage", _lineage(entry)),
        ("Training data", _data(entry.data)),
        ("Figures", _figures(entry)),
        ("The judge, and how far it may be trusted", _judge(entry.judge)),
        ("Limits", _items(LIMITS)),
        ("Made with", _made_with(entry)),
    )
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections)
    return f"---\n{_front_matter(entry)}\n---\n\n# Policy {plain(entry.version)}\n\n{_opening(entry)}\n\n{body}\n"


def _front_matter(entry: PolicyEntry) -> str:
    # Late: nothing but a card needs it, and it takes long.
    from huggingface_hub import ModelCardData

    algorithm = entry.origin.algorithm
    tags = ["salus", "medical", "preference-alignment", *([algorithm] if algorithm is not None else [])]
    data = ModelCardData(
        base_model=entry.base.hub_id,
        library_name="transformers",
        pipeline_tag="text-generation",
        model_name=entry.version,
        tags=[*tags, *(["lora"] if entry.adapter is not None else [])],
    )
    return str(data.to_yaml())


def _opening(entry: PolicyEntry) -> str:
    origin = entry.origin
    if origin.algorithm is None:
        return f"The deployed model that run {plain(entry.run_name)} began with."
    return (
        f"The {origin.algorithm.upper()} challenger of cycle {origin.cycle} of run {plain(entry.run_name)} (recipe"
        f" {plain(origin.recipe)}, seed {origin.seed}), trained from {plain(entry.parent)}."
    )


def _not_for(base: DeployedModel) -> tuple[str, ...]:
    return (TOY, *NOT_FOR) if base.source in ("clinic", "medsafety") else NOT_FOR


def _lineage(entry: PolicyEntry) -> str:
    chain = [entry.version, *(ancestor.version or ancestor.run_version for ancestor in entry.ancestors)]
    base = entry.base
    name = base.hub_id or ("built by Salus" if base.source in ("clinic", "medsafety") else "a local folder")
    known = f"content hash {base.contents.sha256}" if base.contents is not None else "content hash unknown"
    publications = [f"{p.published_at} (cycle {p.cycle}, replicas {p.replicas})" for p in entry.publications]
    return _items(
        (
            f"Youngest first: {' <- '.join(chain)}",
            f"Deployed model: {name}, {known}",
            f"Content hash of these weights: {entry.merged.contents.sha256}",
            *([f"Content hash of the adapter: {entry.adapter.contents.sha256}"] if entry.adapter else []),
            *(f"Went live {publication}" for publication in publications),
        )
    )


def _data(data: TrainingData | None) -> str:
    if data is None:
        return "The registry knows nothing of what the deployed model was trained on."
    levels = ", ".join(f"level {level}: {n}" for level, n in data.rows_by_level.items())
    which = "this cycle and all earlier ones" if data.replay else "this cycle"
    counts = {(each.level, each.method): each.n for each in data.judged}
    methods: list[str] = [m for m in METHODS if any(method == m for _, method in counts)]
    methods += sorted({method for _, method in counts} - set(methods))
    rows = [(level, *(counts.get((level, m), 0) for m in methods)) for level in sorted({key[0] for key in counts})]
    return (
        f"{data.n} preference rows ({plain(levels)}), content hash {data.rows.sha256}. They were made from the judged"
        f" answers of {which}, by harm level (0 harmless to 3 severe) and method:\n\n"
        + table(("level", *map(plain, methods)), rows)
    )


def _figures(entry: PolicyEntry) -> str:
    found = entry.validation
    if found is None:
        return "None yet: no cycle was decided when the policy was registered."
    rows = [_row(name, interval) for name, interval in validation_figures(found)]
    head = f"Validation split, cycle {found.cycle}, greedy answers, by the run's judge; 95 % intervals:"
    words = _items((f"The decision: {found.sentence}", f"Publication: {found.publish_sentence}"))
    return f"{head}\n\n{table(('figure', 'value', '95 % interval', 'n'), rows)}\n\n{words}"


def _judge(judge: JudgeFacts) -> str:
    lines = [f"Regimen {judge.regimen}, name {judge.name or 'not known yet'}, prompt {judge.prompt or 'not known yet'}"]
    if judge.trust is None:
        lines.append("Whether it may be trusted was not known when the policy was registered")
    else:
        verdict = "Trusted to select policies" if judge.trust.trusted else "Not trusted, and accepted all the same"
        lines.append(f"{verdict}: {judge.trust.note}")
    if judge.figures is not None:
        against = f"Held against {judge.figures.labels_source}, n {judge.figures.n}"
        lines += [against, *(f"{name}: {in_words(figure)}" for name, figure in judge_figures(judge.figures))]
    return _items(lines)


def _made_with(entry: PolicyEntry) -> str:
    origin = entry.origin
    packages = ", ".join(f"{name} {version}" for name, version in origin.packages.items())
    return _items(
        (
            f"Python {origin.python} on {origin.machine}: {packages}",
            f"Revision of Salus: {origin.git_revision or 'unknown'}",
            f"Resolved recipe, SHA-256: {origin.recipe_sha256}",
            f"Run hash: {origin.run_hash or 'the run was not finished'}",
        )
    )


def _row(name: str, interval: Interval) -> tuple[object, ...]:
    return name, f"{interval.value:.3f}", f"{interval.low:.3f} to {interval.high:.3f}", interval.n


def _items(lines: tuple[str, ...] | list[str]) -> str:
    return "\n".join(_item(lines))


def _item(lines: tuple[str, ...] | list[str]) -> Iterator[str]:
    yield from (f"- {plain(line)}" for line in lines)


def plain(text: object, longest: int = 2000) -> str:
    """One line that renders as the text itself, wherever it stands after the first word of a line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    if len(line) > longest:
        line = line[: longest - 4] + " ..."
    return _ENTITY.sub(lambda found: _ENTITIES[found[0]], _MARKUP.sub(r"\\\1", line))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A pipe table; the cells are text of others, the header is ours."""
    lines = [_line(header), _line(["---"] * len(header))]
    return "\n".join([*lines, *(_line([plain(cell) for cell in row]) for row in rows)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
