"""The recipe: every setting of a run, and the rules that hold between sections."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from actors.contract.decides import Decides
from actors.contract.records import ChallengerName
from actors.contract.run_folder import MERGE
from actors.judges.harmfulness import HarmfulnessConfig
from actors.judges.regimens import REGIMENS, regimens
from actors.serve.config import PublisherConfig
from actors.training.algorithms.table import ALGORITHMS
from actors.training.config import TrainConfig
from actors.training.merging.config import MergeConfig
from pipelines.config.capability import CapabilityConfig
from pipelines.config.cluster import ClusterConfig
from pipelines.config.data import DataConfig
from pipelines.config.decision import ControlReference, DecisionConfig
from pipelines.config.judge import JudgeConfig
from pipelines.config.model import GenerateConfig, ModelConfig, SchemeConfig
from pipelines.config.preference import PreferenceConfig, RedTeamConfig, SftConfig
from pipelines.config.scores import ScoreTable
from pipelines.config.section import Section
from pipelines.data.clinic.config import ClinicConfig
from pipelines.data.medsafety.config import MedsafetyConfig

# Each has its row in `pipelines.report.tracking.port`.
TrackerName = Literal["mlflow", "wandb", "tensorboard", "trackio"]


class Recipe(Section):
    """One run, in the order its sections are used."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]*$", description="how the recipe is called in reports, and in its runs' folders"
    )
    seed: int = Field(7, ge=0, description="decides every random choice of the run")
    cycles: int = Field(
        3,
        ge=1,
        description="rounds of generating, judging, training and deciding",
    )
    self_contained: Annotated[bool, Decides.NOTHING] = Field(
        False,
        description="keep copies of the deployed policy and the judge's model in the run folder, so that any machine"
        " can go on with the run. Off, as it costs their size there and in the run's store",
    )
    model: ModelConfig
    data: DataConfig
    generate: GenerateConfig = GenerateConfig()
    judge: JudgeConfig
    sft: SftConfig | None = Field(
        None,
        description="supervised fine-tuning before the cycles. What it makes is the first champion; the deployed policy"
        " stays what all are compared with. None: the cycles begin with the deployed policy",
    )
    preference: PreferenceConfig = PreferenceConfig()
    red_team: RedTeamConfig | None = Field(
        None,
        description="attacks on each cycle's champion, whose successes are asked again and learnt from; None: none",
    )
    train: TrainConfig = TrainConfig()
    merge: MergeConfig | None = Field(
        None,
        description="a further challenger in each cycle, called merge: those that were trained, merged into one. None:"
        " none is made",
    )
    scores: ScoreTable = ScoreTable()
    decide: DecisionConfig = DecisionConfig()
    capability: CapabilityConfig | None = Field(
        None, description="what else a policy must not lose to be published; None: not measured"
    )
    harmfulness: HarmfulnessConfig | None = Field(
        None,
        description="MedSafetyBench's harmfulness, 1 to 5, of base's and champion's answers to harmful test prompts, by"
        " the judge (of several, the first). Refusal rules give 1, 2 or 5. Reported, never selected by; None: not"
        " measured",
    )
    schemes: dict[ChallengerName, SchemeConfig] = Field(
        {},
        max_length=8,
        description="other ways to ask base and last champion on the test split, by name: a system prompt, words behind"
        " the request, votes of several answers, examples. Each is a row with its tokens, and none is selected by",
    )
    publish: Annotated[PublisherConfig, Decides.NOTHING] = PublisherConfig()
    cluster: Annotated[ClusterConfig, Decides.NOTHING] = ClusterConfig()
    tracking: Annotated[tuple[TrackerName, ...], Decides.NOTHING] = Field(
        (),
        description="trackers that are told of every optimizer step, cycle, decision and artefact, each by its own"
        " client, which its own environment variables set up. Prompts and answers are not told",
    )
    clinic: ClinicConfig = ClinicConfig()
    medsafety: MedsafetyConfig = MedsafetyConfig()

    @property
    def contestants(self) -> tuple[ChallengerName, ...]:
        """Who may replace the champion: the challengers that are trained, and the one that is merged of them."""
        return (*self.train.challengers, *((MERGE,) if self.merge is not None else ()))

    @property
    def shown_system_prompt(self) -> str | None:
        """The deployed system prompt, where the judge reads it before each conversation."""
        return self.model.system_prompt if self.judge.reads_system_prompt else None

    @property
    def has_ground_truth(self) -> bool:
        """Whether the true label of the deployed policy's answers is known by construction."""
        return self.judge.truth == self.model.source == "clinic"

    @property
    def control_reference(self) -> ControlReference | None:
        """Who labels a sample of the contenders' answers in each cycle; None: no one does."""
        control = self.decide.control
        if not control.per_contender:
            return None
        if control.reference != "auto":
            return control.reference
        if self.has_ground_truth:
            return "truth"
        return "judge" if control.judge is not None else None

    @property
    def _keeps_labels(self) -> bool:
        """Whether reviewers' labels are beside the registry; one in a store has policies alone."""
        return self.publish.registry is not None and ":/" not in str(self.publish.registry)

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        engine = self.generate.engine
        if self.generate.longest_answer >= engine.longest:
            raise ValueError(
                "generate.sampling.max_tokens leaves no room for a prompt in generate.engine.max_model_len"
                f" ({engine.longest}); raise the latter"
            )
        if self.judge.truth == "clinic" and self.data.source != "clinic":
            raise ValueError("judge.truth 'clinic' is known only for data.source 'clinic'; set it to null")
        if not self.preference.judged:
            for name, row in ((name, ALGORITHMS[of].rows) for name, of in self.train.algorithms.items()):
                if row == "unpaired" and self.preference.egida_pairs and not self.preference.egida_pairs.unpaired:
                    raise ValueError(
                        f"challenger {name} learns from single rows, and preference.judged false makes none; set"
                        " preference.egida_pairs.unpaired to true, or leave the challenger out"
                    )
        if self.red_team is not None and (self.cluster.placement == "by_turns" or not self.preference.judged):
            raise ValueError(
                "red_team goes with cluster.placement apart, where attackers have a place of their own, and with"
                " preference.judged true, as its successes are answered and learnt from"
            )
        asks_toxicity = self.capability is not None and self.capability.toxicity is not None
        if asks_toxicity and all(REGIMENS[voice].rule is not None for voice in self.judge.voices):
            raise ValueError(
                f"capability.toxicity needs a judge that reads what an answer says, and {self.judge.regimen} finds"
                " refusals alone. Set judge.regimen to GUARD or another model, or leave it out"
            )
        control = self.decide.control
        if self.judge.truth == "judge" and control.judge is None:
            raise ValueError(
                "judge.truth 'judge' needs decide.control.judge, the outside judge: its regimen, as REMOTE, and what"
                " that needs"
            )
        if control.reference == "truth" and not self.has_ground_truth:
            raise ValueError(
                "decide.control.reference 'truth' needs answers of the clinic's own policy (model.source and"
                " judge.truth 'clinic'); set it to judge or people"
            )
        if control.reference == "people" and control.labels is None and not self._keeps_labels:
            raise ValueError(
                "decide.control.reference 'people' needs the folder where reviewers' labels are kept: set"
                " decide.control.labels to that of the endpoint's pages (pages.labels)"
            )
        if self.train.reference == "base" and self.train.lora is None:
            raise ValueError("train.reference 'base' with full fine-tuning is not supported; set train.lora")
        if self.decide.correction == "none" and len(self.contestants) > 2:
            raise ValueError(
                f"decide.correction 'none' with {len(self.contestants)} challengers would let chance replace the"
                " champion too often; set it to holm, or name two challengers at most"
            )
        if self.cluster.placement == "by_turns" and (shared := sorted(self.cluster.shared)):
            raise ValueError(
                f"cluster.{shared[0]} is for actors that stay up, and with cluster.placement by_turns they end; set it"
                " to null"
            )
        if self.cluster.shared_judges is not None and self.judge.row.champion_judges:
            raise ValueError(
                f"cluster.shared_judges goes with a judge that stays the same, and {self.judge.regimen} changes with"
                " the champion; set it to null"
            )
        if self.merge is not None:
            self.merge.check(tuple(self.train.challengers), self.train.lora is not None)
        if self.publish.scheme is not None:
            raise ValueError(
                "publish.scheme is for salus serve: a run measures its schemes at its end, after it published; leave it"
                " out"
            )
        if self.publish.router:
            raise ValueError("publish.router is for salus serve: a run never changes its base model; leave it false")
        if self.harmfulness is not None and not self.judge.row.scores_numbers:
            # Those whose model Salus runs itself come first.
            able = regimens(lambda row: row.scores_numbers)
            *some, last = sorted(able, key=lambda name: (REGIMENS[name].weights is None, name))
            raise ValueError(
                f"harmfulness needs a judge that gives a number (of several, the first), and {self.judge.regimen} does"
                f" not. Set judge.regimen to {', '.join(some)} or {last}, or harmfulness to null"
            )
        return self
