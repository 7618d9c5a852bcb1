"""One step of the shell loop a user would write instead: TRL trains KTO or DPO with LoRA, then merges."""

from __future__ import annotations

import argparse
import json

from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--algorithm", choices=["kto", "dpo"], required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", required=True, nargs="+")
    parser.add_argument("--output", required=True)
    parser.add_argument("--settings", required=True, help="the recipe's train section, as JSON")
    args = parser.parse_args()
    settings = json.loads(args.settings)
    own = settings["challengers"][args.algorithm]
    rows = Dataset.from_parquet(args.rows).remove_columns(["level", "order"])
    answers = ("completion",) if args.algorithm == "kto" else ("chosen", "rejected")
    rows = rows.map(
        lambda row: {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            **{name: [{"role": "assistant", "content": row[name]}] for name in answers},
        }
    )
    # The same number of rows per optimizer step as Salus's workers take together.
    shared = {
        "output_dir": args.output,
        "per_device_train_batch_size": own["batch_size"] * settings["workers_per_run"],
        "gradient_accumulation_steps": own["gradient_accumulation"],
        "num_train_epochs": own["epochs"],
        "learning_rate": own["learning_rate"],
        "beta": own["beta"],
        "max_length": settings["max_length_tokens"],
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    if args.algorithm == "kto":
        config, trainer_class = KTOConfig(**shared), KTOTrainer
    else:
        config = DPOConfig(**shared, loss_type=own["loss_type"], loss_weights=own["loss_weights"])
        trainer_class = DPOTrainer
    lora = settings["lora"]
    trainer = trainer_class(
        model=AutoModelForCausalLM.from_pretrained(args.model, dtype="float32"),
        args=config,
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(args.model),
        peft_config=LoraConfig(
            r=lora["rank"],
            lora_alpha=lora["alpha"],
            target_modules=lora["target_modules"],
            task_type="CAUSAL_LM",
        ),
    )
    trainer.train()
    trainer.model.merge_and_unload().save_pretrained(args.output)
    AutoTokenizer.from_pretrained(args.model).save_pretrained(args.output)


if __name__ == "__main__":
    main()
