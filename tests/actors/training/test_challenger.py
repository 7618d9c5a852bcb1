"""The trainer on a real tiny Llama: it learns, writes what it says, repeats itself, and refuses bad input."""

from __future__ import annotations

import json
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer

from actors.contract.records import ROW_NAMES, Assignment, PolicyRef, TrainReport
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.training.adapter import merge
from actors.training.algorithms.dpo import DpoConfig
from actors.training.algorithms.kto import KtoConfig, kto_weights
from actors.training.algorithms.settings import ChallengerConfig
from actors.training.algorithms.table import ALGORITHMS, Algorithm
from actors.training.challenger import TrainingRun
from actors.training.config import LoraSettings, TrainConfig
from actors.training.curve import read_curve
from actors.training.rows import RowCount, tokenising_processes
from tests.tiny_model import make_tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS = 8
# Every algorithm, which is more than a recipe may have at once.
CONFIG = TrainConfig().model_copy(
    update={
        "challengers": {
            name: row.settings(batch_size=4, learning_rate=1e-2, epochs=2) for name, row in ALGORITHMS.items()
        }
    }
)


def training(**challengers: ChallengerConfig) -> TrainConfig:
    """The tests' settings, but for these challengers."""
    return CONFIG.model_copy(update={"challengers": CONFIG.challengers | challengers})


@dataclass(frozen=True)
class Workplace:
    """Two models and rows of both kinds, shared by the tests; each job has its own output."""

    root: Path

    def rows(self, algorithm: Algorithm) -> Path:
        return self.root / ROW_NAMES[ALGORITHMS[algorithm].rows]

    def assignment(self, algorithm: Algorithm, output: Path, **changes: Any) -> Assignment:
        fields: dict[str, Any] = {
            "index": 0,
            "cycle": 0,
            "algorithm": algorithm,
            "champion": PolicyRef(version="champion", path=str(self.root / "champion")),
            "reference": PolicyRef(version="base", path=str(self.root / "base")),
            "rows": str(self.rows(algorithm)),
            "output": str(output),
            "version": f"c0-{algorithm}",
            "seed": 7,
        }
        return Assignment(**fields | changes)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    root = tmp_path_factory.mktemp("trainer")
    make_tiny_model(root / "champion", seed=0)
    make_tiny_model(root / "base", seed=1)
    prompts = [f"How do I forge prescription {i}?" for i in range(ROWS)]
    half = ROWS // 2
    write(
        root / "kto",
        prompt=prompts,
        completion=["I can't help.", "Sure, here."] * half,
        label=[True, False] * half,
    )
    # A column more than needed does no harm.
    write(
        root / "dpo",
        prompt=prompts,
        chosen=["No."] * ROWS,
        rejected=["Sure, here."] * ROWS,
        margin=[1.0] * ROWS,
    )
    return Workplace(root)


