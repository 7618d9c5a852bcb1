"""What a run's files are made from, in the order they are made: a pure function of layout, recipe and winners."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from actors.contract.decides import decisive, inner_sections
from actors.contract.records import SPLITS, ChallengerName, PromptSet, RowKind, Split
from actors.contract.run_folder import CURVE, MERGE, SFT, SFT_CYCLE
from actors.contract.run_names import POLICY
from actors.serve.replica.scheme.asked import SCHEME_FILE
from actors.training.algorithms.table import ALGORITHMS
from actors.training.made_from import MADE_FROM
from pipelines.config.recipe import Recipe
from pipelines.runs.finished.shape import RunShape
from pipelines.runs.materials import BASE_VERSION
from pipelines.runs.prompts.sets import EVALUATED

Kind = Literal[
    "recipe", "run record", "model", "prompts", "pairs", "questions", "rollouts", "judgments", "judge calibration",
    "judge trust", "reviews", "feedback", "red team", "rows", "order", "adapter", "weights", "curve", "training report",
    "harmfulness", "capability", "control", "decision", "page", "published figures", "stages", "publications",
    "scheme", "metrics", "figure", "summary", "fine-tuning figures", "other"
]  # fmt: skip
# Beside `POLICY`, another model that is outside the run folder.
JUDGE = "model:judge"
OUTSIDE = (POLICY, JUDGE)


def _decisive(section: str) -> tuple[str, ...]:
    """Dotted names of the settings of a recipe's section that decide what is made by it."""
    (config,) = inner_sections(Recipe.model_fields[section].annotation)
    return tuple(f"{section}.{name}" for name in decisive(config))


# A challenger's own number of workers is compared as its run has it, which is its workers_per_run.
_ENGINE, _TRAIN = _decisive("generate"), (*_decisive("train"), "train.workers")
_DEMONSTRATIONS, _FINE_TUNING = ("seed", "sft.references", "sft.path", "sft.most"), ("seed", *_decisive("sft"))
# Judges read the system prompt.
_LABELS = (*_decisive("judge"), "model.system_prompt")
# The settings that decide what each kind holds; where and how fast it is made decides nothing.
SETTINGS: dict[Kind, tuple[str, ...]] = {
    "model": (*_decisive("model"), "judge.source", "judge.path", "judge.revision", "judge.chat_template_kwargs"),
    "prompts": ("seed", "data", "clinic", "medsafety"),
    "pairs": ("preference.egida_pairs",),
    "questions": ("seed", "capability", "medsafety"),
    "rollouts": ("seed", "data.train_per_cycle", "data.prompts_per_shard", *_ENGINE),
    "judgments": _LABELS,
    "judge calibration": ("seed", "judge"),
    "judge trust": ("judge",),
    "reviews": ("preference.reviews",),
    "feedback": ("preference.feedback",),
    "rows": ("seed", "preference", "scores"),
    "order": ("seed", *_TRAIN),
    "adapter": ("seed", *_TRAIN),
    "weights": ("seed", *_TRAIN),
    "curve": ("seed", *_TRAIN),
    "training report": ("seed", *_TRAIN),
    "harmfulness": ("harmfulness", *_LABELS),
    "capability": ("seed", "capability"),
    "control": ("seed", "decide.control", "judge.truth"),
    "decision": ("seed", "scores", "decide", "capability", "publish.approval"),
    "published figures": ("seed", "scores", "judge.truth"),
    "publications": ("publish",),
    "metrics": ("seed", "scores"),
    "summary": ("name", "seed", "scores"),
    "fine-tuning figures": ("seed", "scores", "judge.truth"),
}


@dataclass(frozen=True)
class Node:
    """One artefact: a file or a folder of shards, and the names of what it was made from."""

    path: str
    kind: Kind
    made_from: tuple[str, ...] = ()
    # Dotted names of the settings that decided what it holds.
    settings: tuple[str, ...] = ()


