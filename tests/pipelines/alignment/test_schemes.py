"""Inference schemes of a run: what is refused before it starts, and where examples are taken from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from actors.contract.records import PROMPT_SCHEMA, PolicyRef, prompt_table
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import write_table
from pipelines.alignment import promise
from pipelines.alignment.measurements.schemes import check_schemes, scheme_examples, without_examples
from pipelines.alignment.ready import check_prompts
from pipelines.alignment.rows.egida_pairs import PAIR_SCHEMA
from pipelines.config.load import load_recipe
from tests.pipelines.alignment.test_promise import prompts, recipe_of_rows
from tests.quiet_reporter import QuietReporter
from tests.rows import judgments, prompt
from tests.tiny_model import make_tiny_model

BY_PAIRS = ("preference.judged=false", "preference.egida_pairs={per_cycle: 2, unpaired: true}")
NEAR = "schemes={near: {few_shot: 2}, careful: {system_prompt: Be careful.}}"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def test_a_scheme_without_room_is_refused_before_the_run(tmp_path: Path, model: Path) -> None:
    long = f"schemes={{wordy: {{suffix: {'think ' * 100}}}, near: {{few_shot: 16}}}}"
    recipe = recipe_of_rows(tmp_path, model, prompts(), long)
    folder, policy = RunFolder(tmp_path / "run"), PolicyRef(version="c0-base", path=str(model))
    write_table(prompt_table([prompt(n) for n in range(3)]), folder.prompts("test") / "part-00000.parquet")
    with pytest.raises(SalusError, match=r"schemes.wordy leaves no room for 3 of 3 test prompts") as refused:
        check_schemes(recipe, folder, policy)
    # Examples are left out where there is no room for them.
    assert "near" not in refused.value.sentence
    with pytest.raises(SalusError, match=r"schemes.wordy leaves no room for \d+ of \d+ test prompts"):
        check_prompts(recipe, QuietReporter())
    check_schemes(recipe_of_rows(tmp_path, model, prompts(), NEAR), folder, policy)


def test_a_system_prompt_that_the_chat_template_refuses_is_found_before_the_run(tmp_path: Path, model: Path) -> None:
    strict = shutil.copytree(model, tmp_path / "strict")
    template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
    (strict / "chat_template.jinja").write_text(template + "{{ messages[-1]['content'] }}")
    faults = promise.schemes_too_long(
        load_recipe("demo", [NEAR]),
        prompt_table([prompt(0)]).select(PROMPT_SCHEMA.names),
        PolicyRef(version="c0-base", path=str(strict)),
        100,
    )
    assert [each.partition(" cannot write ")[2] for each in faults] == [
        "schemes.careful (no system turn): drop its system_prompt."
    ]


def test_examples_are_the_better_answers_of_pairs_where_no_answer_is_judged(tmp_path: Path) -> None:
    recipe, folder = load_recipe("demo", [NEAR, *BY_PAIRS]), RunFolder(tmp_path)
    pairs = [
        {"prompt": f"harm {n % 3}", "chosen": f"No, {n % 3}.", "rejected": f"Sure, {n}.", "level": 3} for n in range(5)
    ]
    write_table(pa.Table.from_pylist(pairs, schema=PAIR_SCHEMA), folder.pairs / "part-00000.parquet")
    assert sorted(scheme_examples(recipe, folder)) == [(f"harm {n}", f"No, {n}.") for n in range(3)]
    assert without_examples(recipe, folder) == ()


def test_a_scheme_without_an_example_is_left_out_and_ends_no_run(tmp_path: Path) -> None:
    recipe, folder = load_recipe("demo", [NEAR]), RunFolder(tmp_path)
    assert without_examples(recipe, folder) == ("near",)
    write_table(judgments([(prompt(0, 3), "Sure.", "Accept")]), folder.judgments(1) / "part-00000.parquet")
    assert without_examples(recipe, folder) == ("near",)
    write_table(judgments([(prompt(1, 3), "No.", "Refuse")]), folder.judgments(1) / "part-00001.parquet")
    assert without_examples(recipe, folder) == () and len(scheme_examples(recipe, folder)) == 1
