"""The red team of a cycle: an attacker rewrites harmful train prompts, the champion answers, the judge says what won.

    train prompts --attacker--> rewrites --champion, judge--> attempts --not refused--> prompts of the next cycle

Held-out topics and styles are never attacked, nor is any prompt that the run measures policies by. Each step leaves
files, so a cycle that was stopped goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.contract.records import JUDGMENT_SCHEMA, PROMPT_SCHEMA, PolicyRef, Record
from actors.contract.seeds import derive_seed
from actors.files.records import find_record
from actors.files.shards import read_folder, read_shard, strings, write_table, write_text
from actors.generator import RolloutTask
from actors.judges.judge import JudgmentTask
from pipelines.alignment.run import Run
from pipelines.alignment.streamed import streamed
from pipelines.cluster.demand import attacking
from pipelines.cluster.pools import spawn
from pipelines.cluster.stream import ShardTask, stream
from pipelines.cluster.times import Work
from pipelines.config.preference import RedTeamConfig
from pipelines.data.attacks.rewriting import attacked, attempts_table, instructions, rewritten, wrapped
from pipelines.data.sets.attack_files import read_attack_templates
from pipelines.data.shards import write_prompt_shards
from pipelines.data.split import group_key
from pipelines.runs.materials import gather_policy
from pipelines.runs.prompts.lengths import asked_lengths
from pipelines.runs.prompts.sets import evaluated_keys

ATTACKER = "attacker"
# The label of an attempt that failed.
_FAILED = "Refuse"


class RedTeamReport(Record):
    """What a cycle's attacks came to; `red_team/report.json` of the cycle."""

    # Train prompts that were attacked.
    attacked: int
    # Different attempts that the champion answered, and those left out as known.
    attempts: int
    repeated: int
    # Attempts with a label, and those of them that were not refused.
    judged: int
    successful: int
    # Sampled by attacker and champion together.
    tokens: int

    def sentence(self) -> str:
        """For a line of output."""
        rate = f" ({self.successful / self.judged:.0%})" if self.judged else ""
        return (
            f"red team: {self.successful} of {self.judged} attempts on {self.attacked} prompts were not refused{rate},"
            f" {self.tokens:,} tokens"
        )


def red_team(run: Run, cycle: int, champion: PolicyRef) -> list[Work]:
    """Attack the champion, and write what succeeds as prompts of the next cycle; nothing where no team is asked for.

    Returns when each engine worked.

    Raises:
        SalusError: an attacker cannot be started, or its templates cannot be read.
    """
    config, folder = run.recipe.red_team, run.folder.red_team(cycle)
    done = folder / "report.json"
    if config is None or find_record(RedTeamReport, done, "a red team's report", "delete its folder") is not None:
        return []
    targets = _targets(run, cycle, config)
    work, spent, answers = _rewrites(run, cycle, config, targets)
    originals = {row["prompt_id"]: row for row in targets.to_pylist()}
    rows = rewritten(originals, answers)
    if config.templates is not None:
        styles = read_attack_templates(Path(config.templates).expanduser())
        seed = derive_seed(run.recipe.seed, "red team", cycle)
        rows += wrapped(originals.values(), styles, config.attempts, seed)
    attempts, repeated = attempts_table(rows, _known(run, cycle), cycle)
    # The champion's answers have what the attacker left over.
    answer = run.recipe.generate.greedy().max_tokens
    affordable = max(0, config.max_tokens - spent) // answer
    attempts = _fitting(
        attempts, champion, run.recipe.generate.engine.length(Path(champion.path), "generate.engine") - answer
    ).slice(0, affordable)
    tasks = _attempt_tasks(run, folder, attempts, champion)
    report = streamed(run, f"cycle {cycle} red team", tasks)
    judged = _judged(folder, attempts.num_rows)
    won = judged.filter(pc.and_(pc.is_valid(judged["label"]), pc.not_equal(judged["label"], pa.scalar(_FAILED))))
    if won.num_rows:
        write_table(won.select(PROMPT_SCHEMA.names), folder / "prompts" / f"red-team-{cycle:02d}.parquet")
    found = RedTeamReport(
        attacked=targets.num_rows,
        attempts=attempts.num_rows,
        repeated=repeated,
        judged=judged.num_rows - judged["label"].null_count,
        successful=won.num_rows,
        tokens=spent + _tokens(judged),
    )
    write_text(found.model_dump_json(indent=2), done)
    run.reporter.say(f"cycle {cycle}: {found.sentence()}")
    return [*work, *report.work]


