"""The table of training algorithms: one row each. Everything else asks the row instead of comparing names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Union, get_args

from pydantic import Discriminator, GetPydanticSchema
from pydantic.json_schema import JsonSchemaValue

from actors.contract.records import ChallengerName
from actors.training.algorithms.bco import BCO
from actors.training.algorithms.cpo import CPO
from actors.training.algorithms.dpo import DPO
from actors.training.algorithms.ipo import IPO
from actors.training.algorithms.kto import KTO
from actors.training.algorithms.orpo import ORPO
from actors.training.algorithms.row import AlgorithmRow, Mark
from actors.training.algorithms.settings import ChallengerConfig
from actors.training.algorithms.sft import SFT, SftSettings
from actors.training.algorithms.simpo import SIMPO
from actors.training.algorithms.slic import SLIC

Algorithm = Literal["kto", "dpo", "orpo", "simpo", "cpo", "ipo", "slic", "bco"]
ALGORITHMS: Mapping[Algorithm, AlgorithmRow[Any]] = {
    "kto": KTO, "dpo": DPO, "orpo": ORPO, "simpo": SIMPO, "cpo": CPO, "ipo": IPO, "slic": SLIC, "bco": BCO,
}  # fmt: skip
_KINDS: Any = Union[tuple(row.settings for row in ALGORITHMS.values())]  # noqa: UP007
# For challengers that have a name of their own, in the order they are found in.
SPARE_MARKS = (Mark("pentagon", "amber"), Mark("hexagon", "sky"), Mark("square", "amber"), Mark("circle", "sky"))


def _as_written(schema: JsonSchemaValue) -> JsonSchemaValue:
    """The JSON schema of a challenger in a recipe, where `algorithm` may be left out, and null leaves it out."""
    return {"anyOf": [*schema["oneOf"], {"type": "null"}]}


# The settings of any of them; which, their `algorithm` says.
AnyChallenger = Annotated[
    ChallengerConfig,
    GetPydanticSchema(
        lambda _, build: build.generate_schema(Annotated[_KINDS, Discriminator("algorithm")]),
        lambda core, build: _as_written(build(core)),
    ),
]


def algorithm_of(settings: ChallengerConfig) -> Algorithm:
    """Whose settings these are."""
    return next(name for name in ALGORITHMS if name == settings.algorithm)


def row_of(settings: ChallengerConfig) -> AlgorithmRow[Any]:
    """The row of these settings: a challenger's, or that of what is fine-tuned before the cycles."""
    return SFT if isinstance(settings, SftSettings) else ALGORITHMS[algorithm_of(settings)]


def marks(names: Iterable[ChallengerName]) -> dict[ChallengerName, Mark]:
    """How each challenger is drawn: as its algorithm where it is called by that, and apart from all others."""
    found = dict.fromkeys(names)
    spare = (name for name in found if name not in ALGORITHMS)
    others = {name: SPARE_MARKS[number % len(SPARE_MARKS)] for number, name in enumerate(spare)}
    by_algorithm = {str(name): row.mark for name, row in ALGORITHMS.items()}
    return {name: by_algorithm.get(name) or others[name] for name in found}


assert tuple(ALGORITHMS) == get_args(Algorithm)
