"""What a CPU computes in, by the instructions it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.engine import precision
from actors.engine.config import EngineConfig
from actors.engine.precision import multiplies_bfloat16
from actors.training import trl
from actors.training.config import TrainConfig


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 sse\n", True),
        ("processor\t: 0\nflags\t\t: fpu amx_bf16 sse\n", True),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", True),
        ("processor\t: 0\nflags\t\t: fpu avx2 sse\nbugs\t\t: bf16\n", False),
        ("", False),
    ],
)
def test_instructions_are_read_from_what_linux_says(text: str, has: bool, tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    assert multiplies_bfloat16(file) is has


def test_a_machine_that_does_not_say_computes_in_float32(tmp_path: Path) -> None:
    assert multiplies_bfloat16(tmp_path / "none") is False


@pytest.mark.parametrize(("has", "computed"), [(True, "bfloat16"), (False, "float32")])
def test_bfloat16_is_computed_where_the_processor_multiplies_in_it(
    has: bool, computed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (precision, trl):
        monkeypatch.setattr(module, "multiplies_bfloat16", lambda: has)
    assert EngineConfig(dtype="bfloat16").computing_dtype == computed
    assert EngineConfig(dtype="float16").computing_dtype == "float16"
    assert EngineConfig(dtype="bfloat16", device="cuda").computing_dtype == "bfloat16"
    assert trl.half_precision(TrainConfig(dtype="bfloat16")) is has
    assert trl.half_precision(TrainConfig()) is False