def _targets(run: Run, cycle: int, config: RedTeamConfig) -> pa.Table:
    """The harmful prompts of the cycle's own share of the train split that are attacked."""
    data = run.recipe.data
    own = [read_shard(shard, PROMPT_SCHEMA) for shard in run.train_shards(cycle)]
    wrapped_out = data.styles.held_out if data.styles is not None else ()

    def may_attack(row: Any) -> bool:
        return not data.held_out.holds_out(row["topics"], row["style"]) and row["style"] not in wrapped_out

    seed = derive_seed(run.recipe.seed, "red team", cycle)
    return attacked(pa.concat_tables(own), config.prompts, seed, may_attack)


def _rewrites(
    run: Run, cycle: int, config: RedTeamConfig, targets: pa.Table
) -> tuple[list[Work], int, list[tuple[str, str]]]:
    """The attacker's answers, as pairs of a prompt's id and a text; when it worked, and the tokens that it took."""
    folder = run.folder.red_team(cycle)
    local = attacking(run.recipe)
    attacker = gather_policy(local, run.reporter).model_copy(update={"version": ATTACKER})
    asked = _fitting(
        instructions(targets),
        attacker,
        config.engine.length(Path(attacker.path), "red_team.engine") - config.rewrite_tokens,
    )
    if not asked.num_rows:
        return [], 0, []
    write_prompt_shards(iter(asked.to_batches()), folder / "asked", run.recipe.data.prompts_per_shard)
    tasks = [
        RolloutTask(
            policy=attacker,
            prompts=str(shard),
            output=str(folder / "rewrites" / shard.name),
            sampling=config.sampling,
            seed=derive_seed(run.recipe.seed, "rewrite", cycle),
        )
        for shard in sorted((folder / "asked").glob("*.parquet"))
    ]
    work: list[Work] = []
    spent, answers = 0, list[tuple[str, str]]()
    pools = None
    try:
        # So many at once as there are attackers: what they have spent is known before the next begin.
        for start in range(0, len(tasks), config.actors):
            if spent >= config.max_tokens:
                break
            some = tasks[start : start + config.actors]
            waiting = [task for task in some if not Path(task.output).is_file()]
            if waiting:
                if pools is None:
                    pools = spawn(local, attacker, None, generate=True, label=False)
                    pools.wait(run.recipe.cluster.wait_s)
                work += stream([_alone(task) for task in waiting], pools.generators, ()).work
                run.check_lease()
            for task in some:
                table = pq.read_table(task.output)
                spent += _tokens(table)
                answers += zip(strings(table, "prompt_id"), strings(table, "answer"), strict=True)
    finally:
        if pools is not None:
            pools.close()
    return work, spent, answers


def _tokens(answers: pa.Table) -> int:
    return int(answers["tokens"].to_numpy().sum())


def _alone(task: RolloutTask) -> ShardTask:
    """A shard that is generated and not judged."""
    return ShardTask(rollout=task, judgment=JudgmentTask(rollouts=task.output, output=f"{task.output}.judged"))


def _known(run: Run, cycle: int) -> set[str]:
    """Texts that are no attempts: prompts of the train split, what the run measures, and earlier cycles' successes."""
    known = evaluated_keys(run.folder)
    folders = [run.folder.prompts("train"), *(run.folder.red_team(c) / "prompts" for c in range(1, cycle))]
    for folder in folders:
        if any(folder.glob("*.parquet")):
            known.update(group_key(text) for text in strings(read_folder(folder, ("prompt",)), "prompt"))
    return known


def _fitting(prompts: pa.Table, policy: PolicyRef, room: int) -> pa.Table:
    """The prompts that have at most `room` tokens, as this policy is asked them."""
    return prompts.filter(pa.array([length <= room for length in asked_lengths(prompts, policy)], pa.bool_()))


def _attempt_tasks(run: Run, folder: Path, attempts: pa.Table, champion: PolicyRef) -> Sequence[ShardTask]:
    if not attempts.num_rows:
        return []
    write_prompt_shards(iter(attempts.to_batches()), folder / "attempts", run.recipe.data.prompts_per_shard)
    return [
        run.task(champion, champion, shard, folder / "rollouts", folder / "judgments", seed=0, greedy=True)
        for shard in sorted((folder / "attempts").glob("*.parquet"))
    ]


def _judged(folder: Path, rows: int) -> pa.Table:
    """The judged attempts; without rows where nothing was tried."""
    if rows:
        return read_folder(folder / "judgments")
    return JUDGMENT_SCHEMA.empty_table()