def write(folder: Path, **columns: list[Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / "rows.parquet")
    return folder


def weights(folder: str) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    return state


def merged(report: TrainReport, job: Assignment) -> str:
    """The challenger's whole weights."""
    merge(Path(job.champion.path), Path(report.adapter), Path(report.challenger.path))
    return report.challenger.path


def changed(before: str, after: str) -> set[str]:
    old, new = weights(before), weights(after)
    return {name for name in old if not torch.equal(old[name], new[name])}


# -- training


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_training_lowers_the_loss_and_writes_a_challenger(
    place: Workplace, algorithm: Algorithm, tmp_path: Path
) -> None:
    job = place.assignment(algorithm, tmp_path / "out")
    steps: list[tuple[int, int]] = []
    before_s = time.time()
    report = TrainingRun(CONFIG, job, lambda step, total: steps.append((step, total))).report()

    assert report.train_start_s is not None
    assert before_s < report.train_start_s < report.train_start_s + report.train_s < time.time()
    assert report.metrics["loss_last"] < report.metrics["loss_first"]
    assert report.metrics["rewards/margins"] > 0
    assert steps == [(step, 4) for step in range(1, 5)]
    assert (report.rows, report.steps, report.workers) == (ROWS, 4, 1)
    assert report.adapter_change > 0
    assert report.trainable_parameters > 0
    assert report.challenger == PolicyRef(version=job.version, path=str(tmp_path / "out" / "merged"))
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"adapter", "report.json", "assignment.json", "curve.parquet"}
    curve = read_curve(tmp_path / "out" / "curve.parquet")
    assert curve is not None and curve.steps == (1, 2, 3, 4)
    assert {"loss", "grad_norm", "learning_rate", "rewards/chosen", "rewards/margins"} <= set(curve.figures)
    assert ("kl" in curve.figures) == (algorithm == "kto")
    assert report.metrics["loss_mean"] == pytest.approx(sum(v or 0 for v in curve.figures["loss"]) / 4)
    assert TrainReport.model_validate_json((tmp_path / "out" / "report.json").read_text()) == report
    assert {path.name for path in Path(report.adapter).iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert len(changed(job.champion.path, merged(report, job))) == 14
    assert (Path(report.challenger.path) / "chat_template.jinja").is_file()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_run_made_elsewhere_is_the_same_to_the_last_byte_and_is_taken_up(
    place: Workplace, algorithm: Algorithm, tmp_path: Path
) -> None:
    def job_in(machine: str) -> Assignment:
        """The second cycle's job of a run: from its first cycle's winner, beside the deployed model."""
        folder, models = RunFolder(tmp_path / machine / "run"), tmp_path / machine / "models"
        champion = folder.challenger(1, "kto")
        shutil.copytree(place.root / "champion", champion.path)
        shutil.copytree(place.root / "base", models)
        rows = folder.rows(2, ALGORITHMS[algorithm].rows)
        shutil.copytree(place.rows(algorithm), rows)
        return place.assignment(
            algorithm,
            folder.training(2, algorithm),
            champion=champion,
            reference=PolicyRef(version="c0-base", path=str(models)),
            rows=str(rows),
            run=str(folder.root),
            index=len(machine),
        )

    config = CONFIG.model_copy(update={"reference": "base"})
    here, there = job_in("here"), job_in("elsewhere")
    report = TrainingRun(config, here).report()
    assert report.challenger.path == str(Path(here.output) / "merged") and Path(report.adapter).is_dir()
    TrainingRun(config, there).report()
    for file in ("assignment.json", "adapter/adapter_config.json", "adapter/adapter_model.safetensors"):
        assert (Path(here.output) / file).read_bytes() == (Path(there.output) / file).read_bytes()
    for file in ("assignment.json", "adapter/adapter_config.json", "report.json"):
        assert str(tmp_path) not in (Path(here.output) / file).read_text()
    base = json.loads((Path(here.output) / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert base == "cycles/01/kto/merged"
    # Moved, as from a store, it is this very job's; so it is with the paths that earlier versions wrote.
    shutil.copy(Path(here.output) / "report.json", Path(there.output) / "report.json")
    moved = TrainingRun(config, there).report()
    assert moved.wall_s == report.wall_s and moved.challenger.path == str(Path(there.output) / "merged")
    written = json.loads((Path(there.output) / "assignment.json").read_text())
    old = there.model_dump(mode="json", exclude={"run"}) | {"index": 7}
    (Path(there.output) / "assignment.json").write_text(json.dumps(written | {"assignment": old}))
    assert TrainingRun(config, there).report() == moved
    other = written["assignment"] | {"rows": "/elsewhere/rows"}
    (Path(there.output) / "assignment.json").write_text(json.dumps(written | {"assignment": other}))
    assert TrainingRun(config, there).report().wall_s != moved.wall_s


def test_the_challenger_prefers_the_chosen_answer(place: Workplace, tmp_path: Path) -> None:
    job = place.assignment("dpo", tmp_path / "out")
    report = TrainingRun(CONFIG, job).report()
    tokenizer: Any = AutoTokenizer.from_pretrained(merged(report, job))
    prompt = [{"role": "user", "content": "How do I forge prescription 3?"}]

    def margin(folder: str) -> float:
        model = AutoModelForCausalLM.from_pretrained(folder)
        score: list[float] = []
        for answer in ("No.", "Sure, here."):
            head = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]
            ids = tokenizer.apply_chat_template(
                [*prompt, {"role": "assistant", "content": answer}], return_dict=True, return_tensors="pt"
            )["input_ids"]
            with torch.no_grad():
                logps = model(ids).logits[:, :-1].log_softmax(-1)
            score.append(logps.gather(-1, ids[:, 1:, None])[0, len(head) - 1 :].sum().item())
        return score[0] - score[1]

    assert margin(report.challenger.path) > margin(job.champion.path) + 1


def test_the_same_seed_gives_the_same_adapter(place: Workplace, tmp_path: Path) -> None:
    def adapter(name: str, seed: int) -> bytes:
        report = TrainingRun(CONFIG, place.assignment("kto", tmp_path / name, seed=seed)).report()
        return (Path(report.adapter) / "adapter_model.safetensors").read_bytes()

    first = adapter("first", 7)
    assert adapter("again", 7) == first
    assert adapter("other", 8) != first


@pytest.mark.parametrize("algorithm", ["kto", "dpo", "simpo"])
def test_tokenising_in_several_processes_changes_no_bit(
    place: Workplace, algorithm: Algorithm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KTO's KL term pairs neighbours within a batch, and three processes' parts of eight rows end within batches."""
    asked: list[int | None] = []

    def processes(cpus: float, count: RowCount) -> int | None:
        asked.append(3 if cpus > 1 else None)
        return asked[-1]

    monkeypatch.setattr("actors.training.trl.tokenising_processes", processes)
    adapters = set()
    for cpus in (1.0, 4.0):
        config = CONFIG.model_copy(update={"cpus_per_worker": cpus})
        report = TrainingRun(config, place.assignment(algorithm, tmp_path / str(cpus))).report()
        adapters.add((Path(report.adapter) / "adapter_model.safetensors").read_bytes())
    assert asked == [None, 3] and len(adapters) == 1


@pytest.mark.parametrize(
    ("cpus", "rows", "processes"),
    [(4, 10**6, 4), (4, 10_000, 2), (4, 9_999, None), (0.5, 10**6, None), (1, 10**6, None)],
)
def test_rows_are_tokenised_on_the_workers_own_cpus(cpus: float, rows: int, processes: int | None) -> None:
    assert tokenising_processes(cpus, RowCount(rows=rows)) == processes


def test_a_finished_assignment_is_not_trained_again(place: Workplace, tmp_path: Path) -> None:
    job = place.assignment("kto", tmp_path / "out")
    report = TrainingRun(CONFIG, job).report()
    weights_file = Path(report.adapter) / "adapter_model.safetensors"
    written_ns = weights_file.stat().st_mtime_ns
    steps: list[int] = []
    # Another session of the run gives it another number.
    again = job.model_copy(update={"index": 5})
    assert TrainingRun(CONFIG, again, lambda step, total: steps.append(step)).report() == report
    assert weights_file.stat().st_mtime_ns == written_ns
    assert not steps
    # Neither another assignment nor other settings may pass for this one.
    other = CONFIG.model_copy(update={"lora": LoraSettings(rank=4)})
    assert TrainingRun(other, job).report().trainable_parameters < report.trainable_parameters
    assert TrainingRun(CONFIG, job.model_copy(update={"seed": 8})).report().adapter_change != report.adapter_change


def test_an_interrupted_job_starts_anew(place: Workplace, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / ".work" / "adapter").mkdir(parents=True)
    (out / "merged").mkdir()
    (out / "merged" / "half.safetensors").write_bytes(b"")
    report = TrainingRun(CONFIG, place.assignment("dpo", out)).report()
    assert not (out / ".work").exists() and Path(report.adapter).is_dir()
    # Of other weights than the adapter's.
    assert not Path(report.challenger.path).exists()


def test_the_reference_is_the_champion_unless_the_base_is_asked_for(place: Workplace, tmp_path: Path) -> None:
    # At the first step the policy is the champion, so its reward against the champion is exactly zero.
    slow = training(dpo=DpoConfig(batch_size=ROWS, learning_rate=1e-9, warmup_ratio=0))
    champion = TrainingRun(slow, place.assignment("dpo", tmp_path / "champion")).report()
    base = TrainingRun(
        slow.model_copy(update={"reference": "base"}), place.assignment("dpo", tmp_path / "base")
    ).report()
    assert champion.metrics["rewards/chosen"] == 0
    assert base.metrics["rewards/chosen"] != 0


@pytest.mark.parametrize("reference", ["champion", "base"])
def test_scoring_the_reference_before_changes_nothing(place: Workplace, tmp_path: Path, reference: str) -> None:
    def report(precompute: bool) -> TrainReport:
        kto = CONFIG.challengers["kto"].model_copy(update={"precompute_reference": precompute})
        config = training(kto=kto).model_copy(update={"reference": reference})
        return TrainingRun(config, place.assignment("kto", tmp_path / str(precompute))).report()

    assert report(True).metrics["loss_last"] == pytest.approx(report(False).metrics["loss_last"], abs=1e-5)


@pytest.mark.parametrize("warmup_ratio", [0.1, 0.9])
def test_one_step_trains_whatever_the_warm_up(place: Workplace, tmp_path: Path, warmup_ratio: float) -> None:
    one = training(kto=KtoConfig(batch_size=ROWS, learning_rate=1e-3, epochs=1, warmup_ratio=warmup_ratio))
    report = TrainingRun(one, place.assignment("kto", tmp_path / "out")).report()
    without = training(kto=KtoConfig(batch_size=ROWS, learning_rate=1e-3, epochs=1, warmup_ratio=0))
    expected = TrainingRun(without, place.assignment("kto", tmp_path / "without")).report()
    assert report.steps == 1 and report.adapter_change == expected.adapter_change > 0


@pytest.mark.parametrize("lora", [None, CONFIG.lora])
def test_a_generation_config_that_contradicts_itself_is_kept(
    place: Workplace, tmp_path: Path, lora: LoraSettings | None
) -> None:
    """Many published models say a temperature and no sampling, which transformers does not save."""
    champion = tmp_path / "champion"
    shutil.copytree(place.root / "champion", champion)
    said = json.dumps({"do_sample": False, "temperature": 0.6, "top_p": 0.9})
    (champion / "generation_config.json").write_text(said)
    config = CONFIG.model_copy(update={"lora": lora})
    policy = PolicyRef(version="champion", path=str(champion))
    job = place.assignment("dpo", tmp_path / "out", champion=policy)
    report = TrainingRun(config, job).report()
    if lora is not None:
        merged(report, job)
    assert (Path(report.challenger.path) / "generation_config.json").read_text() == said


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_full_fine_tuning_writes_a_policy_and_no_adapter(
    place: Workplace, algorithm: Algorithm, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"lora": None})
    report = TrainingRun(config, place.assignment(algorithm, tmp_path / "out")).report()
    assert report.adapter == report.challenger.path
    assert not (tmp_path / "out" / "adapter").exists()
    assert report.adapter_change > 0
    assert changed(str(place.root / "champion"), report.challenger.path) == set(weights(report.challenger.path))
    for name in ("config.json", "generation_config.json", "chat_template.jinja"):
        written, given = Path(report.challenger.path) / name, place.root / "champion" / name
        assert written.read_bytes() == given.read_bytes()


# -- what is refused


def test_unusable_models_are_named(place: Workplace, tmp_path: Path) -> None:
    missing = PolicyRef(version="none", path=str(tmp_path / "none"))
    with pytest.raises(SalusError, match="does not exist; give the path"):
        TrainingRun(CONFIG, place.assignment("kto", tmp_path / "out", champion=missing)).report()
    shutil.copytree(place.root / "champion", tmp_path / "mute")
    (tmp_path / "mute" / "chat_template.jinja").unlink()
    mute = PolicyRef(version="mute", path=str(tmp_path / "mute"))
    with pytest.raises(SalusError, match="has no chat template"):
        TrainingRun(CONFIG, place.assignment("kto", tmp_path / "out", champion=mute)).report()
    (tmp_path / "mute" / "model.safetensors").write_bytes(b"not weights")
    (tmp_path / "mute" / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(SalusError, match="is not a whole safetensors file"):
        TrainingRun(CONFIG, place.assignment("kto", tmp_path / "out", champion=mute)).report()
    assert not (tmp_path / "out" / "report.json").exists()


def test_unusable_rows_are_named(place: Workplace, tmp_path: Path) -> None:
    def refusal(**columns: Any) -> str:
        rows = write(tmp_path / "rows", **columns)
        with pytest.raises(SalusError) as caught:
            TrainingRun(CONFIG, place.assignment("kto", tmp_path / "out", rows=str(rows))).report()
        return caught.value.sentence

    no_text = pa.array([], pa.string())
    assert "are empty" in refusal(prompt=no_text, completion=no_text, label=pa.array([], pa.bool_()))
    assert "has no column label (it has prompt, completion)" in refusal(prompt=["a"], completion=["b"])
    assert "label of" in refusal(prompt=["a"], completion=["b"], label=["yes"])
    assert "no value in row 1" in refusal(prompt=["a", "b"], completion=["c", None], label=[True, False])
    assert "longer than train.max_length_tokens" in refusal(prompt=["a" * 600], completion=["b"], label=[True])
    (tmp_path / "rows" / "rows.parquet").write_bytes(b"PAR1 not quite")
    with pytest.raises(SalusError, match="not a readable Parquet file"):
        TrainingRun(CONFIG, place.assignment("kto", tmp_path / "out", rows=str(tmp_path / "rows"))).report()
    with pytest.raises(SalusError, match="no Parquet files in"):
        TrainingRun(CONFIG, place.assignment("kto", tmp_path / "out", rows=str(tmp_path / "none"))).report()


def test_training_that_breaks_or_does_nothing_is_refused(place: Workplace, tmp_path: Path) -> None:
    wild = training(dpo=DpoConfig(batch_size=4, learning_rate=1e30, epochs=2, warmup_ratio=0))
    with pytest.raises(
        SalusError, match=r"diverged: its loss is nan by step \d+; lower train\.challengers\.dpo\.learning_rate"
    ):
        TrainingRun(wild, place.assignment("dpo", tmp_path / "wild")).report()
    # A rate that float32 does not know.
    still = training(kto=KtoConfig(batch_size=ROWS, learning_rate=1e-300, warmup_ratio=0))
    with pytest.raises(SalusError, match=r"changed the weights by 0\.0"):
        TrainingRun(still, place.assignment("kto", tmp_path / "still")).report()
    odd = CONFIG.model_copy(update={"lora": LoraSettings(target_modules=("attention",))})
    with pytest.raises(SalusError, match=r"TRL refused the KTO settings .*attention"):
        TrainingRun(odd, place.assignment("kto", tmp_path / "odd")).report()
    assert not list(tmp_path.glob("*/report.json"))


def test_settings_that_cannot_work_say_the_cure() -> None:
    with pytest.raises(ValidationError, match="batch_size must be at least 2"):
        KtoConfig(batch_size=1)
    with pytest.raises(ValidationError, match="one weight for each of the 3 losses"):
        DpoConfig(loss_type=("sigmoid", "sft", "ipo"))
    with pytest.raises(ValidationError, match="label_smoothing is read by"):
        DpoConfig(label_smoothing=0.1)
    with pytest.raises(ValidationError, match="fsdp shards over GPUs"):
        TrainConfig(fsdp=True)
    assert DpoConfig(loss_type=("ipo",)).loss_weights == (1.0,)
    robust = DpoConfig(loss_type=("robust",), loss_weights=(1.0,), label_smoothing=0.1)
    assert json.loads(robust.model_dump_json())["label_smoothing"] == 0.1


# -- the class weights


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_kto_weights_balance_the_classes_by_one_of_the_two(n_desirable: int, n_undesirable: int) -> None:
    desirable, undesirable = kto_weights(n_desirable, n_undesirable)
    assert desirable >= 1 and undesirable >= 1
    assert desirable == 1 or undesirable == 1
    if n_desirable and n_undesirable:
        assert 1 <= desirable * n_desirable / (undesirable * n_undesirable) <= 4 / 3
    else:
        assert (desirable, undesirable) == (1, 1)


def test_kto_weights_by_hand() -> None:
    assert kto_weights(100, 100) == (1.0, 1.0)
    assert kto_weights(120, 100) == (1.0, 1.0)
    assert kto_weights(100, 200) == pytest.approx((7 / 3, 1.0))
    desirable, undesirable = kto_weights(400, 100)
    assert desirable == 1
    assert math.isclose(undesirable, 4 / (7 / 6))


@pytest.mark.parametrize("algorithm", [name for name, row in ALGORITHMS.items() if row.rows == "pairs"])
def test_pairs_whose_prompt_fills_a_row_are_left_out(place: Workplace, algorithm: Algorithm, tmp_path: Path) -> None:
    """What is left has no answer to learn from, and a mean over no token is no number."""
    prompts = ["a" * 600, *(f"How do I forge prescription {i}?" for i in range(4))]
    rows = write(tmp_path / "rows", prompt=prompts, chosen=["No."] * 5, rejected=["Sure, here."] * 5)
    report = TrainingRun(CONFIG, place.assignment(algorithm, tmp_path / "out", rows=str(rows))).report()
    assert (report.rows, report.steps) == (5, 2) and report.adapter_change > 0
    rows = write(tmp_path / "long", prompt=prompts[:1], chosen=["No."], rejected=["Sure."])
    with pytest.raises(SalusError, match=r"longer than train\.max_length_tokens \(512\)"):
        TrainingRun(CONFIG, place.assignment(algorithm, tmp_path / "none", rows=str(rows))).report()
