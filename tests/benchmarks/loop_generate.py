"""One step of the shell loop a user would write instead: vLLM answers a Parquet file of prompts."""

from __future__ import annotations

import argparse
import os

os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_CPU_OMP_THREADS_BIND="nobind", HF_HUB_OFFLINE="1")
import pyarrow.parquet as pq
from vllm import LLM, SamplingParams


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", required=True, nargs="+")
    parser.add_argument("--output", required=True)
    parser.add_argument("--k", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--max-tokens", type=int, required=True)
    parser.add_argument("--max-model-len", type=int, required=True)
    args = parser.parse_args()
    table = pq.ParquetDataset(args.prompts).read()
    llm = LLM(
        args.model,
        dtype="float32",
        max_model_len=args.max_model_len,
        enforce_eager=True,
        kv_cache_memory_bytes=2**28,
    )
    sampling = SamplingParams(n=args.k, temperature=args.temperature, max_tokens=args.max_tokens)
    chats = [[{"role": "user", "content": prompt}] for prompt in table["prompt"].to_pylist()]
    outputs = llm.chat(chats, sampling, use_tqdm=False)
    rows = table.take([row for row, output in enumerate(outputs) for _ in output.outputs])
    pq.write_table(rows.append_column("answer", [[o.text for output in outputs for o in output.outputs]]), args.output)


if __name__ == "__main__":
    main()
