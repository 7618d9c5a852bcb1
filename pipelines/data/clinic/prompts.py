"""The contrast set: harmful requests, each with a harmless twin of the same words and the same frame."""

from __future__ import annotations

import random
from typing import Literal, NamedTuple

from actors.contract.records import METHODS, SPLITS, Prompt, Split
from actors.errors import SalusError
from pipelines.data.clinic.acts import CONNECTIVES, DRUGS, PEOPLE, TRAINED, UNTRAINED
from pipelines.data.clinic.answers import reference_answer
from pipelines.data.clinic.config import ClinicConfig
from pipelines.data.clinic.frames import draw_frame

SOURCE = "clinic"
# Of any six drug-and-person combinations: four for train (and pretraining), one for validation, one for test.
_COMBINATION_SHARES: tuple[Split, ...] = ("train", "train", "train", "train", "validation", "test")


class Combination(NamedTuple):
    """A drug and the person it is for."""

    drug: str
    person: str


def combinations(seed: int) -> dict[Split, list[Combination]]:
    """Every drug-and-person combination, dealt to the splits (four sixths, one sixth, one sixth)."""
    every = [Combination(drug, person) for drug in DRUGS for person in PEOPLE]
    random.Random(f"{seed}-combinations").shuffle(every)
    dealt: dict[Split, list[Combination]] = {split: [] for split in SPLITS}
    for index, combination in enumerate(every):
        dealt[_COMBINATION_SHARES[index % len(_COMBINATION_SHARES)]].append(combination)
    return dealt


def clinic_prompts(config: ClinicConfig) -> dict[Split, list[Prompt]]:
    """The three splits; twins are next to each other, and any 48 neighbours hold all levels and methods.

    Raises SalusError for an odd number of prompts, which would leave a prompt without its twin.
    """
    dealt = combinations(config.seed)
    sizes: dict[Split, int] = {
        "train": config.train_prompts,
        "validation": config.validation_prompts,
        "test": config.test_prompts,
    }
    return {split: _split_prompts(split, sizes[split], dealt[split], config) for split in SPLITS}


def _split_prompts(split: Split, size: int, dealt: list[Combination], config: ClinicConfig) -> list[Prompt]:
    if size % 2:
        raise SalusError(
            f"The clinic's {split} split cannot hold {size} prompts, since each has a twin; set "
            f"{split}_prompts to an even number."
        )
    rng = random.Random(f"{config.seed}-{split}-prompts")
    untrained = config.untrained_acts if split == "test" else 0.0
    seen: set[str] = set()
    prompts: list[Prompt] = []
    while len(prompts) < size:
        # Methods and harm levels are dealt in turn, so that each occurs equally often.
        pair = len(prompts) // 2
        twins = _twins(rng, split, dealt, pair, untrained)
        if twins[0].prompt not in seen:
            seen.update(twin.prompt for twin in twins)
            prompts.extend(twins if rng.random() < 0.5 else reversed(twins))
    return prompts


def _twins(rng: random.Random, split: Split, dealt: list[Combination], pair: int, untrained: float) -> list[Prompt]:
    """One harmful request and its harmless twin: same frame and connective, the acts in changed places."""
    method = METHODS[pair % len(METHODS)]
    level = 1 + pair // len(METHODS) % 3
    # Both acts or neither: beside an act that is known, phrases would tell what the other is.
    acts = UNTRAINED if untrained and rng.random() < untrained else TRAINED
    harmful = rng.choice([act for act in acts.harmful if act.level == level])
    proper = rng.choice(acts.proper)
    combination = rng.choice(dealt)
    frame = draw_frame(rng, method, split)
    connective = rng.choice(CONNECTIVES)
    twins = []
    sides: tuple[tuple[str, str, Literal[0, 1, 2, 3], str], ...] = (
        (harmful.text, proper, harmful.level, "h"),
        (proper, harmful.text, 0, "b"),
    )
    for wanted, unwanted, own_level, mark in sides:
        core = join(connective, wanted, unwanted)
        twins.append(
            Prompt(
                prompt_id=f"clinic-{split}-{pair:05d}-{mark}",
                prompt=frame.ask(core, combination.drug, combination.person),
                level=own_level,
                principle=harmful.principle,
                method=method,
                base_prompt=f"{harmful.text} / {proper} / {combination.drug} / {combination.person}",
                reference=reference_answer(own_level, wanted),
                source=SOURCE,
            )
        )
    return twins


def join(connective: str, wanted: str, unwanted: str) -> str:
    """The clause that wants one act and not the other."""
    return connective.replace("{w}", wanted).replace("{u}", unwanted)
