"""The recipe's prompts: MedSafetyBench as level 3, MedQuAD as level 0, in splits that share no topic."""

from __future__ import annotations

from functools import partial

import pyarrow as pa

from actors.contract.records import PROMPT_SCHEMA, SPLITS, Split
from pipelines.data.batches import prompt_table
from pipelines.data.medsafety.config import MedsafetyConfig
from pipelines.data.medsafety.forms import as_request
from pipelines.data.medsafety.sentences import first_sentences
from pipelines.data.sets.medquad import read_medquad
from pipelines.data.sets.medsafetybench import read_medsafetybench
from pipelines.data.split import SplitFractions, check_disjoint, drawn, split_by_base_prompt


def medsafety_prompts(config: MedsafetyConfig) -> dict[Split, pa.Table]:
    """Train, validation and test as `PROMPT_SCHEMA` tables; references are shortened to a few sentences.

    Harmful: the published train folder gives train and validation, the published test folder is the test
    split. Benign: MedQuAD's topics are divided among the three. Raises `SalusError` for data that is missing
    or bad, and where a base prompt is in two splits.
    """
    harmful = _harmful(config)
    benign = _benign(config)
    if config.benign_train_most is not None:
        most = round(config.benign_train_most * harmful["train"].num_rows)
        benign["train"] = drawn(benign["train"], most, config.seed, "benign")
    splits = {split: pa.concat_tables([harmful[split], benign[split]]) for split in SPLITS}
    check_disjoint(splits)
    return splits


def _harmful(config: MedsafetyConfig) -> dict[Split, pa.Table]:
    folder = config.data_dir / "medsafetybench"
    kept = 1 - config.harmful_validation_share
    shares = SplitFractions(train=kept, validation=config.harmful_validation_share, test=0)
    pool = prompt_table(read_medsafetybench(folder, "train"))
    splits = split_by_base_prompt(pool, shares, config.seed)
    splits["test"] = prompt_table(read_medsafetybench(folder, "test"))
    return {
        split: _shortened(table, config.reference_sentences, config.reference_words) for split, table in splits.items()
    }


def benign_fractions(config: MedsafetyConfig) -> SplitFractions:
    """How MedQuAD's topics are divided."""
    return SplitFractions(
        train=1 - config.benign_validation_share - config.benign_test_share,
        validation=config.benign_validation_share,
        test=config.benign_test_share,
    )


def _benign(config: MedsafetyConfig) -> dict[Split, pa.Table]:
    worded = partial(as_request, share=config.request_forms, seed=config.seed)
    table = prompt_table(read_medquad(config.data_dir / "medquad", worded))
    splits = split_by_base_prompt(table, benign_fractions(config), config.seed)
    return {split: _shortened(part, config.answer_sentences, config.answer_words) for split, part in splits.items()}


def _shortened(table: pa.Table, most: int, max_words: int) -> pa.Table:
    references = [first_sentences(str(text), most, max_words) for text in table.column("reference").to_pylist()]
    index = PROMPT_SCHEMA.get_field_index("reference")
    return table.set_column(index, PROMPT_SCHEMA.field(index), pa.array(references, pa.string()))
