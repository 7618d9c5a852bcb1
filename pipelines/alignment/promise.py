"""What `salus plan` vouches for beside that the actors fit: lengths, thresholds, key, proxy, disk; and what is sampled.

Nothing here starts, builds or fetches anything.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from jinja2 import TemplateError

from actors.contract.records import PolicyRef, PromptSet
from actors.contract.seeds import derive_seed
from actors.errors import SalusError
from actors.files.shards import strings
from actors.judges.regimens import REGIMENS, Regimen
from actors.judges.remote.config import RemoteConfig
from actors.judges.template import load_template
from actors.serve.proxy.environment import check_haproxy
from pipelines.cluster.demand import disk_gib
from pipelines.cluster.devices import free_disk_gib
from pipelines.config.decision import GateConfig, PublishGateConfig
from pipelines.config.recipe import Recipe
from pipelines.data.inspection import one_line
from pipelines.data.sets.demonstrations import read_demonstrations
from pipelines.data.sets.egida import EgidaConfig, read_egida_pairs
from pipelines.judges.evidence import has_control_labels, has_ground_truth
from pipelines.measures.capability.questions import HELD_OUT, question_set
from pipelines.measures.metrics import SEVERE
from pipelines.measures.schemes import as_asked
from pipelines.measures.shares import failures_allowed, independent_prompts, prompts_needed, upper_end
from pipelines.runs.prompts.lengths import PromptLengths, asked_lengths
from pipelines.runs.prompts.sets import medsafety_config

# Characters of English text that a token has at least, for what a server will count; an estimate.
_CHARACTERS_PER_TOKEN = 4
Prompts = Mapping[PromptSet, pa.Table]


class SeveralFaults(SalusError):
    """Faults that were found by one look; `faults` holds a sentence each."""

    def __init__(self, sentence: str, faults: Sequence[str] = ()) -> None:
        super().__init__(sentence)
        self.faults = tuple(faults) or (sentence,)


def faults_of(checks: Iterable[Callable[[], object]]) -> Iterator[str]:
    """The sentences of the checks that raise SalusError."""
    for check in checks:
        try:
            check()
        except SeveralFaults as error:
            yield from error.faults
        except SalusError as error:
            yield error.sentence


def refuse(faults: Iterable[str], who: str) -> None:
    """Raise SeveralFaults with all of these; none: all is well."""
    found = list(dict.fromkeys(faults))
    if found:
        head = [f"{who} has {len(found)} faults."] if len(found) > 1 else []
        raise SeveralFaults("\n  ".join([*head, *found]), found)


def check_key(recipe: Recipe) -> None:
    """Raise SalusError where a judge behind a server has no key; on a cluster its nodes have it, which is not asked."""
    if recipe.cluster.joined is not None:
        return
    if (asked := _server(recipe)) is not None:
        asked[1].key()
    second = recipe.decide.control.judge
    if recipe.control_reference == "judge" and second is not None and second.remote is not None:
        second.remote.key()


def check_proxy(recipe: Recipe) -> None:
    """Raise SalusError where the endpoint's proxy is not installed here, where the endpoint will be."""
    if recipe.publish.enabled and recipe.publish.proxy == "haproxy" and recipe.cluster.joined is None:
        check_haproxy()


def check_files(recipe: Recipe) -> None:
    """Raise SalusError where questions or pairs that are on disk cannot be read; those of the hub are not fetched."""
    if recipe.capability is not None:
        for split in HELD_OUT:
            seed = derive_seed(recipe.seed, "capability")
            question_set(recipe.capability, medsafety_config(recipe), split, seed)
    if recipe.sft is not None and recipe.sft.path is not None:
        collections.deque(read_demonstrations(Path(recipe.sft.path).expanduser()), maxlen=0)
    pairs = recipe.preference.egida_pairs
    if pairs is not None and pairs.path is not None:
        config = EgidaConfig(name=pairs.name, level=pairs.level)
        collections.deque(read_egida_pairs(Path(pairs.path).expanduser(), config), maxlen=0)


def check_disk(recipe: Recipe, folder: Path) -> None:
    """Raise SalusError where the disk of the run's folder has less room than the run is estimated to take."""
    needed, free = disk_gib(recipe), free_disk_gib(folder)
    if needed > free:
        raise SalusError(
            f"The run takes about {needed:.1f} GiB of disk, and {folder} has {free:.1f} free. Free some, give another"
            " folder with --run, or lower cycles."
        )


def disk_line(recipe: Recipe, folder: Path) -> str:
    """What a run is estimated to take, and what there is."""
    return f"disk: about {disk_gib(recipe):.2g} GiB in {folder}, where {free_disk_gib(folder):.0f} GiB are free"


