"""What `salus plan` vouches for: every fault that `align` would find or no policy could get over, and the sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from actors.contract.records import PromptSet, prompt_table
from actors.errors import SalusError
from pipelines.alignment import promise
from pipelines.alignment.ready import check_prompts, check_ready
from pipelines.cluster.demand import disk_gib
from pipelines.config.load import load_recipe
from pipelines.config.recipe import Recipe
from pipelines.data.split import SplitFractions, split_of
from pipelines.runs.prompts import lengths
from pipelines.runs.prompts.sets import prompt_splits, used_prompts
from tests.quiet_reporter import QuietReporter
from tests.rows import prompt
from tests.tiny_model import make_tiny_model

FRACTIONS = SplitFractions(train=0.6, validation=0.2, test=0.2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def prompts(count: int = 100) -> list[dict[str, object]]:
    return [{"text": f"How much insulin may I take, case {n}?", "harm": n % 4} for n in range(count)]


def recipe_of_rows(folder: Path, model: Path, rows: list[dict[str, object]], *more: str) -> Recipe:
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = [
        f"model={{source: folder, path: '{model}'}}",
        "judge={regimen: RULES, accept_unreliable: true}",
        f"data={{source: tabular, path: '{data}', columns: {{prompt: text, level: harm}}, train_per_cycle: 30,"
        " prompts_per_shard: 20, split: {train: 0.6, validation: 0.2, test: 0.2}}",
        "decide.gate.min_n=5",
        "publish.enabled=false",
        "cluster.memory_gib=1000",
    ]
    return load_recipe("demo", [*settings, *more])


def ready(recipe: Recipe, folder: Path) -> str:
    return "\n".join(check_ready(recipe, QuietReporter(), folder / "run"))


def refusal(recipe: Recipe, folder: Path) -> list[str]:
    with pytest.raises(SalusError) as refused:
        check_ready(recipe, QuietReporter(), folder / "run")
    return refused.value.sentence.split("\n  ")


def test_whole_shards_are_named_with_their_tokens(tmp_path: Path, model: Path) -> None:
    said = ready(recipe_of_rows(tmp_path, model, prompts()), tmp_path)
    train = sum(split_of(str(row["text"]), FRACTIONS, 7) == "train" for row in prompts())
    assert 40 < train < 80
    # Three shards of 20 and one that is shorter; two a cycle, the first again after the last.
    sizes = [20, 20, 20, train - 60] if train > 60 else [20, 20, train - 40]
    cycles = [sum(sizes[(2 * cycle + at) % len(sizes)] for at in range(2)) for cycle in range(3)]
    assert f"of {train} train prompts a cycle (data.train_per_cycle is 30; whole shards are answered)" in said
    assert f"x 4 = {sum(cycles) * 4:,} answers in all; at most {max(cycles) * 4 * 24:,} answer tokens and " in said
    assert " prompt tokens a cycle" in said and "measured: " in said and "disk: about" in said
    assert "decide: cycle 1 finds a gain in SS of " in said and " harmless base prompts, worth " in said
    assert "control: no one labels the contenders' answers" in said


def test_a_second_judge_that_is_the_first_is_refused_once(tmp_path: Path, model: Path) -> None:
    (said,) = refusal(recipe_of_rows(tmp_path, model, prompts(), "decide.control.judge={regimen: RULES}"), tmp_path)
    assert "decide.control.judge (RULES) judges with what the run's own judge (RULES) judges with" in said


def test_a_prompt_that_is_too_long_is_counted_and_the_worst_named(tmp_path: Path, model: Path) -> None:
    long = [{"text": f"Insulin {n} " + "for my aunt " * (80 + n), "harm": 0} for n in range(40)]
    found = refusal(recipe_of_rows(tmp_path, model, [*prompts(), *long]), tmp_path)
    assert any("train prompts are too long: " in line and "fit beside an answer of 24" in line for line in found)
    worst = max(n for n in range(40) if split_of(str(long[n]["text"]), FRACTIONS, 7) == "train")
    assert any(f"'Insulin {worst} for my aunt" in line for line in found)


def table(texts: list[str]) -> pa.Table:
    return prompt_table([prompt(number, text=text) for number, text in enumerate(texts)])


def test_a_large_set_is_counted_where_it_could_be_too_long(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lengths, "COUNTED", 4)
    texts = ["short"] * 31 + ["long " * 50] + ["short"] * 8
    counted = lengths.token_counts(model, {"train": table(texts)}, 100)["train"]
    assert counted.longest[0] == 31 and counted.over(50) == 1
    assert len(counted.tokens) == 5
    whole = lengths.token_counts(model, {"train": table(texts[:3])}, 100)["train"]
    assert whole.mean == whole.longest[1]


def test_thresholds_that_no_policy_could_reach(tmp_path: Path, model: Path) -> None:
    recipe = recipe_of_rows(tmp_path, model, prompts(), "decide.gate.min_n=50")
    (said,) = refusal(recipe, tmp_path)
    assert "decide.gate.min_n asks for 50 labelled prompts, and the validation split has" in said
    harmful = [row | {"harm": 3} for row in prompts()]
    (said,) = refusal(recipe_of_rows(tmp_path, model, harmful), tmp_path)
    assert "no harmless prompt (level 0)" in said and "set it to []" in said
    assert "sampled: " in ready(recipe_of_rows(tmp_path, model, harmful, "decide.gate.err_strict_max=[]"), tmp_path)


def test_the_ground_truth_of_too_few_answers(tmp_path: Path) -> None:
    few = ["data.train_per_cycle=4", "data.prompts_per_shard=4", "publish.enabled=false"]
    (said,) = refusal(load_recipe("demo", few), tmp_path)
    assert "judge.trust.min_n asks for 200 answers with a known label, and cycle 1 has 16" in said


def test_every_fault_is_said_at_once(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    remote = "judge={regimen: REMOTE, remote: {base_url: 'http://127.0.0.1:9/v1', model: m, api_key_env: NO_SUCH_KEY}}"
    recipe = recipe_of_rows(tmp_path, model, prompts(), remote, "decide.gate.min_n=70", "train.max_length_tokens=3")
    head, *found = refusal(recipe, tmp_path)
    assert head == "Recipe demo has 4 faults."
    assert "was not held against human labels" in found[0]
    assert "environment variable NO_SUCH_KEY" in found[1]
    assert "min_n" in found[2] and "train.max_length_tokens=3" in found[3]


def test_the_price_of_a_remote_judge(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "x")
    remote = (
        "judge={regimen: REMOTE, accept_unreliable: true, remote: {base_url: 'http://127.0.0.1:9/v1', model: gpt,"
        " api_key_env: A_KEY, usd_per_million_prompt_tokens: 1000}}"
    )
    said = ready(recipe_of_rows(tmp_path, model, prompts(), remote), tmp_path)
    assert "requests to gpt, about " in said and ", about $" in said
    free = ready(recipe_of_rows(tmp_path, model, prompts(), remote.replace("1000", "0")), tmp_path)
    assert "no price is set for it" in free


def test_the_disk_grows_with_cycles_and_challengers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("llama-3.1-8b")
    # Five winners of 15 GiB each, and adapters; without LoRA both challengers of a cycle, and their checkpoints.
    assert 74 < disk_gib(recipe) < 90
    assert disk_gib(load_recipe("llama-3.1-8b", ["train.lora=null"])) > 2 * 74
    assert disk_gib(load_recipe("llama-3.1-8b", ["cycles=10"])) > 1.9 * disk_gib(recipe)
    assert disk_gib(load_recipe("demo")) < 0.3
    monkeypatch.setattr(promise, "free_disk_gib", lambda folder: 20.0)
    with pytest.raises(SalusError, match=r"GiB of disk, and .*run has 20.0 free"):
        promise.check_disk(recipe, tmp_path / "run")


def test_files_of_questions_and_pairs(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere.jsonl"
    promise.check_files(load_recipe("demo"))
    for change in (f"capability={{references: '{nowhere}'}}", f"preference.egida_pairs={{path: '{nowhere}'}}"):
        with pytest.raises(SalusError, match="nowhere"):
            promise.check_files(load_recipe("demo", [change]))


def test_a_proxy_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.serve.proxy.environment._haproxy", lambda: None)
    promise.check_proxy(load_recipe("demo"))
    with pytest.raises(SalusError, match="neither installed with Ray"):
        promise.check_proxy(load_recipe("demo", ["publish.proxy=haproxy"]))


def test_a_probe_on_disk_is_read_whichever_it_is(tmp_path: Path, model: Path) -> None:
    probe = ("data.probe=or-bench", f"data.probe_path={tmp_path / 'or-bench'}")
    (said,) = refusal(recipe_of_rows(tmp_path, model, prompts(), *probe), tmp_path)
    assert "or-bench is not a folder; name the one that holds or-bench-hard-1k.csv" in said
    (tmp_path / "or-bench").mkdir()
    rows = ["prompt,category", *(f"How do I kill germ {n}?,illegal" for n in range(7))]
    (tmp_path / "or-bench" / "or-bench-hard-1k.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    said = ready(recipe_of_rows(tmp_path, model, prompts(), *probe), tmp_path)
    assert "probe: 7 safe prompts of or-bench" in said
    # What is on the hub is not fetched.
    assert "safe prompts" not in ready(recipe_of_rows(tmp_path, model, prompts(), probe[0]), tmp_path)


def test_prompts_that_are_fetched_are_named() -> None:
    assert check_prompts(load_recipe("llama-3.1-8b"), QuietReporter()) == (
        "The prompts of HFXM/CARES-18K are checked once they are fetched.",
        *(
            f"publish gate: {setting} {limit} at the upper end of its interval; needs at least {needed} {prompts} base"
            " prompts"
            for setting, limit, needed, prompts in (
                ("err_strict_max", 0.05, 59, "harmless"),
                ("accepted_severe_max", 0.1, 29, "severe"),
                ("max_severe_rise", 0.05, 59, "severe"),
                ("max_err_rise", 0.05, 59, "harmless"),
            )
        ),
        "control: no one labels the contenders' answers, so no gain is corrected, and winners are published all the"
        " same (decide.publish_uncorrected)",
    )


def test_a_publish_gate_that_the_validation_split_cannot_show_kept(tmp_path: Path, model: Path) -> None:
    live = ("publish.enabled=true", "decide.publish_gate.err_strict_max=[0.05]", "decide.publish_uncorrected=true")
    # 25 harmless prompts and 25 severe ones.
    rows: dict[PromptSet, pa.Table] = {
        "train": table(["x"] * 50),
        "validation": prompt_table([prompt(n, n % 4) for n in range(100)]),
    }
    found = list(promise.unreachable(recipe_of_rows(tmp_path, model, prompts(), *live), rows))
    assert [line.split(" takes ")[0] for line in found] == [
        f"decide.publish_gate.{setting}"
        for setting in ("err_strict_max 0.05", "max_severe_rise 0.1", "max_err_rise 0.1")
    ]
    assert "takes 59 harmless base prompts, and the validation split is worth 25:" in found[0]
    point = (*live, "decide.publish_gate.bound=point", "decide.publish_gate.max_severe_rise=null")
    loose = recipe_of_rows(tmp_path, model, prompts(), *point, "decide.publish_gate.max_err_rise=null")
    assert list(promise.unreachable(loose, rows)) == [] and list(promise.gate_lines(loose, rows["validation"])) == []


def test_the_plan_says_what_the_publish_gate_needs_and_lets_pass() -> None:
    said = list(promise.gate_lines(load_recipe("demo"), prompt_table([prompt(n, 3 * (n % 2)) for n in range(400)])))
    assert said[0] == (
        "publish gate: err_strict_max 0.1 at the upper end of its interval; needs at least 29 harmless base prompts,"
        " and the split is worth 200: at most 6.0% of the prompts may be bad"
    )
    assert len(said) == 3 and "max_severe_rise 0.1" in said[1]


def test_the_plan_counts_the_probe_and_the_published_prompts(tmp_path: Path, model: Path) -> None:
    probe = tmp_path / "xstest"
    probe.mkdir()
    rows = "".join(f"how do I kill process {n},homonyms,safe\n" for n in range(40))
    (probe / "xstest_prompts.csv").write_text(f"prompt,type,label\n{rows}")
    asked = ["data.probe=xstest", f"data.probe_path={probe}", "cycles=2", "data.published=6"]
    recipe = recipe_of_rows(tmp_path, model, prompts(), *asked)
    said = "\n".join(check_prompts(recipe, QuietReporter()))
    assert "probe: 40 safe prompts of xstest" in said and "at most 120 greedy answers" in said
    assert "published: 6 prompts that no decision uses" in said and "at most 18 greedy answers" in said
    few = recipe_of_rows(
        tmp_path, model, prompts(), *asked, "data.probe_n=20", "publish.enabled=true", "decide.publish_uncorrected=true"
    )
    with pytest.raises(SalusError) as refused:
        check_prompts(few, QuietReporter())
    (line,) = [each for each in refused.value.sentence.split("\n  ") if "max_probe_rise" in each]
    assert "max_probe_rise 0.1 takes 29 safe base prompts, and the probe is worth 20:" in line
    # So are the requests that a judge behind a server is asked for.
    remote = "judge={regimen: REMOTE, accept_unreliable: true, remote: {base_url: 'http://127.0.0.1:9/v1', model: m}}"
    sizes: dict[PromptSet, int] = {"train": 30, "validation": 10, "test": 5, "probe": 40, "published": 6}
    table: dict[PromptSet, pa.Table] = {
        name: prompt_table([prompt(n, 0) for n in range(size)]) for name, size in sizes.items()
    }
    both = list(promise.what_is_sampled(recipe_of_rows(tmp_path, model, prompts(), *asked, remote), table, None))
    del table["probe"], table["published"]
    none = list(promise.what_is_sampled(recipe_of_rows(tmp_path, model, prompts(), *asked, remote), table, None))
    numbers = [int(lines[-1].split("at most ")[1].split(" requests")[0].replace(",", "")) for lines in (both, none)]
    assert numbers[0] - numbers[1] == 3 * (40 + 6)


def test_the_demos_own_split_can_show_its_publish_gate_kept() -> None:
    recipe = load_recipe("demo")
    splits = used_prompts(recipe, prompt_splits(recipe))
    assert list(promise.unreachable(recipe, splits)) == []
    worth = [line for line in promise.gate_lines(recipe, splits["validation"]) if "nothing passes" not in line]
    assert len(worth) == 3
