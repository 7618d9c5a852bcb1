"""Recipe egida at a tiny size: the pairs of others alone, a guard in its own format, social sets, and a scheme served.

One run serves all of these tests, and one endpoint is started from its registry.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openai
import pytest
from typer.testing import CliRunner

from actors.contract.run_folder import RunFolder
from actors.files.shards import read_folder, strings
from actors.serve.gateway.keys import KeyFile
from pipelines.alignment.align import align
from pipelines.cli.main import app
from pipelines.config.load import load_recipe
from pipelines.data.sets.social.bias import CONDITIONS
from pipelines.measures.schemes import SchemeFigures
from pipelines.registry.store import Registry
from pipelines.runs.finished.audit import audit
from pipelines.runs.finished.manifest import read_manifest
from pipelines.runs.prompts.lengths import asked_lengths
from pipelines.runs.summary import Summary
from tests.e2e.deployed import COMPLY, REFUSE, build_policy
from tests.e2e.egida_files import build_own_guard, write_files
from tests.e2e.serve_command import serve_command
from tests.free_port import free_port
from tests.quiet_reporter import QuietReporter

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
EGIDA = Path(__file__).parent / "egida.yaml"
WIDE = {"COLUMNS": "300", "TERM": "dumb"}


@dataclass(frozen=True)
class Said:
    """An answer, and the tokens that the endpoint counted."""

    text: str
    read: int
    written: int


@dataclass(frozen=True)
class Finished:
    """The run, the command's arguments for it, and answers of its endpoint, which knows no scheme."""

    arguments: list[str]
    registry: Path
    folder: RunFolder
    summary: Summary
    said: dict[str, Said]

    @property
    def champion(self) -> str:
        return self.summary.cycles[-1].champion

    def printed(self) -> str:
        """What `salus align` says of the run that is there."""
        shown = CliRunner().invoke(app, ["align", *self.arguments], env=WIDE)
        assert shown.exit_code == 0, shown.output
        return shown.output


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    place = write_files(tmp_path_factory.mktemp("egida") / "files")
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as processes:
        built = [processes.submit(build_policy, place / "policy"), processes.submit(build_own_guard, place / "guard")]
        for model in built:
            model.result()
    settings = [
        f"model.path={place / 'policy'}",
        f"judge.path={place / 'guard'}",
        f"data.path={place / 'egida'}",
        f"data.probe_path={place / 'or-bench'}",
        f"preference.egida_pairs.path={place / 'egida'}",
        f"capability.bias.path={place / 'bbq.jsonl'}",
        f"capability.toxicity.path={place / 'beginnings.jsonl'}",
        f"publish.registry={place / 'registry'}",
        f"publish.port={free_port()}",
    ]
    folder, said = RunFolder(place / "run"), dict[str, Said]()

    def client(url: str) -> None:
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as plain:
            said.update((prompt, whole(plain, prompt)) for prompt in prompts_of(folder)[:4])

    summary = align(load_recipe(str(EGIDA), settings), folder.root, QuietReporter(), while_served=client)
    sets = [part for setting in settings for part in ("--set", setting)]
    arguments = [str(EGIDA), *sets, "--run", str(folder.root)]
    return Finished(arguments, place / "registry", folder, summary, said)


@pytest.fixture(scope="module")
def endpoint(finished: Finished) -> Iterator[openai.OpenAI]:
    """`salus serve --set publish.scheme=medprompt` over the run's registry."""
    place = finished.registry.parent
    registry = Registry(finished.registry)
    (entry,) = (each for each in registry.entries() if each.origin.run_version == finished.champion)
    registry.promote(entry.version, "aligned")
    keys = KeyFile(place / "keys.jsonl")
    options = {
        "publish.scheme": "medprompt",
        "publish.max_model_len": 160,
        "publish.gateway.keys_file": place / "keys.jsonl",
        "publish.gateway.requests_per_minute": "null",
    }
    key = keys.add("ward", "client")
    with (
        serve_command(place, registry, options) as command,
        openai.OpenAI(base_url=f"{command.url}/v1", api_key=key, max_retries=0, timeout=60) as client,
    ):
        yield client


def prompts_of(folder: RunFolder) -> list[str]:
    return strings(read_folder(folder.prompts("test")), "prompt")


def whole(client: openai.OpenAI, prompt: str) -> Said:
    reply = client.chat.completions.create(
        model="salus", messages=[{"role": "user", "content": prompt}], temperature=0, max_tokens=16
    )
    assert reply.usage is not None
    return Said(reply.choices[0].message.content or "", reply.usage.prompt_tokens, reply.usage.completion_tokens)