def unreachable(recipe: Recipe, prompts: Prompts) -> Iterator[str]:
    """The thresholds that no policy could reach with these splits, a sentence each."""
    validation = prompts["validation"]
    gates = {"decide.gate": ("win", recipe.decide.gate), "decide.publish_gate": ("be published", _second(recipe))}
    for section, (what, gate) in gates.items():
        if gate is None:
            continue
        if gate.min_n > validation.num_rows:
            yield (
                f"{section}.min_n asks for {gate.min_n} labelled prompts, and the validation split has"
                f" {validation.num_rows}: no challenger could ever {what}. Lower it, give more rows, or change"
                " data.split."
            )
        if gate.err_strict_max and not _harmless(validation):
            yield (
                f"{section}.err_strict_max limits ERR, and the validation split has no harmless prompt (level 0): no"
                f" challenger could ever {what}. Give some, or set it to []."
            )
    if recipe.publish.enabled and not has_control_labels(recipe) and not recipe.decide.publish_uncorrected:
        yield (
            "No one labels the contenders' answers (decide.control.reference, and decide.control.per_contender above"
            " 0): no challenger could ever be published. Name a reference, set decide.publish_uncorrected to true to"
            " publish all the same, or publish.enabled to false."
        )
    yield from _unprovable(recipe, validation, prompts.get("probe"))
    least, answers = recipe.judge.trust.min_n, _sampled(recipe, prompts["train"].num_rows, 1) * _k(recipe)
    if has_ground_truth(recipe) and recipe.judge.calibration is None and answers < least:
        yield (
            f"judge.trust.min_n asks for {least} answers with a known label, and cycle 1 has {answers}: the judge would"
            " be refused there. Lower it, or raise data.train_per_cycle."
        )


def _unprovable(recipe: Recipe, validation: pa.Table, probe: pa.Table | None) -> Iterator[str]:
    """The publish gate's limits that there are too few base prompts to show kept, a sentence each."""
    for limit in _limits(recipe):
        asked, where = (probe, "probe") if limit.of_probe else (validation, "validation split")
        there = independent_prompts(asked, limit.level) if asked is not None else 0.0
        if not there or upper_end(0.0, there) <= limit.loosest:
            continue
        needed = prompts_needed(limit.loosest)
        asks = (
            "no number of prompts can show" if needed is None else f"takes {needed} {limit.prompts} base prompts, and"
        )
        has = "" if needed is None else f" the {where} is worth {there:.4g}"
        yield (
            f"decide.publish_gate.{limit.setting} {limit.loosest:g} {asks}{has}: no challenger could ever be published."
            " Give more rows, raise it, or set publish.enabled to false."
        )


def gate_lines(recipe: Recipe, validation: pa.Table | None, probe: pa.Table | None = None) -> Iterator[str]:
    """What the publish gate's limits need, a line each, and what they would let pass with these prompts."""
    for limit in _limits(recipe):
        needed = prompts_needed(limit.tightest)
        line = (
            f"publish gate: {limit.setting} {limit.tightest:g} at the upper end of its interval; needs at least"
            f" {needed} {limit.prompts} base prompts"
        )
        asked, where = (probe, "probe") if limit.of_probe else (validation, "split")
        if asked is None:
            yield line
            continue
        there = independent_prompts(asked, limit.level)
        if not there:
            yield f"{line}, and there is none: it is not compared"
        else:
            most = failures_allowed(limit.tightest, there)
            bad = "be worse, where none is better" if limit.setting.endswith("_rise") else "be bad"
            allows = "nothing passes" if most is None else f"at most {most / there:.1%} of the prompts may {bad}"
            yield f"{line}, and the {where} is worth {there:.4g}: {allows}"


@dataclass(frozen=True)
class _Provable:
    """A limit of the publish gate that is held against the upper end of an interval."""

    setting: str
    level: int
    prompts: str
    tightest: float
    loosest: float
    # Of the probe's prompts, and not of the validation split's.
    of_probe: bool = False


def _limits(recipe: Recipe) -> Iterator[_Provable]:
    gate = _second(recipe)
    if not isinstance(gate, PublishGateConfig):
        return
    if gate.bound == "upper":
        err = [limit for cycle in range(1, recipe.cycles + 1) if (limit := gate.err_limit(cycle)) is not None]
        if err:
            yield _Provable("err_strict_max", 0, "harmless", min(err), max(err))
        for setting in ("accepted_severe_max", "not_refused_severe_max"):
            if (most := getattr(gate, setting)) is not None:
                yield _Provable(setting, SEVERE, "severe", most, most)
    for setting, level, prompts in (("max_severe_rise", SEVERE, "severe"), ("max_err_rise", 0, "harmless")):
        if (margin := getattr(gate, setting)) is not None:
            yield _Provable(setting, level, prompts, margin, margin)
    for setting in ("max_probe_refused", "max_probe_rise") if recipe.data.probe is not None else ():
        if (most := getattr(gate, setting)) is not None:
            yield _Provable(setting, 0, "safe", most, most, of_probe=True)


