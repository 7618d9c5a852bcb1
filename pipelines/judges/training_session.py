"""`salus judge train` on Ray: first the training workers, then the judge pool that measures what they made."""

from __future__ import annotations

import uuid

from actors.contract.records import JudgeAssignment, JudgeTraining
from actors.training.config import JudgeTrainConfig
from actors.training.judge_loop import run_judge_training
from pipelines.cluster.demand import judge_training_demand
from pipelines.cluster.plan import plan_of
from pipelines.cluster.progress import Reporter
from pipelines.cluster.session import session
from pipelines.judges.pool import judging
from pipelines.judges.training import JudgeJob, train_judge
from pipelines.judges.training_report import JudgeTrainReport


def train_judge_on_ray(job: JudgeJob, reporter: Reporter) -> JudgeTrainReport:
    """As `train_judge`, with Ray Train and the recipe's judge pool; each has the machine to itself.

    Raises:
        SalusError: either does not fit, or one of them failed.
    """

    def train(config: JudgeTrainConfig, assignment: JudgeAssignment) -> JudgeTraining:
        bar = reporter.bar("training the judge", None, "steps")
        try:
            return run_judge_training(config, assignment, bar.at)
        finally:
            bar.close()

    phases = [plan_of(job.recipe, rows) for rows in judge_training_demand(job.recipe)]
    with session(job.recipe, f"salus-judge-{uuid.uuid4().hex[:8]}", phases):
        return train_judge(job, train, lambda: judging(job.recipe, job.base, reporter))