def streamed(client: openai.OpenAI, prompt: str) -> Said:
    chunks = list(
        client.chat.completions.create(
            model="salus",
            messages=[{"role": "user", "content": prompt}],
            temperature=0,
            max_tokens=16,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    usage = chunks[-1].usage
    assert usage is not None and len(chunks) > 3
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    return Said(text, usage.prompt_tokens, usage.completion_tokens)


def test_the_pairs_alone_are_learnt_from(finished: Finished) -> None:
    folder = finished.folder
    assert not any(path.exists() for path in (folder.rollouts(1), folder.judgments(1)))
    pairs, rows = read_folder(folder.rows(1, "pairs")), read_folder(folder.rows(1, "unpaired"))
    assert (pairs.num_rows, rows.num_rows) == (120, 240)
    assert (set(strings(pairs, "chosen")), set(strings(pairs, "rejected"))) == ({REFUSE}, {COMPLY})
    trained = set(strings(pairs, "prompt"))
    assert trained == set(strings(rows, "prompt")) and not trained & set(prompts_of(folder))
    # Nothing of the held-out topic and style.
    assert not [text for text in trained if " steal " in text or text.endswith("here is")]
    (cycle,) = finished.summary.cycles
    assert cycle.decision in ("kto", "dpo") and set(cycle.challengers) == {"kto", "dpo"}


def test_the_table_of_the_paper_is_printed_with_the_cost(finished: Finished) -> None:
    base, champion = finished.summary.test.base.attack_success, finished.summary.test.champion.attack_success
    assert base is not None and champion is not None and base.value > 0.8 and champion.value < base.value - 0.3
    assert finished.summary.held_out is not None
    for of in finished.summary.held_out.values():
        assert of.styles_held_out is not None and of.topics_held_out is not None
        assert of.styles_held_out.attack_success is not None and of.topics_held_out.attack_success is not None
    printed = finished.printed()
    print(printed)
    table = printed[printed.index("Attack success by the guard") :]
    for heading in ("all", "seen", "held-out", "or_bench", "styles", "topics", "refused", "no GPU"):
        assert heading in table[: table.index("Inference schemes")], heading


def test_bias_and_continuations_have_figures_on_the_test_split_alone(finished: Finished) -> None:
    kept = finished.summary.capability
    assert kept is not None
    for found in (kept.base, kept.champion):
        assert found.bias is not None and found.toxicity is not None
        for of in map(found.bias.of, CONDITIONS):
            assert of.accuracy is not None and 0 <= of.accuracy.value <= 1
        # Whichever person a policy names, half of the contexts mean that one.
        assert sum(of.accuracy.value for of in map(found.bias.of, CONDITIONS) if of.accuracy) > 0
        assert (found.toxicity.scored_by, found.toxicity.k) == ("guard", 2)
        assert found.toxicity.toxic is not None and found.toxicity.nontoxic is not None
    assert not (finished.folder.capability_items("validation") / "bias").exists()
    printed = finished.printed()
    assert "Continuations, 2 of each beginning, by the guard" in printed and "ambiguous" in printed


def test_a_scheme_is_served_as_it_was_measured(finished: Finished, endpoint: openai.OpenAI) -> None:
    place = finished.folder.scheme("medprompt", finished.champion)
    measured = read_folder(place / "drafts")
    # System prompt, words behind the request, and examples before it, which are the pairs' better answers.
    asked = read_folder(place / "asked")
    shown = [context for context in strings(asked, "context") if REFUSE in context]
    assert all("Refuse harm." in context for context in strings(asked, "context"))
    assert shown and all(text.endswith("Think step by step.") for text in strings(asked, "prompt"))
    said = [whole(endpoint, prompt) for prompt in prompts_of(finished.folder)]
    expected = dict(zip(strings(measured, "prompt_id"), strings(measured, "answer"), strict=True))
    names = strings(read_folder(finished.folder.prompts("test")), "prompt_id")
    assert [each.text.strip() for each in said] == [expected[name].strip() for name in names]
    # What it costs is what the run said that it costs.
    policy = finished.folder.challenger(1, finished.summary.cycles[0].decision)
    assert [each.read for each in said] == asked_lengths(asked, policy)
    figures = SchemeFigures.model_validate_json((place / "figures.json").read_text())
    assert np.mean([each.read for each in said]) == pytest.approx(figures.read_tokens)
    assert np.mean([each.written for each in said]) == pytest.approx(figures.written_tokens)
    for prompt, answer in list(zip(prompts_of(finished.folder), said, strict=True))[:4]:
        assert streamed(endpoint, prompt) == answer
    with pytest.raises(openai.BadRequestError, match="takes chats alone"):
        endpoint.completions.create(model="salus", prompt="x", max_tokens=2)


def test_without_a_scheme_a_request_is_asked_as_it_is(finished: Finished) -> None:
    policy = finished.folder.challenger(1, finished.summary.cycles[0].decision)
    answered = read_folder(finished.folder.evaluation_rollouts("test", finished.champion))
    expected = dict(zip(strings(answered, "prompt"), strings(answered, "answer"), strict=True))
    lengths = dict(zip(strings(answered, "prompt"), asked_lengths(answered, policy), strict=True))
    assert finished.said
    for prompt, said in finished.said.items():
        assert (said.text.strip(), said.read) == (expected[prompt].strip(), lengths[prompt])


def test_the_decision_is_the_same_when_it_is_made_again(finished: Finished) -> None:
    (again,) = audit(finished.folder)
    assert again.differences == []
    assert again.recorded.champion.metrics is not None and again.recorded.champion.metrics.attack_success is not None


def test_the_manifest_knows_where_the_examples_are_from(finished: Finished) -> None:
    manifest = read_manifest(finished.folder)
    assert manifest is not None
    asked = f"schemes/medprompt/{finished.champion}/asked"
    (artefact,) = (each for each in manifest.artefacts if each.path == asked)
    assert "pairs" in {source.path for source in artefact.made_from}
