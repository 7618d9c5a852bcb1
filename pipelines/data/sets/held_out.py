"""Topics and styles of a data set that no policy is trained on: their prompts are in the test split alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from actors.contract.records import TOPIC_MARK, Split
from actors.errors import SalusError
from actors.files.shards import strings
from pipelines.data.rows import nearest
from pipelines.data.split import group_key


class HeldOutConfig(BaseModel):
    """What of the source's own topics and styles only test prompts have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    topics: tuple[str, ...] = Field(
        (), description="topics, as the data set names them. Every prompt of one, in all its rewrites, is a test prompt"
    )
    styles: tuple[str, ...] = Field(
        (),
        description="styles that the data set itself has, as egida:DAN. Their train and validation prompts go",
    )

    def holds_out(self, topics: str | None, style: str | None) -> bool:
        """Whether a prompt with these topics (joined as in `PROMPT_SCHEMA`) and this style may not be trained on."""
        return style in self.styles or bool(set((topics or "").split(TOPIC_MARK)) & set(self.topics))


def hold_out(splits: Mapping[Split, pa.Table], config: HeldOutConfig) -> dict[Split, pa.Table]:
    """The splits (tables of `PROMPT_SCHEMA`) with all that is held out in the test split alone.

    A base prompt that has a held-out topic in any of its rows goes to the test split with all of them. Rows in a
    held-out style leave train and validation; their base prompt stays there in its other styles.

    Raises:
        SalusError: a name that no prompt has.
    """
    _check_known("topic", config.topics, [t for table in splits.values() for t in _topics(table)])
    _check_known("style", config.styles, [s for table in splits.values() for s in strings(table, "style")])
    moved = {
        group_key(base)
        for table in splits.values()
        for base, named in zip(strings(table, "base_prompt"), strings(table, "topics"), strict=True)
        if set(named.split(TOPIC_MARK)) & set(config.topics)
    }
    found, test = dict(splits), [splits["test"]]
    for split in ("train", "validation"):
        table = splits[split]
        moves = pa.array([group_key(base) in moved for base in strings(table, "base_prompt")], pa.bool_())
        test.append(table.filter(moves))
        rest = table.filter(pc.invert(moves))
        found[split] = rest.filter(
            pa.array([style not in config.styles for style in strings(rest, "style")], pa.bool_())
        )
    return found | {"test": pa.concat_tables(test)}


def _topics(table: pa.Table) -> list[str]:
    return [name for named in strings(table, "topics") for name in named.split(TOPIC_MARK)]


def _check_known(what: str, held_out: Sequence[str], names: Sequence[str]) -> None:
    known = {name for name in names if name}
    for name in held_out:
        if name not in known:
            close = nearest(name, known)
            cure = f"did you mean {close!r}?" if close else f"the data set names no {what}s; leave it out."
            raise SalusError(f"data.held_out.{what}s: no prompt has the {what} {name!r}; {cure}")
