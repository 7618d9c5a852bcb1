"""Every decision of a run made again from the judgments it kept: why a policy went live can be checked years later.

A decision record holds its own rule's settings, marks and seed. Beside it, the judgments and the trusted labels of the
cycle (`control.parquet`) are needed. The records of earlier cycles say what alpha was left. Where a record holds the
probe's figures, the answers to its prompts are needed, too.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from actors.contract.records import PromptSet, Record
from actors.contract.run_folder import RunFolder
from actors.errors import SalusError
from actors.files.shards import read_folder
from pipelines.config.decision import DecisionConfig
from pipelines.config.difference import Difference, differences
from pipelines.config.recipe import Recipe
from pipelines.config.scores import ScoreTable
from pipelines.decision.alpha import Alpha, share_of_alpha
from pipelines.decision.control import read_control
from pipelines.decision.decide import decide
from pipelines.decision.ending import past_decisions
from pipelines.decision.of_run import with_probe
from pipelines.decision.published import probe_evidence
from pipelines.decision.record import Contender, Decision
from pipelines.runs.finished.shape import recipe_of_run

# What records of earlier versions do not have, which is no difference.
_LATER = re.compile(
    r"metrics\.(attack_success|cut_off|answered|accepted_severe|not_refused_severe|counted)\b|comparison\.(clusters|lower_end)$"
    r"|\b(correction|alpha|alpha_spent|alpha_left|detectable_gain_80|harmless_base_prompts|largest_err_that_could_pass)$"
)


# The rule's settings, and the marks.
Rule = tuple[DecisionConfig, ScoreTable]


class AuditedDecision(Record):
    """One cycle's decision as it was recorded, and as the same judgments give it now."""

    recorded: Decision
    now: Decision

    @property
    def same_choice(self) -> bool:
        """Whether the same policy is chosen, and published or not, whatever the figures say."""
        return (self.recorded.chosen, self.recorded.publish) == (self.now.chosen, self.now.publish)

    @property
    def differences(self) -> list[Difference]:
        """Every field that is another now, by its dotted name; none where the record is what the judgments give."""
        pairs = zip(self.recorded.challengers, self.now.challengers, strict=True)
        found = list(differences(_fields(self.recorded), _fields(self.now)))
        for then, now in pairs:
            found += differences(then.model_dump(mode="json"), now.model_dump(mode="json"), then.name)
        return [each for each in found if each.known is not None or not _LATER.search(each.name)]


def audit(folder: RunFolder) -> list[AuditedDecision]:
    """Every decision of a run, in order.

    Raises:
        SalusError: it is no run, has decided nothing yet, or what a decision rests on cannot be read.
    """
    decisions = _decisions(folder, recipe_of_run(folder))
    return [audit_cycle(folder, each.cycle) for each in decisions]


def audit_cycle(folder: RunFolder, cycle: int, rule: Rule | None = None) -> AuditedDecision:
    """The decision of one cycle.

    Args:
        folder: of the run.
        cycle: counted from 1.
        rule: settings and marks to decide by in place of those on record.

    Raises:
        SalusError: as `audit` does, or the cycle is not decided yet.
    """
    recipe = recipe_of_run(folder)
    decisions = _decisions(folder, recipe)
    if cycle > len(decisions):
        raise SalusError(
            f"Cycle {cycle} of {folder.root} has no decision; its last is that of cycle {len(decisions)}. Name that or"
            " an earlier one, or run salus evaluate first."
        )
    recorded = decisions[cycle - 1]
    asked = recorded if rule is None else recorded.model_copy(update={"config": rule[0], "table": rule[1]})
    return AuditedDecision(recorded=recorded, now=_again(folder, recipe, asked, _alpha(asked, decisions[: cycle - 1])))


def _decisions(folder: RunFolder, recipe: Recipe) -> list[Decision]:
    decisions = past_decisions(folder, recipe.cycles)
    if not decisions:
        raise SalusError(f"{folder.root} has no decision yet; audit it once its first cycle is done.")
    return decisions


def answers_of(folder: RunFolder, recipe: Recipe, recorded: Decision) -> dict[Contender, pa.Table]:
    """The judged answers that a decision was made on, by contender; none of a challenger whose training failed.

    Raises:
        SalusError: they cannot be read, or the record does not name its policies.
    """
    judged = [each for each in recorded.challengers if each.standing not in ("training_failed", "no_rows")]
    return {each.name: _judgments(folder, recipe, recorded, each.policy) for each in (recorded.champion, *judged)}


def _again(folder: RunFolder, recipe: Recipe, recorded: Decision, alpha: Alpha | None) -> Decision:
    """The same rule, settings and seed on the judgments that the run keeps."""
    judged = answers_of(folder, recipe, recorded)
    champion = judged.pop("champion")
    # Whose training failed, and how, no judgment tells.
    failed = {result.name: result.sentence for result in recorded.challengers if result.name not in judged}
    config = recorded.config
    if recorded.correction is None:
        # A record of an earlier version, whose rule asked for no trusted labels.
        config = config.model_copy(update={"publish_uncorrected": True})
    rule = (recorded.table, config, recorded.seed)
    control = read_control(folder.control(recorded.cycle))
    live = _judgments(folder, recipe, recorded, recorded.published) if recorded.published is not None else None
    now = decide(recorded.cycle, champion, judged, *rule, failed, recorded.capability, control, alpha, live)
    # Another choice than the recorded one was never asked the probe's prompts.
    if (asked := recorded.probe) is not None and now.policy == asked.policy:
        answers = (_judgments(folder, recipe, recorded, who, "probe") for who in (asked.published, asked.policy))
        now = with_probe(now, probe_evidence(asked.probe, *answers))
    # What the endpoint found of the choice, no judgment tells either.
    kept: dict[str, object] = {"ended": recorded.ended, "publication": recorded.publication, "config": recorded.config}
    if recorded.correction is None:
        kept["publish_sentence"] = (
            recorded.publish_sentence if now.publish == recorded.publish else now.publish_sentence
        )
    now = now.held_for_approval() if recorded.approval is not None else now
    return now.model_copy(update=kept)


def _alpha(recorded: Decision, before: list[Decision]) -> Alpha | None:
    """What the cycle may spend, by the earlier records; None for a record of an earlier version."""
    if recorded.alpha is None:
        return None
    # In equal parts over cycles that the recipe may have got more of since: at most what was left.
    found = share_of_alpha(recorded.config, before, len(before) + 1)
    if recorded.config.spending == "equal":
        return replace(found, cycle=min(recorded.alpha, found.cycle))
    return found


def _judgments(
    folder: RunFolder, recipe: Recipe, recorded: Decision, policy: str | None, prompts: PromptSet = "validation"
) -> pa.Table:
    """The judgments of a policy's answers that the decision was made on."""
    champion, version = recorded.champion.policy, policy
    if champion is None or version is None:
        raise SalusError(f"{folder.decision(recorded.cycle)} does not name its policies; take it from a copy.")
    if recipe.judge.row.champion_judges:
        return read_folder(folder.evaluation_judgments(prompts, version, champion))
    return read_folder(_only(folder.evaluation_judgments(prompts, version, "*")))


def _only(pattern: Path) -> Path:
    """The one folder of a judge that stays the same over the run."""
    found = sorted(pattern.parent.glob(pattern.name))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise SalusError(f"{pattern.parent} should hold the judgments of one judge and holds {names}.")
    return found[0]


def _fields(decision: Decision) -> dict[str, object]:
    return decision.model_dump(mode="json", exclude={"challengers"})
