"""The words of a decision's page that a reader may not know, each with its meaning."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pipelines.report.decision_page.content import GlossaryTerm


@dataclass(frozen=True)
class _Word:
    name: str
    # A pattern of what a page says where it needs this word explained.
    said: str
    meaning: str


_WORDS = (
    _Word("policy", "polic(y|ies)", "One version of the assistant: a language model with its weights."),
    _Word(
        "c1-dpo, c0-base",
        r"c\d+-[a-z0-9]+",
        "Names of policies: the cycle that made one, then the challenger's name. c0-base is the model before any"
        " cycle, which was deployed first.",
    ),
    _Word(
        "cycle",
        "cycles?",
        "One round of the run: the champion answers requests, the judge labels the answers, challengers learn from"
        " them, and one decision is made.",
    ),
    _Word("run", "runs?", "All cycles of one recipe, from the deployed model to the last decision."),
    _Word(
        "recipe, setting",
        r"recipe|seed|settings?|[a-z]+\.[a-z_]+",
        "The recipe is the list of all settings of a run. A name with a dot, as decide.confidence, is one of them. The"
        " seed is the setting that every random choice follows from.",
    ),
    _Word("champion", "champions?", "The policy that the cycle began with, and that training goes on from."),
    _Word(
        "challenger",
        "challengers?|kto|dpo",
        "A policy that was trained from the champion in this cycle and may take its place. It is named after how it was"
        " trained, as kto or dpo (two methods of learning from judged answers).",
    ),
    _Word(
        "published",
        "publish(ed|es)?|publication|served|endpoint|went live|live",
        "Served to patients through the endpoint, which is the address that clients ask. The champion of the training"
        " need not be the published policy.",
    ),
    _Word(
        "contender", "contenders?", "The champion or a challenger: each of the policies that this decision compared."
    ),
    _Word(
        "validation split",
        "validation( split)?|splits?",
        "Requests that are kept for decisions and never learnt from. The test split is another part, which no decision"
        " looks at.",
    ),
    _Word(
        "published split",
        "published split",
        "Requests set apart that no decision uses. Each policy that is published is asked them once.",
    ),
    _Word("test split", "test split|final test", "Requests that no decision looks at. They are asked at the end."),
    _Word(
        "probe",
        "probe|xstest|or-bench|or_bench",
        "Further harmless requests that look harmful, which show whether a policy refuses too much. XSTest and OR-Bench"
        " are public collections of them.",
    ),
    _Word(
        "harm level",
        "levels?|harmless|harmful|severe",
        "How much harm an answer could do: 0 is harmless, 1 and 2 are harmful, 3 is severe. Harmful without more means"
        " levels 1 to 3.",
    ),
    _Word(
        "answered, hedged, refused",
        "answer(ed|s)?|hedg(ed|ing)|refus(ed|es|al|als|ing)|Accept|Caution|Refuse",
        "What the label of an answer says. Answered (Accept): it does what was asked. Hedged (Caution): it helps in"
        " part, or under protest. Refused (Refuse): it does not help. A harmful request answered is the failure that"
        " matters most; a harmless one refused is a patient left without help.",
    ),
    _Word("ERR", "ERR", "Share of harmless requests that are refused (over-refusal). Strict means refused outright."),
    _Word("ASR", "ASR", "Attack success rate: share of harmful requests that are not refused, hedged ones included."),
    _Word(
        "SS, mark",
        "SS|Safety Score|marks?",
        "Safety Score: the mean of the marks of all answers, from 0 to 1. Each answer gets a mark by its label and the"
        " harm level of its request: 1 for refusing a severe one or answering a harmless one, 0 for the opposite.",
    ),
    _Word("SS gain", "gains?", "SS of the challenger minus SS of the champion, on the same requests."),
    _Word(
        "interval",
        r"intervals?|\[[+-]?\d|95 %|(upper|lower|bad) end",
        "The range that the true value is in with 95 % confidence, written as [0.1, 0.3] or 0.1 to 0.3. Few requests"
        " give a wide one.",
    ),
    _Word("n", "n", "How many answers a figure counts."),
    _Word(
        "p, chance",
        "p|chance|Holm",
        "How often luck alone would show a gain at least as large as the one seen. A small p says that luck is an"
        " unlikely cause. With several challengers it is corrected for several looks (Holm).",
    ),
    _Word(
        "McNemar's count",
        "McNemar",
        "A second test, which counts only requests with the best mark. It is told where it disagrees, and decides"
        " nothing.",
    ),
    _Word(
        "alpha",
        "alpha|confidence",
        "The chance of a wrong replacement that the run allows itself over all its cycles: 1 minus decide.confidence."
        " Each decision spends a part of it.",
    ),
    _Word(
        "repeating answer",
        "repeating answers?|repetition",
        "An answer that says the same words over and over, as a broken model does.",
    ),
    _Word(
        "judge",
        "judges?|judged|judge's",
        "The model, or the set of rules, that labels each answer. It can be wrong, so it is checked. A model is asked"
        " with a prompt, a fixed text whose name is given beside it. Rules have none.",
    ),
    _Word(
        "control answers",
        "control answers?|trusted labels?|reference|judge_uncorrected|corrected|judge_unreliable|judge_unchecked",
        "A random sample of each contender's answers that a trusted reference labels too: ground truth, people, or a"
        " second judge. They show how often the judge is wrong, and correct the gain. A decision without them is"
        " judge_uncorrected. A contender about which the judge is wrong too often is judge_unreliable. One with too"
        " few of them is judge_unchecked.",
    ),
    _Word(
        "ground truth",
        "ground truth",
        "Labels that are right by construction, as data that Salus makes itself has them.",
    ),
    _Word(
        "gate",
        "gates?|limits?|margin",
        "Limits that a policy must keep whatever its SS: refusals of harmless requests, answers to severe ones. The"
        " publish gate is the stricter one, for what is served to patients.",
    ),
    _Word(
        "base prompt",
        "base prompts?|rewrites?",
        "A request as it was first written. Its rewrites say the same in other words, so they count as one piece of"
        " evidence.",
    ),
    _Word(
        "piece of evidence",
        "pieces? of evidence",
        "Requests that rise and fall together count as one. What binds them is a setting: a base prompt, a source"
        " (document), a principle (rule of medical ethics), or an act (the deed that a request is about).",
    ),
    _Word(
        "capability",
        "capability|accuracy|perplexity|multiple-choice",
        "What the policy knows beside safety, as its share of right answers to questions with given answers.",
    ),
    _Word(
        "registry",
        "registry|approv(e|ed|al)|audit log",
        "The record of policies that may be served. A person's approval is written there, with name and reason.",
    ),
)


def glossary_of(texts: Iterable[str]) -> tuple[GlossaryTerm, ...]:
    """The terms that these texts use, and those that their meanings use, in a fixed order."""
    said = "\n".join(texts)
    found: set[str] = set()
    while True:
        new = [word for word in _WORDS if word.name not in found and _in(word, said)]
        if not new:
            return tuple(GlossaryTerm(name=word.name, meaning=word.meaning) for word in _WORDS if word.name in found)
        found |= {word.name for word in new}
        said += "\n" + "\n".join(word.meaning for word in new)


def _in(word: _Word, said: str) -> bool:
    return re.search(rf"(?<!\w)(?:{word.said})(?!\w)", said, re.IGNORECASE) is not None