def too_long(recipe: Recipe, prompts: Prompts, counts: Mapping[PromptSet, PromptLengths], room: int) -> Iterator[str]:
    """Prompts that do not fit beside their answers, or into training rows; a sentence for each set of prompts.

    Args:
        recipe: what answers are asked for.
        prompts: the prompts of each set.
        counts: their tokens, in the deployed policy's own template.
        room: tokens of prompt and answer together in the generator's engine.
    """
    for name, counted in counts.items():
        answer = (recipe.generate.sampling if name == "train" else recipe.generate.greedy()).max_tokens
        over = counted.over(room - answer)
        if over:
            worst, tokens = counted.longest
            yield (
                f"{over:,} of {prompts[name].num_rows:,} {name} prompts are too long: {_called(prompts[name], worst)}"
                f" has {tokens:,} tokens, and {room - answer:,} fit beside an answer of {answer}. Raise"
                " generate.engine.max_model_len, lower generate.sampling.max_tokens, or drop them."
            )
    train, most = counts["train"], recipe.train.max_length_tokens
    if prompts["train"].num_rows and train.over(most - 1) == prompts["train"].num_rows:
        yield f"No train prompt fits in train.max_length_tokens={most}: there would be no row to train on. Raise it."


def schemes_too_long(recipe: Recipe, test: pa.Table, policy: PolicyRef, room: int) -> Iterator[str]:
    """Schemes that the policy cannot be asked by: no room for an answer, examples aside, or no such turns.

    A prompt without room for examples is asked without any.

    Args:
        recipe: what is asked.
        test: the test prompts (rows of `PROMPT_SCHEMA`).
        policy: the deployed one.
        room: tokens of prompt and answer together in the generator's engine.
    """
    fits = room - recipe.generate.greedy().max_tokens
    for name, scheme in recipe.schemes.items():
        try:
            lengths = asked_lengths(as_asked(test, scheme.model_copy(update={"few_shot": 0})), policy)
        except TemplateError as error:
            yield f"The chat template of {policy.path} cannot write schemes.{name} ({error}): drop its system_prompt."
            continue
        if over := sum(length > fits for length in lengths):
            yield (
                f"schemes.{name} leaves no room for {over:,} of {len(lengths):,} test prompts: they have up to"
                f" {max(lengths):,} tokens, and {fits:,} fit beside an answer. Raise generate.engine.max_model_len, or"
                " shorten it."
            )


def what_is_sampled(
    recipe: Recipe, prompts: Prompts, counts: Mapping[PromptSet, PromptLengths] | None
) -> Iterator[str]:
    """Lines on the prompts and answers of a run as it will read and sample them, in whole shards, and their price."""
    train, k, asked = prompts["train"].num_rows, _k(recipe), recipe.data.train_per_cycle
    cycles = [_sampled(recipe, train, cycle) for cycle in range(1, recipe.cycles + 1)]
    least, most = min(cycles), max(cycles)
    each = f"{most:,}" if least == most else f"{least:,} to {most:,}"
    why = "" if least == most == asked else f" (data.train_per_cycle is {asked:,}; whole shards are answered)"
    answer = recipe.generate.sampling.max_tokens
    read = "" if counts is None else f" and {round(most * counts['train'].mean):,} prompt tokens"
    if (pairs := recipe.preference.egida_pairs) is not None:
        as_rows = ", also as KTO rows" if pairs.unpaired else ""
        yield f"pairs: at most {pairs.per_cycle:,} of {pairs.name} a cycle{as_rows}"
    if not recipe.preference.judged:
        why = "; no answer to a train prompt is learnt from (preference.judged)"
    yield (
        f"sampled: {each} of {train:,} train prompts a cycle{why}, x {k} = {sum(cycles) * k:,} answers in all;"
        f" at most {most * k * answer:,} answer tokens{read} a cycle"
    )
    held = ", ".join(f"{prompts[name].num_rows:,} {name}" for name in ("validation", "test") if name in prompts)
    yield f"measured: {held} prompts, one greedy answer each of every policy"
    for name, scheme in recipe.schemes.items():
        answers = 2 * scheme.samples * prompts["test"].num_rows
        yield f"scheme {name}: at most {answers:,} answers of base and last champion to the test prompts"
    if (continuations := _continuations(recipe)) and recipe.capability and (of := recipe.capability.toxicity):
        yield (
            f"continuations: at most {continuations:,} answers of {of.max_tokens} tokens in all, {of.k} of each"
            f" of {of.max_prompts:,} beginnings at most"
        )
    if (probe := prompts.get("probe")) is not None:
        yield (
            f"probe: {probe.num_rows:,} safe prompts of {recipe.data.probe}, of each cycle's winner before it is"
            f" published and of the deployed model: at most {_asked(recipe) * probe.num_rows:,} greedy answers"
        )
    if (apart := prompts.get("published")) is not None:
        yield (
            f"published: {apart.num_rows:,} prompts that no decision uses, of each published policy once and of the"
            f" deployed model: at most {_asked(recipe) * apart.num_rows:,} greedy answers"
        )
    elif recipe.data.published:
        yield "published: the test split has too few base prompts to set any apart for published policies"
    yield from _price(recipe, prompts, sum(cycles) * k)


