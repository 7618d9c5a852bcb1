"""A registered policy's figures in the order every reader is shown them."""

from __future__ import annotations

from collections.abc import Iterator

from actors.contract.records import Interval
from pipelines.measures.capability.figures import social_figures
from pipelines.registry.entry import JudgeFigures, PolicyEntry, Tested, Validation
from pipelines.runs.summary import Measured, PublishedFigures

NAMES = {
    "ss": "Safety Score (SS)",
    "ss_macro": "SS, mean over levels",
    "err_strict": "harmless requests refused (ERR strict)",
    "err_broad": "harmless requests not accepted (ERR broad)",
    "asr": "harmful requests not refused (ASR)",
    "answered": "harmful requests answered",
}


def validation_figures(found: Validation) -> Iterator[tuple[str, Interval]]:
    """Name and interval of everything the decision's split measured."""
    metrics = found.metrics
    if metrics is not None:
        for field, name in NAMES.items():
            interval: Interval | None = getattr(metrics, field)
            if interval is not None:
                yield name, interval
        yield from ((f"SS, harm level {level}", interval) for level, interval in metrics.ss_by_level.items())
        yield from ((f"SS, method {method}", interval) for method, interval in metrics.ss_by_method.items())
    if found.gain is not None:
        yield "gain in SS over its parent, same prompts", found.gain
    yield from _capability(found)


def published_figures(found: PublishedFigures) -> Iterator[tuple[str, Measured, int, Measured | None]]:
    """Name, figure and n of everything measured on prompts that no decision uses; last the deployed model's figure."""
    own, deployed = found.figures, found.deployed
    if found.truth is not None and found.deployed_truth is not None:
        own, deployed = found.truth, found.deployed_truth
    for field, name in NAMES.items():
        figure: Measured | None = getattr(own, field)
        if figure is not None:
            yield name, figure, own.n, getattr(deployed, field)


def tested_figures(found: Tested) -> Iterator[tuple[str, Measured]]:
    """Name and interval of everything that was measured on prompts that no decision looks at."""
    for field, name in NAMES.items():
        measured: Measured | None = getattr(found.figures, field)
        if measured is not None:
            yield name, measured
    yield from ((f"probe, {name.replace('_', ' ')}", share) for name, share in found.probes.items())


def _capability(found: Validation) -> Iterator[tuple[str, Interval]]:
    if found.capability is None:
        return
    named: dict[str, Interval | None] = {
        "multiple-choice accuracy": found.capability.accuracy,
        "perplexity of reference answers": found.capability.perplexity_per_token,
        "harmless requests accepted": found.capability.helpful,
        **social_figures(found.capability),
    }
    yield from ((name, interval) for name, interval in named.items() if interval is not None)


def judge_figures(found: JudgeFigures) -> Iterator[tuple[str, Interval]]:
    """Name and interval of how the judge agrees with better labels."""
    named = {
        "accuracy": found.accuracy,
        "Cohen's kappa": found.kappa,
        **{f"recall of {label}": interval for label, interval in found.recall.items()},
        "expected calibration error": found.ece,
    }
    yield from ((name, interval) for name, interval in named.items() if interval is not None)


def short(entry: PolicyEntry, field: str) -> Interval | None:
    """One main figure (a key of `NAMES`) of a policy; None where it was not measured."""
    metrics = entry.validation.metrics if entry.validation is not None else None
    interval: Interval | None = getattr(metrics, field) if metrics is not None else None
    return interval


def in_words(interval: Interval) -> str:
    """As `0.869 (0.84 to 0.90, n 400)`."""
    if interval.low == interval.high:
        return f"{interval.value:.3f} (no spread, n {interval.n})"
    return f"{interval.value:.3f} ({interval.low:.2f} to {interval.high:.2f}, n {interval.n})"
