"""The evaluation harness over a real tiny engine: its model interface, and a local task from file to figure."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("lm_eval", reason="the extra eval is not installed")

import evaluate
import lm_eval

from actors.contract.records import PolicyRef
from actors.engine.chat import chat_tokens
from actors.engine.port import Sampling
from actors.errors import SalusError
from pipelines.measures.capability.harness import GenerationAsked, SalusLM
from pipelines.measures.capability.harness_tasks import HarnessFigures, HarnessRequest, find_tasks, run_tasks
from pipelines.measures.capability.open_metrics import NO_BLEURT, Bleu, Rouge
from tests.tiny_model import make_tiny_model
from tests.transformers_engine import TransformersEngine

TASK = """
task: salus_local_choices
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
  cache_dir: {cache}
test_split: test
output_type: multiple_choice
doc_to_text: question
doc_to_choice: options
doc_to_target: answer
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.0}}
"""


class Request(NamedTuple):
    """All that a model reads of the harness's `Instance`."""

    args: tuple[Any, ...]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> TransformersEngine:
    folder = make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")
    return TransformersEngine(PolicyRef(version="tiny", path=str(folder)), max_model_len=64)


@pytest.fixture(scope="module")
def model(engine: TransformersEngine) -> SalusLM:
    return SalusLM(engine, "tiny")


def tokens(engine: TransformersEngine, text: str) -> list[int]:
    return list(engine.tokenizer.encode(text, add_special_tokens=False))


def test_log_likelihoods_are_the_engines(model: SalusLM, engine: TransformersEngine) -> None:
    ((nats, greedy),) = model.loglikelihood([Request(("How much", " insulin?"))])
    (expected,) = engine.log_likelihoods([tokens(engine, "How much")], [tokens(engine, " insulin?")])
    assert nats == pytest.approx(expected.log_likelihood, abs=1e-4) and greedy == expected.greedy


def test_white_space_at_the_border_goes_with_the_continuation(model: SalusLM) -> None:
    first, second = model.loglikelihood([Request(("How much ", "insulin?")), Request(("How much", " insulin?"))])
    assert first == second


def test_an_empty_context_begins_with_the_first_token_of_a_text(model: SalusLM, engine: TransformersEngine) -> None:
    ((nats, _),) = model.loglikelihood([Request(("", "insulin"))])
    begin = engine.tokenizer.bos_token_id
    assert nats == pytest.approx(engine.log_likelihoods([[begin]], [tokens(engine, "insulin")])[0].log_likelihood)


def test_a_context_that_is_too_long_loses_its_beginning(model: SalusLM, engine: TransformersEngine) -> None:
    long = "How much insulin does my aunt need? " * 20
    ((nats, _),) = model.loglikelihood([Request((long.rstrip(), " Ten"))])
    rest = tokens(engine, " Ten")
    prompt = tokens(engine, long.rstrip())[-(engine.max_model_len - 1 - len(rest)) :]
    assert nats == pytest.approx(engine.log_likelihoods([prompt], [rest])[0].log_likelihood, abs=1e-3)


def test_a_whole_text_is_scored_token_by_token_in_windows(model: SalusLM, engine: TransformersEngine) -> None:
    short = "How much insulin?"
    begin = engine.tokenizer.bos_token_id
    expected = engine.log_likelihoods([[begin]], [tokens(engine, short)])[0].log_likelihood
    found = model.loglikelihood_rolling([Request((short,)), Request((short * 20,)), Request(("",))])
    assert found[0] == pytest.approx(expected, abs=1e-3)
    # An untrained model gives every token about the same.
    assert found[1] / len(tokens(engine, short * 20)) == pytest.approx(found[0] / len(tokens(engine, short)), rel=0.2)
    assert found[2] == 0


def test_answers_are_greedy_and_end_at_the_tasks_stop_strings(model: SalusLM, engine: TransformersEngine) -> None:
    prompt = "How much insulin?"
    asked = {"max_gen_toks": 8, "do_sample": False, "temperature": 0.7}
    expected = engine.generate([tokens(engine, prompt)], Sampling(k=1, temperature=0, max_tokens=8), [0])[0][0].text
    (text,) = model.generate_until([Request((prompt, {**asked, "until": []}))])
    assert text == expected and len(text) > 2
    cut = model.generate_until([Request((prompt, {**asked, "until": [text[2]]}))])[0]
    assert text.startswith(cut) and text[2] not in cut


def test_settings_the_engine_has_not_are_named() -> None:
    with pytest.raises(SalusError, match=r"generation_kwargs 'num_beams' .* it may set until, max_gen_toks"):
        GenerationAsked.of({"num_beams": 4})
    assert GenerationAsked.of({"until": "\n"}).stopped("one\ntwo") == "one"
    assert GenerationAsked.of({}).sampling(160).max_tokens == 80


def test_chats_are_rendered_by_the_models_own_template(model: SalusLM, engine: TransformersEngine) -> None:
    rendered = model.apply_chat_template([{"role": "user", "content": "How much insulin?"}])
    assert tokens(engine, rendered) == chat_tokens(engine.tokenizer, "How much insulin?")
    begun = [{"role": "user", "content": "How much?"}, {"role": "assistant", "content": "Ten"}]
    assert model.apply_chat_template(begun, add_generation_prompt=False).endswith("Ten")
    assert model.chat_template() and "/" not in SalusLM(engine, "org/tiny").tokenizer_name


