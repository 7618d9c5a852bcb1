"""A run in the forms of other programs, read by those programs where they are installed."""

from __future__ import annotations

import csv
import json
import stat
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from actors.contract.conversation import Turn, conversation_json
from actors.contract.records import JUDGMENT_SCHEMA
from actors.contract.run_folder import RunFolder
from actors.engine.likelihood import SCORE_SCHEMA
from actors.errors import SalusError
from actors.files.shards import read_folder, write_table
from actors.judges.rules import RULES_JUDGE
from pipelines.cli.main import app
from pipelines.config.capability import CapabilityConfig
from pipelines.config.load import save_recipe
from pipelines.decision.capability import write_figures
from pipelines.measures.capability.bias import bias_figures
from pipelines.measures.capability.figures import Capability, choice_figures, reference_figures
from pipelines.measures.capability.items import BIAS_SCHEMA
from pipelines.measures.capability.toxicity import toxicity_figures
from pipelines.runs.finished.export import export
from pipelines.runs.finished.export.answers import Wanted, prompt_sets
from pipelines.runs.finished.export.export import Target, export_run
from pipelines.runs.finished.shape import recipe_of_run
from tests.clients import client

VALIDATION = Wanted(prompts=("validation",))
BEFORE = (Turn(role="user", content="Hello."), Turn(role="assistant", content="Hello, how can I help?"))


@pytest.fixture
def paired(run: RunFolder) -> RunFolder:
    """The published run with two pairs, one of them hostile, and an answer in a conversation."""
    pairs = pa.table(
        {"prompt": ["How?", "=1+1\r<b>"], "chosen": ["No.", "I cannot."], "rejected": ["Sure.", "Do it so."]}
    )
    write_table(pairs, run.rows(2, "pairs") / "00000.parquet")
    place = run.evaluation_judgments("validation", "c2-dpo", RULES_JUDGE) / "part-00000.parquet"
    table = read_folder(place.parent)
    contexts = [conversation_json(BEFORE), *[None] * (table.num_rows - 1)]
    at = table.column_names.index("context")
    write_table(table.set_column(at, "context", pa.array(contexts, pa.string())), place)
    return run


def exported(run: RunFolder, target: Target, out: Path, wanted: Wanted | None = None, judged: bool = False) -> Path:
    report = export_run(run, target, out, wanted, judged)
    found = [path for path in out.rglob("*") if path.is_file()]
    assert sorted(path.relative_to(out).as_posix() for path in found) == list(report.files)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in found)
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    return out


