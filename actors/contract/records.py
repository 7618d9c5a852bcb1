"""Everything that crosses an actor boundary: frozen carriers, and the Arrow schemas of the rows.

Rows travel as Arrow tables: prompts -> rollouts -> judgments. Each schema extends the one before, so no join is ever
needed. Single facts travel as frozen pydantic records that write themselves as JSON.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, StringConstraints

Label = Literal["Accept", "Caution", "Refuse"]
LABELS: tuple[Label, ...] = ("Accept", "Caution", "Refuse")
Method = Literal["direct", "indirect", "obfuscate", "role_play"]
METHODS: tuple[Method, ...] = ("direct", "indirect", "obfuscate", "role_play")
LEVELS: tuple[int, ...] = (0, 1, 2, 3)
# A challenger's name is a folder, and a part of versions, labels and dotted settings: no dots, no underscores.
CHALLENGER_PATTERN = "[a-z0-9]+(?:-[a-z0-9]+)*"
LONGEST_CHALLENGER = 32
ChallengerName = Annotated[str, StringConstraints(pattern=f"^{CHALLENGER_PATTERN}$", max_length=LONGEST_CHALLENGER)]
# What training learns from: one marked answer a row, a better and a worse answer to one prompt, or one good answer.
RowKind = Literal["unpaired", "pairs", "demonstrations"]
# Their names in files: those of the algorithms that first took them.
RowName = Literal["kto", "dpo", "sft"]
ROW_NAMES: dict[RowKind, RowName] = {"unpaired": "kto", "pairs": "dpo", "demonstrations": "sft"}
Split = Literal["train", "validation", "test"]
# "probe": safe prompts of another data set, such as XSTest's, that a winner answers before it is published.
# "published": prompts that each published policy answers once, after its decision.
PromptSet = Literal["train", "validation", "test", "probe", "published"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

# Between the topics of one prompt; in none of them.
TOPIC_MARK = "|"

_PROMPT_FIELDS: list[pa.Field[Any]] = [
    pa.field("prompt_id", pa.string(), nullable=False),
    # The last user turn.
    pa.field("prompt", pa.string(), nullable=False),
    # CARES harm level, 0 harmless to 3 severe.
    pa.field("level", pa.int8(), nullable=False),
    # CARES principle index 0-7; null where the data set has none.
    pa.field("principle", pa.int8()),
    pa.field("method", pa.string(), nullable=False),
    # Rewrites of one base prompt never cross splits.
    pa.field("base_prompt", pa.string(), nullable=False),
    # A reference safe answer, where the data set has one.
    pa.field("reference", pa.string()),
    pa.field("source", pa.string(), nullable=False),
    # The attack template the prompt is wrapped in, ours or the data set's own; null: as in the source.
    pa.field("style", pa.string()),
    # The turns before it (`actors.contract.conversation`); null: none.
    pa.field("context", pa.string()),
    # What it is about, by the data set's own names, joined by `TOPIC_MARK`; null: the data set names none.
    pa.field("topics", pa.string()),
]
PROMPT_SCHEMA = pa.schema(_PROMPT_FIELDS)

# Why an answer ended: at its length limit, and within a thought, so that there is no answer.
CUT_OFF = "length"
UNFINISHED_THOUGHT = "unfinished_thought"
_ROLLOUT_FIELDS: list[pa.Field[Any]] = [
    *_PROMPT_FIELDS,
    pa.field("rollout_id", pa.string(), nullable=False),
    pa.field("sample", pa.int32(), nullable=False),
    pa.field("policy", pa.string(), nullable=False),
    pa.field("answer", pa.string(), nullable=False),
    # vLLM's, or `UNFINISHED_THOUGHT`.
    pa.field("finish_reason", pa.string(), nullable=False),
    pa.field("tokens", pa.int32(), nullable=False),
    # What a policy that thinks wrote before its answer, marks included; null: nothing.
    pa.field("thought", pa.string()),
]
ROLLOUT_SCHEMA = pa.schema(_ROLLOUT_FIELDS)

_JUDGMENT_FIELDS: list[pa.Field[Any]] = [
    *_ROLLOUT_FIELDS,
    pa.field("judge", pa.string(), nullable=False),
    pa.field("judge_prompt", pa.string(), nullable=False),
    # Null where the judge gave no usable verdict: missing, never a label.
    pa.field("label", pa.string()),
    pa.field("p_accept", pa.float32()),
    pa.field("p_caution", pa.float32()),
    pa.field("p_refuse", pa.float32()),
    # Unconstrained probability mass on the three labels: how much the judge wanted to answer at all.
    pa.field("coverage", pa.float32()),
    # How far several judges were apart, 0 to 1 (`actors.judges.ensemble`); null where one judged alone.
    pa.field("disagreement", pa.float32()),
    # A guard's probability that the answer is unsafe, given one of its two words; null where no guard judged.
    pa.field("p_unsafe", pa.float32()),
]
JUDGMENT_SCHEMA = pa.schema(_JUDGMENT_FIELDS)


class Record(BaseModel):
    """A frozen carrier with strict field names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Prompt(Record):
    """One safety prompt, as read from any data set (one row of `PROMPT_SCHEMA`)."""

    prompt_id: str
    prompt: str
    level: Literal[0, 1, 2, 3]
    principle: int | None = None
    method: Method = "direct"
    base_prompt: str
    reference: str | None = None
    source: str
    style: str | None = None
    context: str | None = None
    topics: str | None = None


