"""The endpoint's settings, and what it reserves in Ray."""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, model_validator

from actors.engine.config import EngineConfig, check_engine_extra, with_defaults
from actors.engine.extra import SERVER_ARGUMENTS
from actors.engine.tokenizer import check_asked_model
from actors.errors import SalusError
from actors.judges.guard_format import check_guard_format
from actors.serve.feedback.config import FeedbackConfig
from actors.serve.gateway.config import GatewayConfig
from actors.serve.guard.config import GuardConfig, guard_cpus, guard_gpus
from actors.serve.scaling import ReplicaScaling


class ReplicaEngineConfig(EngineConfig):
    """The engine of one replica."""

    usual_length: ClassVar[int] = 512
    extra_also: ClassVar[frozenset[str]] = SERVER_ARGUMENTS


# What vLLM imports to send traces.
TRACING = ("opentelemetry.sdk", "opentelemetry.exporter.otlp")


def has_packages(names: Iterable[str]) -> bool:
    """Whether all of these packages are installed; none of their modules but the parents is imported."""
    try:
        return all(find_spec(name) is not None for name in names)
    except ModuleNotFoundError:
        return False


Phrase = Annotated[str, Field(min_length=1, max_length=1000)]


class SmokePrompt(BaseModel):
    """One question and what a sound policy's reply is like."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field(min_length=1, max_length=20_000, description="What the user says.")
    expect: Literal["answer", "refuse"] | None = Field(
        default=None,
        description="The kind of reply, by the refusal rules (English); help under protest passes as either.",
    )
    # Phrases, not patterns: a user's pattern could run for ever on a reply.
    must_contain: tuple[Phrase, ...] = Field(default=(), description="Phrases that must all be in it, in any case.")
    must_not_contain: tuple[Phrase, ...] = Field(default=(), description="Phrases of which none may, in any case.")


class SmokeConfig(BaseModel):
    """The prompts, and how much of them must go well."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts: tuple[SmokePrompt, ...] = Field(min_length=1, max_length=100, description="Asked all at once, greedily.")
    max_tokens: int = Field(default=64, ge=1, description="The longest reply to one of them.")
    timeout_s: float = Field(default=30.0, gt=0, description="How long all of them together may take.")
    least_share: float = Field(default=1.0, gt=0, le=1, description="Share of the prompts whose replies must pass.")
    max_repetition: float = Field(
        default=0.5, gt=0, le=1, description="Share of a reply that may be said before in it; above, it loops."
    )


