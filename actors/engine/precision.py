"""In which precision a CPU computes: bfloat16 where the processor multiplies in it, float32 elsewhere."""

from __future__ import annotations

import functools
import re
from pathlib import Path

# As Linux names the instructions: AVX512-BF16 and AMX of x86, and ARM's.
_INSTRUCTIONS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_CPUINFO = Path("/proc/cpuinfo")


def cpu_dtype(dtype: str) -> str:
    """The precision that this machine's CPU computes in where `dtype` is asked for.

    A processor without instructions for bfloat16 would only imitate it, more slowly than it computes float32.
    """
    return "float32" if dtype == "bfloat16" and not multiplies_bfloat16() else dtype


@functools.cache
def multiplies_bfloat16(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether the processor has instructions for products of bfloat16, by what Linux says of its first core."""
    try:
        found = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return False
    return found is not None and not _INSTRUCTIONS.isdisjoint(found.group(1).split())