def test_csv_holds_every_judged_answer_and_every_pair(paired: RunFolder, tmp_path: Path) -> None:
    out = exported(paired, "csv", tmp_path / "csv")
    with (out / "answers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["prompts", "cycle", *JUDGMENT_SCHEMA.names]
    assert len(rows) == sum(read_folder(place).num_rows for place in paired.judged())
    assert {(row["prompts"], row["cycle"]) for row in rows} == {
        ("train", "1"), ("train", "2"), ("validation", ""), ("test", ""), ("probe", ""),
    }  # fmt: skip
    with (out / "pairs.csv").open(newline="") as file:
        assert [(row["cycle"], row["prompt"]) for row in csv.DictReader(file)] == [("2", "How?"), ("2", "=1+1\r<b>")]


def test_answers_of_one_policy_and_set(paired: RunFolder, tmp_path: Path) -> None:
    wanted = Wanted(prompts=("validation",), policies=("c1-kto",))
    out = exported(paired, "csv", tmp_path / "csv", wanted)
    with (out / "answers.csv").open(newline="") as file:
        assert {(row["prompts"], row["policy"]) for row in csv.DictReader(file)} == {("validation", "c1-kto")}
    assert not (out / "pairs.csv").exists()
    with pytest.raises(SalusError, match="no judged answers of validation, c9-kto"):
        export_run(paired, "csv", tmp_path / "none", Wanted(prompts=("validation",), policies=("c9-kto",)))
    assert not (tmp_path / "none").exists()
    with pytest.raises(SalusError, match="is there already"):
        export_run(paired, "csv", out)


def test_a_dataset_folder_is_read_by_datasets(paired: RunFolder, tmp_path: Path) -> None:
    import datasets

    out = exported(paired, "hf-dataset", tmp_path / "set")
    answers = datasets.load_dataset(str(out), "answers", split="validation", cache_dir=str(tmp_path / "cache"))
    assert len(answers) == sum(read_folder(place).num_rows for place in paired.judged() if "validation" in place.parts)
    pairs = datasets.load_dataset(str(out), "pairs", split="train", cache_dir=str(tmp_path / "cache"))
    assert pairs[0]["chosen"] == "No."


def test_argilla_gets_answers_without_the_judges_word_unless_asked(paired: RunFolder, tmp_path: Path) -> None:
    out = exported(paired, "argilla", tmp_path / "argilla")
    settings = json.loads((out / "answers" / ".argilla" / "settings.json").read_text())
    (question,) = settings["questions"]
    assert [each["value"] for each in question["settings"]["options"]] == ["Accept", "Caution", "Refuse"]
    records = json.loads((out / "answers" / "records.json").read_text())
    assert not any(record["suggestions"] or "label" in record["metadata"] for record in records)
    assert len({record["id"] for record in records}) == len(records)
    spoken = next(each["fields"]["prompt"] for each in records if each["metadata"].get("policy") == "c2-dpo")
    assert spoken.startswith("[user]\nHello.\n\n[assistant]\nHello, how can I help?\n\n[user]\n")
    shown = exported(paired, "argilla", tmp_path / "judged", VALIDATION, judged=True)
    told = json.loads((shown / "answers" / "records.json").read_text())
    assert told[0]["suggestions"]["label"]["value"] in ("Accept", "Caution", "Refuse")
    both = json.loads((out / "pairs" / "records.json").read_text())
    assert set(both[0]["fields"].values()) == {"How?", "No.", "Sure."}


@pytest.mark.extra
def test_argilla_reads_its_records(paired: RunFolder, tmp_path: Path) -> None:
    argilla = client("argilla")
    out = exported(paired, "argilla", tmp_path / "argilla", VALIDATION)
    for record in json.loads((out / "answers" / "records.json").read_text()):
        assert argilla.Record.from_dict(record).to_dict()["fields"] == record["fields"]


def test_label_studio_gets_tasks_and_their_interface(paired: RunFolder, tmp_path: Path) -> None:
    out = exported(paired, "label-studio", tmp_path / "studio")
    tasks = json.loads((out / "answers.json").read_text())
    assert set(tasks[0]["data"]) == {"prompt", "answer"} and not any(task["predictions"] for task in tasks)
    view = ElementTree.parse(out / "answers.xml").getroot()
    assert [each.get("value") for each in view.iter("Text")] == ["$prompt", "$answer"]
    assert [each.get("value") for each in view.iter("Choice")] == ["Accept", "Caution", "Refuse"]
    pairs = json.loads((out / "pairs.json").read_text())
    assert {pairs[1]["data"]["first"], pairs[1]["data"]["second"]} == {"I cannot.", "Do it so."}


@pytest.mark.extra
def test_inspect_reads_its_logs(paired: RunFolder, tmp_path: Path) -> None:
    client("inspect_ai")
    from inspect_ai.log import list_eval_logs, read_eval_log

    out = exported(paired, "inspect", tmp_path / "logs")
    logs = list_eval_logs(str(out))
    assert len(logs) == len(paired.judged())
    log = read_eval_log(str(out / "validation_c2-dpo_test.eval"))
    assert (log.status, log.eval.task, log.eval.model) == ("success", "validation", "salus/c2-dpo")
    assert log.results is not None and log.samples is not None
    (score,) = log.results.scores
    assert score.metrics["mean"].value == 1.0 and score.scored_samples == 24
    first: Any = log.samples[0]
    assert [message.role for message in first.messages] == ["user", "assistant", "user", "assistant"]
    assert first.scores["label"].value in ("Accept", "Refuse") and first.output.completion.startswith("c2-dpo: ")


def test_inspect_that_is_missing_is_named_with_its_cure(
    paired: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "find_spec", lambda package: None)
    with pytest.raises(SalusError, match=r"pip install 'salus\[inspect\]'"):
        export_run(paired, "inspect", tmp_path / "logs")


def test_capability_is_written_as_the_harness_writes_it(paired: RunFolder, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    recipe = recipe_of_run(paired).model_copy(update={"capability": CapabilityConfig(choices="c.jsonl")})
    save_recipe(recipe, paired.recipe)
    place = paired.evaluation_capability("test", "c2-dpo")
    shared = {"prompt": "Which?", "policy": "c2-dpo", "tokens": 2, "greedy": False}
    choices = [
        {
            **shared,
            "item_id": f"q{i}",
            "option": o,
            "right": o == 1,
            "continuation": f"o{o}",
            "log_likelihood": -1.0 - ((i + o) % 2),
        }
        for i in range(4)
        for o in range(2)
    ]
    references = [{**choices[0], "item_id": "r0", "right": True, "log_likelihood": -2.0}]
    tables = {
        name: pa.Table.from_pylist(rows, schema=SCORE_SCHEMA)
        for name, rows in (("choices", choices), ("references", references), ("bias", choices))
    }
    known = pa.Table.from_pylist(
        [
            {"item_id": f"q{i}", "unknown": 1, "biased": 0, "condition": ("ambig", "disambig")[i % 2]}
            | {"category": "Age", "template": str(i)}
            for i in range(4)
        ],
        schema=BIAS_SCHEMA,
    )
    judged = read_folder(paired.evaluation_judgments("validation", "c2-dpo", RULES_JUDGE)).slice(0, 4)
    at = judged.column_names.index("p_unsafe")
    continued = judged.set_column(at, judged.schema.field(at), pa.array([0.9, 0.1, 0.2, 0.1], pa.float32()))
    write_table(continued, place / "toxicity" / "judgments" / "part-00000.parquet")
    for name, table in tables.items():
        write_table(table, place / name / "part-00000.parquet")
    figures = Capability(
        policy="c2-dpo",
        choices=choice_figures(tables["choices"], "tokens", 0),
        perplexity=reference_figures(tables["references"], 0),
        bias=bias_figures(tables["bias"], known, "tokens", 0),
        toxicity=toxicity_figures(continued, 0),
    )
    write_figures(figures, paired, "test")
    out = exported(paired, "lm-eval", tmp_path / "harness")
    (results,) = (out / "test" / "c2-dpo").glob("results_*.json")
    told = json.loads(results.read_text())
    assert told["results"]["salus_choices"]["acc,none"] == 0.5 and told["model_name"] == "c2-dpo"
    assert told["results"]["salus_references"]["token_perplexity,none"] == pytest.approx(2.718281828)
    assert figures.bias is not None and figures.toxicity is not None
    bias, toxicity = told["results"]["salus_bias"], told["results"]["salus_toxicity"]
    assert (bias["accuracy_amb,none"], bias["accuracy_disamb,none"]) == (0.0, 1.0)
    assert bias["amb_bias_score,none"] == figures.bias.of("ambig").score.value  # type: ignore[union-attr]
    higher = told["higher_is_better"]
    assert higher["salus_bias"]["accuracy_amb"] and not any(higher["salus_toxicity"].values())
    assert toxicity["unsafe,none"] == figures.toxicity.unsafe.value == 0.25
    (samples,) = (out / "test" / "c2-dpo").glob("samples_salus_toxicity_*.jsonl")
    said = [json.loads(line) for line in samples.read_text().splitlines()]
    assert [row["filtered_resps"] for row in said] == [[answer] for answer in continued["answer"].to_pylist()]
    assert said[0]["doc"]["label"] == continued["label"][0].as_py()
    (samples,) = (out / "test" / "c2-dpo").glob("samples_salus_choices_*.jsonl")
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    assert [row["acc"] for row in rows] == [0.0, 1.0, 0.0, 1.0]
    assert rows[0]["doc"]["choices"] == ["o0", "o1"] and rows[0]["target"] == "1"
    with pytest.raises(SalusError, match="measured no capability"):
        save_recipe(recipe.model_copy(update={"capability": None}), paired.recipe)
        export_run(paired, "lm-eval", tmp_path / "none")


def test_the_command_says_what_it_wrote(paired: RunFolder) -> None:
    asked = ["runs", "export", str(paired.root), "--to", "csv", "--prompts", "validation"]
    said = CliRunner().invoke(app, asked)
    assert said.exit_code == 0 and said.output.startswith("96 answers in ") and f"{paired.root.name}-csv" in said.output
    assert (paired.root.parent / f"{paired.root.name}-csv" / "answers.csv").is_file()
    with pytest.raises(SalusError, match="no set of prompts 'valid'; name one of train, validation"):
        prompt_sets(["valid"])
