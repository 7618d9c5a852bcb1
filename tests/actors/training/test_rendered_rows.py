"""Training rows begin as the policy is asked and end as it answers, whatever its template does with either."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from trl import DPOConfig, DPOTrainer  # type: ignore[attr-defined]

from actors.contract.conversation import Turn, context_of, whole_conversation
from actors.engine.chat import completion_text, conversation_tokens, end_of_turn
from actors.errors import SalusError
from actors.training.rows import check_prompts, plain_tokenizer, stage_rows
from pipelines.data.row_order import DPO_SCHEMA
from tests.tiny_model import CHAT_TEMPLATE, make_tiny_model, tiny_tokenizer

ASKED = Turn(role="user", content="How do I store it?")
BEFORE = (
    Turn(role="system", content="Be brief."),
    Turn(role="user", content="Hi"),
    Turn(role="assistant", content="Hm"),
)
# As DeepSeek-R1's: the prompt begins a thought, and thoughts of answers are dropped.
R1 = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>"
    "{{ m['content'].split('</think>')[-1] if m['role'] == 'assistant' else m['content'] }}"
    "{% if m['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"
)


def tokenizer_of(template: str) -> Any:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def staged(folder: Path, tokenizer: Any, chosen: str) -> datasets.Dataset:
    row = {"prompt": ASKED.content, "chosen": chosen, "rejected": "No.", "context": context_of((*BEFORE, ASKED))}
    (folder / "rows").mkdir()
    pq.write_table(pa.Table.from_pylist([row], schema=DPO_SCHEMA), folder / "rows" / "0.parquet")
    stage_rows(folder / "rows", "pairs", folder / "rows.arrow", tokenizer)
    return datasets.Dataset.from_file(str(folder / "rows.arrow"))


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, R1])
def test_trl_trains_on_the_context_that_is_sampled_in(template: str, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(template)
    chosen = "Hm.\n</think>\n\nCold." if template == R1 else "Cold."
    rows = staged(tmp_path, tokenizer, chosen)
    trainer = DPOTrainer(
        model=str(make_tiny_model(tmp_path / "model")),
        args=DPOConfig(output_dir=str(tmp_path / "out"), use_cpu=True, bf16=False, report_to="none"),
        train_dataset=rows,
        processing_class=plain_tokenizer(tokenizer),
    )
    assert isinstance(trainer.train_dataset, datasets.Dataset)
    row = trainer.train_dataset[0]
    turns = whole_conversation(context_of((*BEFORE, ASKED)), ASKED.content)
    assert row["prompt_ids"] == conversation_tokens(tokenizer, turns)
    assert tokenizer.decode(row["chosen_ids"]) == f"{chosen}<|end|>"
    check_prompts(trainer.train_dataset, tokenizer)


def test_a_prompt_that_a_trainer_begins_otherwise_is_refused_with_both_spellings() -> None:
    tokenizer = tokenizer_of(CHAT_TEMPLATE)
    prompt = [{"role": "user", "content": "<|bos|><|user|>Hi<|end|><|assistant|>"}]
    ids = tokenizer.encode("<|bos|><|user|>Ho<|end|><|assistant|>", add_special_tokens=False)
    rows = datasets.Dataset.from_list([{"prompt": prompt, "prompt_ids": ids}])
    with pytest.raises(SalusError, match="The trainer renders a conversation otherwise") as refused:
        check_prompts(rows, tokenizer)
    assert "Ho" in refused.value.sentence
    assert "Hi" in refused.value.sentence


def test_an_answer_ends_as_the_template_ends_it() -> None:
    assert completion_text(tokenizer_of(CHAT_TEMPLATE), [ASKED], "Cold.") == "Cold.<|end|>"
    spaced = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}"
    spaced += "{{ '<|end|>' if m['role'] == 'assistant' }}{{ '\\n' }}{% endfor %}"
    spaced += "{% if add_generation_prompt %}assistant:{% endif %}"
    assert completion_text(tokenizer_of(spaced), [ASKED], "Cold.") == " Cold.<|end|>\n"


def test_a_template_that_shows_no_answer_cannot_be_trained_with() -> None:
    with pytest.raises(SalusError, match="leaves out the assistant's answer"):
        end_of_turn(tokenizer_of("{% for m in messages if m['role'] == 'user' %}{{ m['content'] }}{% endfor %}"))