class CanaryConfig(BaseModel):
    """How many replicas go first, for how long, and what ends it.

    While they do, answers of both policies are given: a client may get one of the old policy after one of the new.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float = Field(default=0.1, gt=0, lt=1, description="Share of the replicas that go first, at least one.")
    seconds: float = Field(default=60.0, gt=0, description="How long they serve before the others follow.")
    answers: int | None = Field(
        default=None, ge=1, description="The others follow sooner, once this many answers were given; None: not before."
    )
    min_answers: int = Field(
        default=20,
        ge=1,
        description="Fewer than these of the canary, or of the others, are too few to compare how long answers take. "
        "An endpoint without requests publishes all the same, and says so.",
    )
    max_error_share: float = Field(
        default=0.02, ge=0, lt=1, description="Share of answers that may fail (5xx) beyond that of the other replicas."
    )
    max_slowdown: float = Field(
        default=2.0, gt=1, description="The canary's median time of an answer may be so many times the others'."
    )

    def replicas(self, of: int) -> int:
        """How many of so many replicas go first."""
        # Without the rounding, a share of 0.1 of 10 would be 2.
        return max(1, math.ceil(round(self.share * of, 9)))


class PublisherConfig(BaseModel):
    """The endpoint: where it listens, how many replicas of what size, how long it may take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(default=True, description="Whether a run publishes its champion at all.")
    registry: Path | None = Field(
        default=None,
        description="Folder of the policy registry that a run enters what it published in, or its address as"
        " s3://BUCKET/REGISTRY; None: none.",
    )
    approval: Literal["none", "required"] = Field(
        default="none",
        description="Whether a winner that passes every gate waits for a named person (salus policy approve) before it "
        "is served. The run goes on meanwhile; what was published before stays live.",
    )
    model_id: str = Field(default="salus", pattern=r"^[A-Za-z0-9_-]+$", description="The model name clients ask for.")
    host: str = Field(default="127.0.0.1", description="The address the endpoint listens on.")
    port: int = Field(default=8000, ge=1, le=65535, description="The port the endpoint listens on.")
    route: str = Field(
        default="/",
        pattern=r"^/([A-Za-z0-9_-]+)?$",
        description="The path under which the endpoint's /v1 is: /, or one of its own beside others of a cluster.",
    )
    replicas: int = Field(default=1, ge=1, description="Copies of the policy, each with an engine of its own.")
    autoscaling: ReplicaScaling | None = Field(
        default=None,
        description="Ray Serve's autoscaling, in the place of replicas: it adds copies under load and takes them away;"
        " None: always as many.",
    )
    proxy: Literal["serve", "haproxy"] = Field(
        default="serve", description="What listens: Serve's own proxy, or HAProxy, which costs a request far less."
    )
    trusted_proxies: tuple[IPvAnyNetwork, ...] = Field(
        default=(IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")),
        description="Networks of proxies before this endpoint, as 10.0.0.0/24; of any other address HAProxy takes at"
        " most 1,024 connections at a time.",
    )
    router: bool = Field(
        default=False,
        description="A router before the policy: one that cannot be swapped in place gets a second application beside"
        " the first, and takes over once it answers. For salus serve.",
    )
    router_replicas: int = Field(default=1, ge=1, description="Copies of the router, where there is one.")
    cpus_per_replica: float = Field(default=1.0, gt=0, description="Logical CPUs of one replica, all workers together.")
    gpus_per_replica: float = Field(default=0.0, ge=0, description="GPUs of one replica; a fraction shares one GPU.")
    tensor_parallel_size: int = Field(default=1, ge=1, description="Workers one replica's weights are split over.")
    max_model_len: int | None = Field(
        default=None,
        ge=16,
        description="Tokens of prompt and answer together; None: what the policy holds, at most 512.",
    )
    max_num_seqs: int = Field(default=64, ge=1, description="Answers one replica decodes at the same time.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32",
        description="Precision of the weights and of computing; 16 bits take half the memory. On a GPU bfloat16 unless"
        " set. A CPU without instructions for bfloat16 takes float32 in its place.",
    )
    enforce_eager: bool = Field(
        default=True, description="No graph capture or compilation: a faster start. On a GPU false unless set."
    )
    kv_cache_gib: float = Field(default=0.25, gt=0, description="KV cache of one replica on CPU.")
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1, description="Share of a GPU's memory vLLM may take.")
    engine_extra: dict[str, Any] = Field(
        default={},
        description="Further arguments of vLLM's engine and tool parser, by vLLM's own names; none that runs code.",
    )
    gateway: GatewayConfig = Field(
        default=GatewayConfig(open=True), description="Who may ask for what; anyone on a loopback address, unless set."
    )
    feedback: FeedbackConfig = Field(
        default=FeedbackConfig(), description="Whether clients' feedback and conversations are kept, and where."
    )
    guard: GuardConfig | None = Field(
        default=None, description="What judges every answer before it goes out, which costs latency; None: nothing."
    )
    engine_metrics: bool = Field(default=False, description="Export vLLM's metrics through Ray's Prometheus port.")
    otlp_traces_endpoint: str | None = Field(
        default=None,
        pattern=r"^(https?|grpc)://[^\s/]+\S*$",
        description="Where vLLM sends a trace of every answer, as http://collector:4317: times, counts of tokens and"
        " the answer's id, no text; None: nowhere.",
    )
    otlp_traces_protocol: Literal["grpc", "http/protobuf"] = Field(
        default="grpc", description="How the collector of traces is spoken to; over grpc without TLS."
    )
    start_timeout_s: float = Field(default=300.0, gt=0, description="From start to the first answer.")
    drain_timeout_s: float = Field(default=60.0, gt=0, description="How long a swap waits for running answers.")
    record_timeout_s: float = Field(
        default=10.0, gt=0, description="How long the record of the published policy may take to answer."
    )
    # Above the time of a load, or a replica that is done first would go back before the others are.
    hold_s: float = Field(
        default=120.0,
        gt=0,
        description="How long after a publisher's last word replicas follow the record again.",
    )
    health_check_period_s: float = Field(default=2.0, gt=0, description="How often replicas compare with the record.")
    shutdown_timeout_s: float = Field(
        default=5.0, gt=0, description="Time running requests get when the endpoint stops."
    )
    scheme: str | None = Field(
        default=None,
        description="The inference scheme of this name, as the policy's run measured it: its system prompt, its words"
        " behind a request, its examples. A policy whose run did not measure it is refused. Takes chats alone. For"
        " salus serve. None: as clients ask.",
    )
    smoke: SmokeConfig | None = Field(
        default=None,
        description="Prompts that a new policy must answer well on one replica before clients are served by it; "
        "meanwhile clients of that replica wait.",
    )
    canary: CanaryConfig | None = Field(
        default=None,
        description="A share of the replicas that serve a new policy before all do, so that answers of both are given; "
        "None: all at once.",
    )

    @property
    def url(self) -> str:
        """The base address of the endpoint; `/v1` follows."""
        return f"http://{self.host}:{self.port}{self.route.rstrip('/')}"

    @property
    def first_replicas(self) -> int:
        """How many replicas the endpoint starts with."""
        return self.replicas if self.autoscaling is None else self.autoscaling.first_replicas

    @property
    def least_replicas(self) -> int:
        """How many there always are."""
        return self.replicas if self.autoscaling is None else self.autoscaling.min_replicas

    @property
    def most_replicas(self) -> int:
        """How many there may be, for which resources are planned."""
        return self.replicas if self.autoscaling is None else self.autoscaling.max_replicas

    @property
    def engine(self) -> ReplicaEngineConfig:
        """The engine of one replica."""
        return ReplicaEngineConfig(
            device="cuda" if self.gpus_per_replica else "cpu",
            dtype=self.dtype,
            max_model_len=self.max_model_len,
            max_num_seqs=self.max_num_seqs,
            tensor_parallel=self.tensor_parallel_size,
            gpu_memory_utilization=self.gpu_memory_utilization,
            kv_cache_gib=self.kv_cache_gib,
            threads=max(1, int(self.cpus_per_replica)),
            enforce_eager=self.enforce_eager,
            extra=self.engine_extra,
        )

    @model_validator(mode="after")
    def _extra_is_vllms(self) -> Self:
        if self.engine_extra:
            check_engine_extra(self.engine_extra, "cuda" if self.gpus_per_replica else "cpu", SERVER_ARGUMENTS)
        return self

    @model_validator(mode="after")
    def _traces_can_be_sent(self) -> Self:
        if self.otlp_traces_endpoint is not None and not has_packages(TRACING):
            raise ValueError(
                f"publish.otlp_traces_endpoint needs {' and '.join(TRACING)}, which are not installed here; install"
                " opentelemetry-sdk and opentelemetry-exporter-otlp, or leave the setting out"
            )
        return self

    @model_validator(mode="after")
    def _approval_has_a_registry(self) -> Self:
        if self.enabled and self.approval == "required" and self.registry is None:
            raise ValueError(
                "publish.approval 'required' needs publish.registry, where a policy waits and its approval is recorded"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _made_for_gpus(cls, given: Any) -> Any:
        return with_defaults(given, lambda settings: settings.get("gpus_per_replica") not in (None, 0, "0"))

    @model_validator(mode="after")
    def _gpus_fit_workers(self) -> Self:
        shared = 0 < self.gpus_per_replica < 1 and self.tensor_parallel_size == 1
        if self.gpus_per_replica and not shared and self.gpus_per_replica != self.tensor_parallel_size:
            raise ValueError(
                f"gpus_per_replica={self.gpus_per_replica:g} does not fit "
                f"tensor_parallel_size={self.tensor_parallel_size}; make them equal, or share one GPU with a "
                "fraction below 1 and tensor_parallel_size=1"
            )
        return self

    @model_validator(mode="after")
    def _trial_fits(self) -> Self:
        least = self.least_replicas
        if self.canary is not None and (first := self.canary.replicas(least)) >= least:
            count = "replicas" if self.autoscaling is None else "autoscaling.min_replicas"
            raise ValueError(
                f"canary.share={self.canary.share:g} of {count}={least} is {first}, which leaves none with "
                f"the old policy to compare with; raise {count}, lower the share, or leave canary out"
            )
        if self.smoke is not None and self.smoke.timeout_s >= self.hold_s:
            raise ValueError(
                f"smoke.timeout_s={self.smoke.timeout_s:g} is not below hold_s={self.hold_s:g}, after which a replica "
                "goes back to the old policy; raise hold_s or lower the timeout"
            )
        if self.smoke is not None and self.smoke.max_tokens >= self.engine.longest:
            raise ValueError(
                f"smoke.max_tokens={self.smoke.max_tokens} leaves no room for a prompt in "
                f"max_model_len={self.engine.longest}; lower it"
            )
        return self


def check_lengths(config: PublisherConfig, policy: Path) -> None:
    """Refuse an endpoint whose settings ask for more tokens than its models hold: the policy's, and the guard's.

    Raises:
        SalusError: names the setting, the model's folder and both numbers; or the guard's folder is no model.
    """
    length = config.engine.length(policy, "publish")
    if config.smoke is not None and config.smoke.max_tokens >= length:
        raise SalusError(
            f"publish.smoke.max_tokens={config.smoke.max_tokens} leaves no room for a prompt in the {length} tokens of"
            f" an engine of {policy}; lower it."
        )
    if config.guard is not None and (guard := config.guard.folder) is not None:
        check_asked_model(guard)
        if config.guard.kind == "guard":
            check_guard_format(guard, config.guard.prompt_version, "publish.guard.prompt")
        config.guard.engine.length(guard, "publish.guard.engine")


def publisher_cpus(config: PublisherConfig) -> float:
    """Logical CPUs the endpoint may reserve: all replicas and the guard; controller, proxy and record reserve none."""
    return config.most_replicas * config.cpus_per_replica + guard_cpus(config.guard) if config.enabled else 0.0


def publisher_gpus(config: PublisherConfig) -> float:
    """GPUs the endpoint may reserve in Ray."""
    return config.most_replicas * config.gpus_per_replica + guard_gpus(config.guard) if config.enabled else 0.0
