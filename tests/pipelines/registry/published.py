"""A run that published its deployed model and two challengers, with real tiny weights, as its actors would leave it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from actors.contract.publication import Publication
from actors.contract.records import ChallengerName
from actors.contract.run_folder import RunFolder
from actors.files.shards import write_table, write_text
from actors.judges.rules import RULES_JUDGE
from actors.training.adapter import merge
from pipelines.config.load import load_recipe, save_recipe
from pipelines.data.row_order import DPO_SCHEMA, KTO_SCHEMA
from pipelines.decision.decide import decide
from pipelines.judges.gate import JudgeTrust
from pipelines.runs.checksums import write_sums
from pipelines.runs.open import RunRecord
from tests.pipelines.finished import BY_RULES, LOOSE, PROMPTS, answers, finish
from tests.pipelines.judges.calibrated import Sharpness, drawn, report_of
from tests.tiny_adapter import make_tiny_adapter
from tests.tiny_model import make_tiny_model

SETTINGS = (*BY_RULES, LOOSE)
# What a careless judge's name or reason could carry into a page.
HOSTILE = "a <script>alert(1)</script> [link](http://evil.example) ![x](y) | `code` **bold** @team www.evil.example"
VERSIONS = ("c0-base", "c1-kto", "c2-dpo")


def publish_run(root: Path, base: Path, hidden: int = 32) -> RunFolder:
    """Cycle 1 won by KTO, cycle 2 by DPO, all published; `base` receives the deployed model, `hidden` wide."""
    folder = RunFolder(root)
    finish(load_recipe("demo", [*SETTINGS, "cycles=1"]), root, {})
    second: dict[ChallengerName, pa.Table] = {"dpo": answers("c2-dpo", PROMPTS)}
    recipe = load_recipe("demo", [*SETTINGS, "cycles=2"])
    decision = decide(2, answers("c1-kto", PROMPTS // 3), second, recipe.scores, recipe.decide, 0)
    assert (decision.chosen, decision.publish) == ("dpo", True)
    write_text(decision.model_dump_json(), folder.decision(2))
    write_table(second["dpo"], folder.evaluation_judgments("validation", "c2-dpo", RULES_JUDGE) / "part-00000.parquet")
    write_table(answers("c1-kto", 0), folder.judgments(2) / "part-00000.parquet")
    save_recipe(recipe, folder.recipe)
    make_tiny_model(base, seed=0, hidden=hidden)
    _trained(folder, 1, "kto", base)
    _trained(folder, 2, "dpo", folder.training(1, "kto") / "merged")
    _publications(folder, base)
    record = RunRecord(
        packages={"torch": "2.13.0"}, python="3.11", machine="Linux", git_revision="a" * 40, policy_path=str(base)
    )
    write_text(record.model_dump_json(), folder.run_record)
    write_text(JudgeTrust(trusted=False, note=HOSTILE).model_dump_json(), folder.judge_trust)
    report_of(drawn(200, Sharpness())).write(folder.judge_calibration)
    write_sums(folder)
    return folder


def _trained(folder: RunFolder, cycle: int, algorithm: ChallengerName, champion: Path) -> None:
    out = folder.training(cycle, algorithm)
    make_tiny_adapter(champion, out / "adapter", seed=cycle)
    merge(champion, out / "adapter", out / "merged")
    schema = KTO_SCHEMA if algorithm == "kto" else DPO_SCHEMA
    texts = {"completion": "Sure.", "label": False} if algorithm == "kto" else {"chosen": "No.", "rejected": "Sure."}
    levels = enumerate((0, 3, 3, None))
    rows = [{"prompt": f"question {i}", **texts, "level": level, "order": str(i)} for i, level in levels]
    place = folder.cycle(cycle) / "rows" / algorithm / "00000.parquet"
    write_table(pa.Table.from_pylist(rows, schema=schema), place)


def _publications(folder: RunFolder, base: Path) -> None:
    paths = [str(base), folder.challenger(1, "kto").path, folder.challenger(2, "dpo").path]
    lines = [
        Publication(
            version=version,
            path=path,
            cycle=cycle,
            published_at=f"2026-11-22T00:0{cycle}:00.000+00:00",
            swap_s=0.1,
            replicas=1,
            previous=VERSIONS[cycle - 1] if cycle else None,
        ).model_dump_json()
        for cycle, (version, path) in enumerate(zip(VERSIONS, paths, strict=True))
    ]
    write_text("\n".join(lines) + "\n", folder.publications)