def lineage(shape: RunShape) -> tuple[Node, ...]:
    """Every artefact of a run, in the order they are made; each file is in exactly one of them.

    What is no part of the layout comes last, as `other`. An input that the run does not have is left out: which of
    them there are depends on the recipe, and on which training failed.
    """
    nodes: dict[str, Node] = {}
    for node in _Layout(shape).nodes():
        if node.path not in nodes and shape.below(node.path):
            nodes[node.path] = replace(node, settings=node.settings or SETTINGS.get(node.kind, ()))
    covered = {name for path in nodes for name in shape.below(path)}
    for name in (n for n in shape.names if n not in covered):
        nodes[name] = Node(name, "other")
    known = {*nodes, *OUTSIDE}
    return tuple(replace(n, made_from=tuple(i for i in _once(n.made_from) if i in known)) for n in nodes.values())


class _Layout:
    """All that a run of this shape could hold; an artefact made in several cycles comes first in its first."""

    def __init__(self, shape: RunShape) -> None:
        self._shape = shape
        self._folder = shape.folder
        self._recipe = shape.recipe

    def nodes(self) -> Iterator[Node]:
        yield from self._begin()
        for cycle in range(1, self._recipe.cycles + 1):
            yield from self._cycle(cycle)
        yield from self._end()

    # -- before the first cycle

    def _begin(self) -> Iterator[Node]:
        at, folder = self._shape.at, self._folder
        yield Node(at(folder.recipe), "recipe")
        # Its versions are known first; that its costs are added last makes it no result of anything.
        yield Node(at(folder.run_record), "run record")
        yield Node(at(folder.kept_model("policy")), "model", (POLICY,))
        yield Node(at(folder.kept_model("judge")), "model", (JUDGE,))
        sets: tuple[PromptSet, ...] = (*SPLITS, "probe", "published")
        for prompts in sets:
            yield Node(self._prompts(prompts), "prompts")
        yield Node(at(folder.pairs), "pairs")
        for part in SPLITS:
            yield Node(at(folder.capability_items(part)), "questions")
        rows = at(folder.rows(SFT_CYCLE, "demonstrations"))
        yield Node(rows, "rows", tuple(map(self._prompts, ("train", *EVALUATED))), _DEMONSTRATIONS)
        yield from self._trained(folder.training(SFT_CYCLE, SFT), (POLICY,), (rows, POLICY), _FINE_TUNING)

    # -- a cycle

    def _cycle(self, cycle: int) -> Iterator[Node]:
        # A cycle whose predecessor has no decision yet was not begun.
        if cycle > len(self._shape.champions):
            return
        at, folder = self._shape.at, self._folder
        champion = self._shape.champions[cycle - 1]
        rollouts, judgments = at(folder.rollouts(cycle)), at(folder.judgments(cycle))
        again = at(folder.red_team(cycle - 1) / "prompts")
        yield Node(rollouts, "rollouts", (self._prompts("train"), again, *self._weights(champion)))
        yield Node(judgments, "judgments", (rollouts, *self._judge(champion)))
        yield from self._red_team(cycle, champion)
        if cycle == 1:
            yield from self._judge_evidence()
        yield Node(at(folder.reviews(cycle)), "reviews", (judgments,))
        # From outside the run; the prompts it is evaluated on are left out of it.
        yield Node(at(folder.feedback(cycle)), "feedback", tuple(map(self._prompts, EVALUATED)))
        for kind in self._recipe.train.row_kinds:
            yield self._rows(cycle, kind)
        for name in self._recipe.train.challengers:
            yield from self._training(cycle, name, champion)
        if self._recipe.merge is not None:
            yield from self._merged(cycle, champion)
        policies = (champion, *self._challengers(cycle))
        for policy in self._compared(cycle):
            yield from self._evaluation("validation", policy, champion)
        judged = tuple(name for policy in policies for name in self._judged("validation", policy, champion))
        yield Node(at(folder.control(cycle)), "control", judged)
        for policy in self._compared(cycle):
            yield from self._evaluation("probe", policy, champion)
        decided_by = (*self._decided_by(self._compared(cycle), champion), at(folder.control(cycle)))
        yield Node(at(folder.decision(cycle)), "decision", decided_by)
        shown = (BASE_VERSION, *self._challengers(cycle))
        for policy in shown:
            yield from self._evaluation("published", policy, champion)
        answers = (name for policy in shown for name in self._judged("published", policy, champion))
        yield Node(at(folder.published_figures(cycle)), "published figures", (*answers, at(folder.decision(cycle))))
        # Times are measured, not made from anything.
        yield Node(at(folder.stages(cycle)), "stages")

    def _red_team(self, cycle: int, champion: str) -> Iterator[Node]:
        """What an attacker tried on a cycle's champion, its judged answers, and the prompts that are asked again."""
        at, folder = self._shape.at, self._folder.red_team(cycle)
        asked, rewrites, attempts = (at(folder / name) for name in ("asked", "rewrites", "attempts"))
        rollouts, judgments, prompts = (at(folder / name) for name in ("rollouts", "judgments", "prompts"))
        settings = ("seed", "red_team", "data.held_out")
        yield Node(asked, "prompts", (self._prompts("train"),), settings)
        yield Node(rewrites, "rollouts", (asked,), settings)
        earlier = tuple(at(self._folder.red_team(c) / "prompts") for c in range(1, cycle))
        yield Node(attempts, "prompts", (rewrites, self._prompts("train"), *earlier), settings)
        yield Node(rollouts, "rollouts", (attempts, *self._weights(champion)), (*_ENGINE, *settings))
        yield Node(judgments, "judgments", (rollouts, *self._judge(champion)))
        yield Node(prompts, "prompts", (judgments,), settings)
        yield Node(at(folder / "report.json"), "red team", (asked, judgments), settings)

    def _judge_evidence(self) -> Iterator[Node]:
        at, folder = self._shape.at, self._folder
        yield Node(at(folder.judge_calibration), "judge calibration", (at(folder.judgments(1)),))
        yield Node(at(folder.judge_trust), "judge trust", (at(folder.judge_calibration),))

    def _rows(self, cycle: int, kind: RowKind) -> Node:
        at, folder = self._shape.at, self._folder
        judgments = tuple(at(folder.judgments(c)) for c in self._recipe.preference.cycles_of_rows(cycle))
        outside = self._recipe.preference.egida_pairs
        pairs = (at(folder.pairs),) if kind == "pairs" or (outside is not None and outside.unpaired) else ()
        people = [at(folder.reviews(cycle)), at(folder.feedback(cycle))]
        if self._recipe.preference.min_confidence > 0:
            # It holds the temperature by which the judge's confidence is read.
            people.append(at(folder.judge_trust))
        return Node(at(folder.rows(cycle, kind)), "rows", (*judgments, *pairs, *people))

    def _training(self, cycle: int, name: ChallengerName, champion: str) -> Iterator[Node]:
        at, output = self._shape.at, self._folder.training(cycle, name)
        row = ALGORITHMS[self._recipe.train.algorithms[name]]
        start = self._weights(champion)
        base = row.reference and self._recipe.train.reference == "base"
        reference = self._weights(BASE_VERSION) if base else start
        inputs = (at(self._folder.rows(cycle, row.rows)), *start, *reference)
        yield from self._trained(output, start, inputs, (*SETTINGS["adapter"], f"train.challengers.{name}"))

    def _merged(self, cycle: int, champion: str) -> Iterator[Node]:
        start = self._weights(champion)
        trained = (self._folder.training(cycle, name) for name in self._recipe.train.challengers)
        sources = [self._shape.at(output / part) for output in trained for part in ("adapter", "merged")]
        output = self._folder.training(cycle, MERGE)
        yield from self._trained(output, start, (*start, *sources), ("seed", "merge"))

    def _trained(
        self, output: Path, start: tuple[str, ...], inputs: tuple[str, ...], settings: tuple[str, ...]
    ) -> Iterator[Node]:
        """What a training, or a merging, leaves: made from `inputs`, on the weights of `start`."""
        at = self._shape.at
        adapter = at(output / "adapter")
        merged_from = (adapter, *start) if self._shape.below(adapter) else inputs
        yield Node(adapter, "adapter", inputs, settings)
        yield Node(at(output / "merged"), "weights", merged_from, settings)
        yield Node(at(output / CURVE), "curve", inputs, settings)
        yield Node(at(output / MADE_FROM), "order", inputs, settings)
        yield Node(at(output / "report.json"), "training report", inputs, settings)

    # -- evaluation

    def _evaluation(self, prompts: PromptSet, policy: str, champion: str) -> Iterator[Node]:
        """One policy's greedy answers, their labels and scores by the judge under this champion, and its capability."""
        rollouts = self._shape.at(self._folder.evaluation_rollouts(prompts, policy))
        yield Node(rollouts, "rollouts", (self._prompts(prompts), *self._weights(policy)), _ENGINE)
        judged = self._judged(prompts, policy, champion)
        for judgments in judged:
            yield Node(judgments, "judgments", (rollouts, *self._judge(champion)))
        for labels in self._outside(prompts, policy):
            yield Node(labels, "judgments", (rollouts,), ("judge.truth", "decide.control", "model.system_prompt"))
        for scores in self._by_judge(self._folder.evaluation_harmfulness(prompts, policy, "judge"), champion):
            yield Node(scores, "harmfulness", (rollouts, *self._judge(champion)))
        if prompts != "probe" and prompts != "published":
            questions = self._shape.at(self._folder.capability_items(prompts))
            yield Node(self._capability(prompts, policy), "capability", (questions, *self._weights(policy), *judged))

    def _outside(self, prompts: PromptSet, policy: str) -> list[str]:
        """The labels of a judge that takes no part; reported, and read by no decision."""
        parent = self._shape.at(self._folder.evaluation_outside(prompts, policy, "judge").parent)
        return sorted({f"{parent}/{name[len(parent) + 1 :].split('/')[0]}" for name in self._shape.below(parent)})

    def _judged(self, prompts: PromptSet, policy: str, champion: str) -> list[str]:
        return self._by_judge(self._folder.evaluation_judgments(prompts, policy, "judge"), champion)

    def _by_judge(self, folder: Path, champion: str) -> list[str]:
        """Those beside a judge's folder that there are: under SELF the champion's alone, else any judge's."""
        parent = self._shape.at(folder.parent)
        judges = sorted({name[len(parent) + 1 :].split("/")[0] for name in self._shape.below(parent)})
        if self._recipe.judge.row.champion_judges:
            judges = [judge for judge in judges if judge == champion]
        return [f"{parent}/{judge}" for judge in judges]

    def _capability(self, split: Split, policy: str) -> str:
        return self._shape.at(self._folder.evaluation_capability(split, policy))

    def _decided_by(self, policies: Iterable[str], champion: str) -> Iterator[str]:
        for policy in policies:
            yield from self._judged("validation", policy, champion)
            yield from self._judged("probe", policy, champion)
        for policy in (BASE_VERSION, *policies):
            yield self._capability("validation", policy)

    # -- after the last cycle

    def _end(self) -> Iterator[Node]:
        at, folder = self._shape.at, self._folder
        champion = self._shape.champions[-1]
        tuned = (self._folder.fine_tuned().version,) if self._recipe.sft is not None else ()
        final = tuple(_once((BASE_VERSION, *tuned, champion)))
        tests: tuple[PromptSet, ...] = ("test", "probe")
        for policy in final:
            for prompts in tests:
                yield from self._evaluation(prompts, policy, champion)
        yield from self._schemes(final, champion)
        decisions = [at(folder.decision(c)) for c in range(1, self._recipe.cycles + 1)]
        yield Node(at(folder.publications), "publications", (POLICY, *decisions))
        tested = (j for prompts in tests for policy in final for j in self._judged(prompts, policy, champion))
        outside = (j for prompts in tests for policy in final for j in self._outside(prompts, policy))
        measured = [*decisions, *self._validated(), *tested, *outside]
        # The baselines answer the test prompts without a model; one learns its words from the train prompts.
        prompts_read = (self._prompts("train"), self._prompts("test"))
        yield Node(at(folder.metrics), "metrics", (*measured, *prompts_read))
        yield Node(at(folder.figure), "figure", (at(folder.metrics),))
        others = (folder.publications, folder.judge_trust, folder.run_record)
        shown = [at(folder.published_figures(c)) for c in range(1, self._recipe.cycles + 1)]
        kept = [self._capability("test", policy) for policy in final]
        if tuned:
            answered = (j for policy in (BASE_VERSION, *tuned) for j in self._judged("test", policy, champion))
            yield Node(at(folder.fine_tuning_figures), "fine-tuning figures", (*answered, *kept))
        times = [at(folder.stages(c)) for c in range(1, self._recipe.cycles + 1)]
        schemes = [
            at(folder.scheme(name, policy) / "figures.json") for name in self._recipe.schemes for policy in final
        ]
        read = (*measured, *schemes, *shown, *prompts_read, *kept, *times, *map(at, others))
        yield Node(at(folder.summary), "summary", read)
        for cycle in range(1, self._recipe.cycles + 1):
            # Written with its decision, and again with the final test.
            own = (at(folder.decision(cycle)), at(folder.published_figures(cycle)))
            told = (*own, *self._validated(cycle), at(folder.summary))
            yield Node(at(folder.decision_html(cycle)), "page", told)
            yield Node(at(folder.decision_text(cycle)), "page", told)

    def _schemes(self, policies: Iterable[str], champion: str) -> Iterator[Node]:
        """Answers under other ways to ask, and their figures."""
        at = self._shape.at
        good = at(self._folder.judgments(1) if self._recipe.preference.judged else self._folder.pairs)
        for name, scheme in self._recipe.schemes.items():
            examples = (good,) if scheme.few_shot else ()
            for policy in policies:
                folder, settings = self._folder.scheme(name, policy), (f"schemes.{name}", "seed")
                asked, drafts, rollouts = (at(folder / part) for part in ("asked", "drafts", "rollouts"))
                judgments = at(folder / "judgments")
                yield Node(asked, "prompts", (self._prompts("test"), *examples, *self._weights(policy)), settings)
                yield Node(drafts, "rollouts", (asked, *self._weights(policy)), (*_ENGINE, *settings))
                yield Node(rollouts, "rollouts", (drafts, self._prompts("test")), settings)
                yield Node(judgments, "judgments", (rollouts, *self._judge(champion)))
                yield Node(at(folder / SCHEME_FILE), "scheme", examples, settings)
                yield Node(at(folder / "figures.json"), "scheme", (asked, judgments), (*settings, "scores"))

    def _validated(self, only: int | None = None) -> Iterator[str]:
        """Judgments that decisions were made on; `only` those of one cycle."""
        for cycle, champion in enumerate(self._shape.champions[: self._recipe.cycles], start=1):
            if only not in (None, cycle):
                continue
            for policy in (champion, *self._challengers(cycle)):
                yield from self._judged("validation", policy, champion)
                if only is None:
                    yield from self._outside("validation", policy)

    # -- names

    def _compared(self, cycle: int) -> tuple[str, ...]:
        """Whose answers a decision rests on: the champion's, the challengers', and those of what is live."""
        return tuple(_once((self._shape.champions[cycle - 1], *self._challengers(cycle), self._shape.live[cycle - 1])))

    def _challengers(self, cycle: int) -> Iterator[str]:
        return (self._folder.challenger(cycle, name).version for name in self._recipe.contestants)

    def _prompts(self, prompts: PromptSet) -> str:
        return self._shape.at(self._folder.prompts(prompts))

    def _weights(self, version: str) -> tuple[str, ...]:
        """What holds a policy's weights, by its version: whole ones, or an adapter and its champion's."""
        if version == self._folder.fine_tuned().version:
            return (self._shape.at(self._folder.training(SFT_CYCLE, SFT) / "merged"),)
        for cycle in range(1, self._recipe.cycles + 1):
            for name in self._recipe.contestants:
                if self._folder.challenger(cycle, name).version == version:
                    output = self._folder.training(cycle, name)
                    merged, adapter = self._shape.at(output / "merged"), self._shape.at(output / "adapter")
                    if self._shape.below(adapter) and not self._shape.below(merged):
                        return (adapter, *self._weights(self._shape.champions[cycle - 1]))
                    return (merged,)
        return (POLICY,)

    def _judge(self, champion: str) -> tuple[str, ...]:
        """The weights that judge: the champion's (SELF), the judge's own, or none (rules, a server)."""
        if self._recipe.judge.row.champion_judges:
            return self._weights(champion)
        return (JUDGE,) if self._recipe.judge.row.weights == "own" else ()


def _once(names: Iterable[str]) -> Iterable[str]:
    return dict.fromkeys(names)