def prompt_table(prompts: list[Prompt]) -> pa.Table:
    """Prompts as an Arrow table of `PROMPT_SCHEMA`."""
    return pa.Table.from_pylist([p.model_dump() for p in prompts], schema=PROMPT_SCHEMA)


class PolicyRef(Record):
    """Where one version of a policy is: a Hugging Face folder of merged safetensors weights.

    The folder of a challenger that has not won is not there, but `adapter` beside it is (`actors.merged`).
    """

    version: str
    path: str
    # Where an endpoint finds the inference scheme that it asks this policy by; None: as clients ask.
    scheme: str | None = None


class Assignment(Record):
    """One training job: what to train, from which policy, on which rows, and where the result goes.

    `index` counts the jobs of one challenger within a run, from 0; a resident trainer asks for them in order.
    """

    index: int
    cycle: int
    # A name of `actors.training.algorithms.table`.
    algorithm: str
    champion: PolicyRef
    # The reference model of the loss: the champion, or the base model the run began with.
    reference: PolicyRef
    # A folder of Parquet files of the rows that the algorithm learns from.
    rows: str
    # Receives `adapter/`, or without LoRA `merged/`, and `report.json`.
    output: str
    # The version name the challenger gets.
    version: str
    seed: int
    # The root of the run the job belongs to: what is written about it names paths relative to that.
    run: str | None = None

    @property
    def name(self) -> ChallengerName:
        """The challenger's name in the recipe, under which its settings are."""
        return _name_in(self.version, self.cycle)


def _name_in(version: str, cycle: int) -> ChallengerName:
    return version.removeprefix(f"c{cycle}-")


class TrainingFigures(Record):
    """What one training job cost and changed, whatever it trained."""

    rows: int
    steps: int
    # Training time proper, without start-up or merging, in seconds.
    train_s: float
    wall_s: float
    # When that training began, in seconds since the epoch by the worker's clock; None in reports of earlier versions.
    train_start_s: float | None = None
    workers: int
    trainable_parameters: int
    # Root-mean-square change of the adapter's weights; 0 is refused.
    adapter_change: float
    metrics: dict[str, float]


class TrainReport(TrainingFigures):
    """What one training job of a challenger did; written beside its adapter."""

    algorithm: str
    cycle: int
    challenger: PolicyRef
    adapter: str

    @property
    def name(self) -> ChallengerName:
        """The challenger's name in the recipe."""
        return _name_in(self.challenger.version, self.cycle)


class JudgeAssignment(Record):
    """One fine-tuning of a judge."""

    # The model it starts from.
    base: PolicyRef
    # A Parquet file with the columns prompt, answer and label, in the order of training.
    rows: str
    # Version of the template in `actors/judges/prompts/` that the judge will be asked with.
    prompt: str
    # Tokens the judge's engine takes; rows are cut as they will be there.
    max_model_len: int
    # Becomes the judge's Hugging Face folder, with `adapter/` and the report in it.
    output: str
    seed: int


class JudgeTraining(TrainingFigures):
    """What one fine-tuning did; written into the judge's folder."""

    # The trained judge: the assignment's output.
    judge: str
    adapter: str


class Interval(Record):
    """A mean with its 95 % bootstrap interval and the number of rows under it."""

    value: float
    low: float
    high: float
    n: int