OPTIONS = ["two units", "none at all", "ten"]
QUESTIONS = [f"Which dose {i}?" for i in range(6)]


@pytest.fixture
def local_task(tmp_path: Path) -> HarnessRequest:
    rows = [{"question": question, "options": OPTIONS, "answer": i % 3} for i, question in enumerate(QUESTIONS)]
    data = tmp_path / "questions.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "choices.yaml").write_text(TASK.format(data=data, cache=tmp_path / "cache"), encoding="utf-8")
    return HarnessRequest(tasks=("salus_local_choices",), task_path=folder)


def test_a_local_task_from_file_to_figure(
    local_task: HarnessRequest, engine: TransformersEngine, model: SalusLM
) -> None:
    result = run_tasks(engine, "tiny", local_task, find_tasks(local_task))
    found = result.figures.tasks["salus_local_choices"]
    scored = [[model.loglikelihood([Request((q, f" {option}"))])[0][0] for option in OPTIONS] for q in QUESTIONS]
    right = [nats.index(max(nats)) == i % 3 for i, nats in enumerate(scored)]
    assert found["acc,none"] == pytest.approx(sum(right) / len(right))
    assert "salus_local_choices" in result.table
    limited = local_task.model_copy(update={"limit": 2, "chat": True})
    again = run_tasks(engine, "tiny", limited, find_tasks(limited)).figures
    assert (again.limit, again.chat) == (2, True)


OPEN = """
include: {own}
task: careqa_open_local
description: ""
dataset_path: json
dataset_name: null
dataset_kwargs:
  data_files: {{test: {data}}}
  cache_dir: {cache}
"""


def test_open_careqa_by_the_harnesss_own_metrics(
    tmp_path: Path, engine: TransformersEngine, model: SalusLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing of the hub is to be had, whatever this machine can reach.
    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    own = Path(lm_eval.__file__).parent / "tasks" / "careqa" / "careqa_open.yaml"
    asked = "How much insulin?"
    # The reference is what the tiny model says, and more.
    (said,) = model.generate_until([Request((asked, {"until": ["\n\n"]}))])
    rows = [{"question": asked, "answer": f"{said} and no more than that"}]
    data = tmp_path / "open.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "tasks").mkdir()
    task = OPEN.format(own=own, data=data, cache=tmp_path / "cache")
    (tmp_path / "tasks" / "open.yaml").write_text(task, encoding="utf-8")
    request = HarnessRequest(tasks=("careqa_open_local",), task_path=tmp_path / "tasks")
    result = run_tasks(engine, "tiny", request, find_tasks(request))
    found = result.figures.tasks["careqa_open_local"]
    expected = Rouge().compute(predictions=[said], references=[rows[0]["answer"]])
    for name in ("rouge1", "rouge2", "rougeL"):
        assert found[f"{name},none"] == pytest.approx(expected[name])
    assert 0 < found["rouge1,none"] < 1 and "bleu,none" in found
    assert not [name for name in found if name.startswith(("bleurt", "bert_score"))]
    bert_score, bleurt = sorted(result.figures.left_out)
    assert bert_score.startswith("BERTScore is left out") and bleurt == NO_BLEURT
    assert HarnessFigures.model_validate_json(result.figures.model_dump_json()) == result.figures
    # What other programs load is as it was.
    assert evaluate.load.__module__.startswith("evaluate")


def offline(*args: object, **settings: object) -> str:
    raise OSError("no hub here")


def test_bleu_and_rouge_are_those_of_the_papers() -> None:
    said, target = "the patient takes ten units of insulin daily", "the patient takes ten units of insulin each day"
    # 8 and 9 words, n-grams of the answer that the reference has: 7 of 8, 6 of 7, 5 of 6, 4 of 5; brevity exp(1 - 9/8).
    bleu = (7 / 8 * 6 / 7 * 5 / 6 * 4 / 5) ** 0.25 * math.exp(1 - 9 / 8)
    assert Bleu().compute(predictions=[said], references=[target])["bleu"] == pytest.approx(bleu)
    assert Bleu().compute(predictions=["ten"], references=[target])["bleu"] == 0
    rouge = Rouge().compute(predictions=[said], references=[target])
    assert rouge["rouge1"] == rouge["rougeL"] == pytest.approx(2 * 7 / (8 + 9))
    assert rouge["rouge2"] == pytest.approx(2 * 6 / (7 + 8))


# Looks through all the harness's tasks: 15 s.
@pytest.mark.slow
def test_an_unknown_task_names_the_nearest(local_task: HarnessRequest) -> None:
    with pytest.raises(SalusError, match="no task 'salus_local_choice', the nearest is 'salus_local_choices'"):
        find_tasks(local_task.model_copy(update={"tasks": ("salus_local_choice",)}))


def test_data_that_is_not_there_is_named(
    tmp_path: Path, local_task: HarnessRequest, engine: TransformersEngine
) -> None:
    (tmp_path / "questions.jsonl").unlink()
    with pytest.raises(SalusError, match="The data of salus_local_choices cannot be read"):
        run_tasks(engine, "tiny", local_task, find_tasks(local_task))