def _continuations(recipe: Recipe) -> int:
    """Continuations of beginnings in a run, at most: of base and last champion, and of contenders under a limit."""
    config = recipe.capability
    if config is None or config.toxicity is None:
        return 0
    contenders = recipe.cycles * (1 + len(recipe.contestants)) if config.toxicity_on("validation") is not None else 0
    return (2 + contenders) * config.toxicity.k * config.toxicity.max_prompts


def _price(recipe: Recipe, prompts: Prompts, answers: int) -> Iterator[str]:
    """What judges behind servers are asked at most, and what they charge."""
    rows = {name: table.num_rows for name, table in prompts.items()}
    # Base and last champion answer the test split.
    policies = 1 + len(recipe.contestants)
    measured = recipe.cycles * policies * rows["validation"] + 2 * rows["test"]
    if (asked := _server(recipe)) is not None:
        voice, remote = asked
        more = _asked(recipe) * (rows.get("probe", 0) + rows.get("published", 0)) + _continuations(recipe)
        yield _priced("judge.remote", remote, recipe.judge.prompt_of(voice), recipe, prompts, answers + measured + more)
    if recipe.judge.truth == "judge" and (second := recipe.decide.control.judge) is not None:
        once = measured + 2 * rows.get("probe", 0)
        if second.remote is not None:
            yield _priced("judge.truth", second.remote, second.prompt, recipe, prompts, once)
        else:
            yield f"judge.truth: at most {once:,} answers are labelled by {second.regimen}, once, at the run's end"


def _priced(setting: str, remote: RemoteConfig, template: str, recipe: Recipe, prompts: Prompts, requests: int) -> str:
    lengths = [len(text) for table in prompts.values() for text in strings(table, "prompt")]
    characters = sum(lengths) / len(lengths) + len(load_template(template))
    each = characters / _CHARACTERS_PER_TOKEN + recipe.generate.longest_answer
    dollars = requests * (each * remote.usd_per_million_prompt_tokens + remote.usd_per_million_completion_tokens) / 1e6
    price = f", about ${dollars:,.2f}" if dollars else "; no price is set for it"
    return (
        f"{setting}: at most {requests:,} requests to {remote.model}, about {requests * each / 1e6:,.1f} million"
        f" tokens{price}"
    )


def _server(recipe: Recipe) -> tuple[Regimen, RemoteConfig] | None:
    """The judge behind a server, and its settings; None where there is none."""
    for voice in recipe.judge.voices:
        section = REGIMENS[voice].section
        settings = getattr(recipe.judge, section[0]) if section is not None else None
        if isinstance(settings, RemoteConfig):
            return voice, settings
    return None


def _second(recipe: Recipe) -> GateConfig | None:
    return recipe.decide.publish_gate if recipe.publish.enabled else None


def _harmless(prompts: pa.Table) -> bool:
    return bool(pc.any(pc.equal(prompts["level"], pa.scalar(0, pa.int8()))).as_py())


def _asked(recipe: Recipe) -> int:
    """How many policies may win or be published: the deployed model, and a winner in each cycle."""
    return 1 + recipe.cycles


def _k(recipe: Recipe) -> int:
    return recipe.generate.sampling.k


def _sampled(recipe: Recipe, train: int, cycle: int) -> int:
    """Prompts that a cycle answers of a train split of so many: its whole shards (`Run.train_tasks`)."""
    if not recipe.preference.judged:
        return 0
    size, count = recipe.data.prompts_per_shard, recipe.data.shards_per_cycle
    shards = [min(size, train - start) for start in range(0, train, size)]
    places = range((cycle - 1) * count, cycle * count)
    return sum([shards[place % len(shards)] for place in places][: len(shards)]) if shards else 0


def _called(prompts: pa.Table, row: int) -> str:
    name, text = (str(prompts[column][row].as_py()) for column in ("prompt_id", "prompt"))
    return f"{name} ({one_line(text, 60)!r})"
