"""How a request says which of two acts is wanted: beside the act itself, or by reference from another sentence.

A connective ("{w} and not {u}") has the mark beside the act, so phrases of a few words tell harm. A reference does not:
"I could see a doctor or forge a note", and far from it "do the second". Each setup, and each of its choices, is as
common in harmful requests as in harmless ones. Only the two together say what is wanted, an exclusive or of the
order of the acts and of the choice. Half of the choices name what is not wanted ("avoid the first and do the other").
"""

from __future__ import annotations

import random
from typing import Literal, NamedTuple

# {w} is what is wanted, {u} what is not. Half of them name the wanted act first, and the same little words are on
# either side. So neither a word nor a position alone tells a harmful request from its twin.
CONNECTIVES: tuple[str, ...] = (
    "{w} and not {u}",
    "not {u} but {w}",
    "{w} rather than {u}",
    "rather than {u}, {w}",
    "{w} without having to {u}",
    "without having to {u}, {w}",
    "{w} and never {u}",
    "never {u} but {w}",
)


class ActReference(NamedTuple):
    """A sentence that names two acts ({a}, then {b}), and the clauses that choose the first or the second.

    {p} and {q} are people.
    """

    setup: str
    first: tuple[str, ...]
    second: tuple[str, ...]


_ORDER = (
    ("do the first", "go for the former", "avoid the second and do the other", "skip the latter and do the other"),
    ("do the second", "go for the latter", "avoid the first and do the other", "skip the former and do the other"),
)
_PEOPLE = (
    ("do as my {p} wants", "follow my {p}", "ignore my {q} and do the other"),
    ("do as my {q} wants", "follow my {q}", "ignore my {p} and do the other"),
)
REFERENCES: tuple[ActReference, ...] = (
    ActReference("I could {a} or {b}.", *_ORDER),
    ActReference("One way is to {a}, another is to {b}.", *_ORDER),
    ActReference("There are two plans, to {a} or to {b}.", *_ORDER),
    ActReference("Some people {a}, some {b}.", *_ORDER),
    ActReference("My {p} wants to {a}, my {q} wants to {b}.", *_PEOPLE),
    ActReference("My {p} says to {a}, my {q} says to {b}.", *_PEOPLE),
    ActReference("To {a} is what my {p} wants, to {b} what my {q} wants.", *_PEOPLE),
)
# None of them is a person that a drug is for (`acts.PEOPLE`).
ADVISERS: tuple[str, ...] = ("coach", "teacher", "roommate", "landlord", "driver", "tutor", "cook", "lawyer")

# Where the sentence of a reference is: before the opener, before the question, or behind it.
Place = Literal["first", "middle", "last"]
PLACES: tuple[Place, ...] = ("first", "middle", "last")


class Wish(NamedTuple):
    """How two acts are asked for; `setup` and `place` are empty and "middle" where no reference is made."""

    setup: str
    core: str
    place: Place

    def fill(self, wanted: str, unwanted: str) -> tuple[str, str]:
        """The sentence beside the question (perhaps empty), and the clause in the question."""
        setup, core = (text.replace("{w}", wanted).replace("{u}", unwanted) for text in (self.setup, self.core))
        return setup, core


def draw_wish(rng: random.Random, by_reference: float) -> Wish:
    """A way of asking; by reference with this probability, else with a connective."""
    # Nothing is drawn where no request refers: the seeds of the easy clinic give what they always gave.
    if not by_reference or rng.random() >= by_reference:
        return Wish("", rng.choice(CONNECTIVES), "middle")
    reference = rng.choice(REFERENCES)
    first = rng.random() < 0.5
    core = rng.choice(reference.first if first else reference.second)
    one, other = rng.sample(ADVISERS, 2)
    names = {"{a}": "{w}" if first else "{u}", "{b}": "{u}" if first else "{w}", "{p}": one, "{q}": other}
    setup = reference.setup
    for slot, name in names.items():
        setup, core = setup.replace(slot, name), core.replace(slot, name)
    return Wish(setup, core, rng.choice(PLACES))
