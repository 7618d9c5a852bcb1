"""A second judge as the reference: it must be another than the run's own, and its record says whether it was measured.

Two judges that are wrong in the same way agree, and the check would pass. So the second one may share no rules, code
or server with the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow as pa

from actors.contract.records import ROLLOUT_SCHEMA, Label, PolicyRef
from actors.errors import SalusError
from actors.files.shards import read_folder
from actors.judges.regimens import REGIMENS, check_voices
from pipelines.cluster.progress import Reporter
from pipelines.config.judge import JudgeConfig
from pipelines.config.recipe import Recipe
from pipelines.judges.evidence import rules_on_xstest
from pipelines.judges.gate import JudgeTrust, UnreliableJudge, hold_judge, read_calibration
from pipelines.judges.pool import JudgeShards, judging, judgment_tasks

# A recipe's judge, brought up on a Ray that is up (`pipelines.judges.pool.judging`).
OpenJudge = Callable[[Recipe, PolicyRef | None, Reporter], AbstractContextManager[JudgeShards]]


def by_second_judge(recipe: Recipe) -> Recipe:
    """The recipe with its second judge in place of its own; it must name one."""
    control = recipe.decide.control
    assert control.judge is not None
    return recipe.model_copy(update={"judge": control.judge.as_judge(), "harmfulness": None})


def hold_second_judge(recipe: Recipe) -> JudgeTrust | None:
    """Whether the second judge's labels may be taken for trusted ones; None where the recipe asks it nothing.

    Raises:
        SalusError: it is the run's own judge, what it judges with is not here, or it was not measured and the recipe
            does not accept that.
    """
    if recipe.control_reference != "judge" and recipe.judge.truth != "judge":
        return None
    second = by_second_judge(recipe)
    check_voices(second.judge)
    shared = sorted(set(_sources(recipe.judge)) & set(_sources(second.judge)))
    if shared:
        raise SalusError(
            f"decide.control.judge ({second.judge.regimen}) judges with what the run's own judge"
            f" ({'+'.join(recipe.judge.voices)}) judges with ({shared[0]}), so that both err alike; name another judge."
        )
    try:
        return hold_judge(second, read_calibration(second) or rules_on_xstest(second))
    except UnreliableJudge as refusal:
        raise SalusError(
            f"decide.control.judge is not to be trusted: {refusal.reason}. Set decide.control.judge.calibration to what"
            " `salus judge calibrate` wrote of it, or decide.control.judge.accept_unreliable to true, which every"
            " decision then says."
        ) from refusal


def told_second_judge(recipe: Recipe) -> str:
    """The second judge as records name it: that it is a judge, which one, and whether it is calibrated.

    Raises:
        SalusError: as `hold_second_judge`.
    """
    trust, judge = hold_second_judge(recipe), by_second_judge(recipe).judge
    measured = "calibrated" if trust is not None and trust.trusted else "not calibrated"
    return f"judge {judge.name(None)}, {measured}"


def second_labels(
    recipe: Recipe, rows: pa.Table, out: Path, reporter: Reporter, opened: OpenJudge = judging
) -> list[Label | None]:
    """The second judge's label of each answer; None where it gave none. Ray must be up.

    Labels on disk of the same answers by the same judge are taken, so that no server is paid twice.

    Args:
        recipe: names the second judge.
        rows: answers, with the columns of `ROLLOUT_SCHEMA`.
        out: receives `rollouts/` and `judgments/`.
        reporter: is told of progress.
        opened: brings the judge up.

    Raises:
        SalusError: the judge cannot be started, or its server refuses.
    """
    second = by_second_judge(recipe)
    rollouts = rows.select(ROLLOUT_SCHEMA.names).cast(ROLLOUT_SCHEMA)
    known = _known(second.judge, rollouts, out)
    if known is None:
        tasks = judgment_tasks(second, rollouts, out, None)
        with opened(second, None, reporter) as judge_shards:
            judge_shards(tasks)
        known = _known(second.judge, rollouts, out)
        if known is None:
            raise SalusError(f"The labels in {out / 'judgments'} are not those of the control answers; run it again.")
    return known


def _known(judge: JudgeConfig, rollouts: pa.Table, out: Path) -> list[Label | None] | None:
    """The labels on disk, in the order of the answers; None where they are of other answers, or of another judge."""
    if not any((out / "judgments").glob("*.parquet")):
        return None
    judged = read_folder(out / "judgments")
    if judged["judge"].unique().to_pylist() != [judge.name(None)]:
        return None
    if judged["judge_prompt"].unique().to_pylist() != [judge.prompt_version]:
        return None
    same = all(judged[name].equals(rollouts[name]) for name in ("rollout_id", "answer"))
    labels: list[Label | None] = judged["label"].to_pylist()
    return labels if same else None


def _sources(judge: JudgeConfig) -> Iterator[str]:
    """What each voice judges with, beside weights: a server's model, or code."""
    for voice in judge.voices:
        row = REGIMENS[voice]
        code = row.code(judge)
        if row.server is not None:
            yield row.server(judge).rstrip("/")
        elif code is not None:
            yield str(code)
        elif row.name is not None:
            yield row.name(judge)
