"""One step of the shell loop a user would write instead: vLLM labels a Parquet file of answers."""

from __future__ import annotations

import argparse
import os

os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_CPU_OMP_THREADS_BIND="nobind", HF_HUB_OFFLINE="1")
import pyarrow.parquet as pq
from vllm import LLM, SamplingParams
from vllm.sampling_params import StructuredOutputsParams

LABELS = ["Accept", "Caution", "Refuse"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--template", required=True)
    parser.add_argument("--answers", required=True, nargs="+")
    parser.add_argument("--max-model-len", type=int, required=True)
    args = parser.parse_args()
    with open(args.template, encoding="utf-8") as file:
        template = file.read().strip()
    llm = LLM(
        args.model,
        dtype="float32",
        max_model_len=args.max_model_len,
        enforce_eager=True,
        kv_cache_memory_bytes=2**28,
        logprobs_mode="processed_logprobs",
    )
    choice = StructuredOutputsParams(choice=LABELS)
    sampling = SamplingParams(max_tokens=1, temperature=0.0, logprobs=3, structured_outputs=choice)
    for path in args.answers:
        table = pq.read_table(path)
        chats = [
            [{"role": "user", "content": template.replace("{request}", request).replace("{answer}", answer)}]
            for request, answer in zip(table["prompt"].to_pylist(), table["answer"].to_pylist(), strict=True)
        ]
        labels = [output.outputs[0].text for output in llm.chat(chats, sampling, use_tqdm=False)]
        pq.write_table(table.append_column("label", [labels]), path + ".judged")


if __name__ == "__main__":
    main()
