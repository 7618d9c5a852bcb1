"""An engine that would start on another device than its settings name says so instead."""

from __future__ import annotations

import pytest
import torch

from actors.engine.faults.device import check_device, gpus_in_use, visible_gpus
from actors.errors import SalusError


@pytest.mark.parametrize(
    ("device", "gpus", "visible", "platform", "said"),
    [
        ("cuda", 1, None, "cpu", "to run on a GPU, but torch on .* is a build for CPUs; install salus.cuda."),
        ("cuda", 1, 1, "cpu", "to run on a GPU, but vLLM on .* is a build for CPUs"),
        ("cuda", 1, 0, "", "needs 1 GPU.*torch sees 0 on .*CUDA_VISIBLE_DEVICES='3'.*salus doctor"),
        ("cuda", 4, 2, "cuda", "needs 4 GPU.*torch sees 2"),
        ("cpu", 1, 2, "cuda", "to run on the CPU, but vLLM on .* is a build for cuda.*salus.cpu.*device: cuda"),
        ("cpu", 1, 0, "", "a build for another device"),
    ],
)
def test_another_device_is_a_sentence(
    device: str, gpus: int, visible: int | None, platform: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with pytest.raises(SalusError, match=f"An engine .*{said}"):
        check_device(device, gpus, "An engine", lambda: visible, lambda: platform)  # type: ignore[arg-type]


def test_the_device_that_was_asked_for_is_silent() -> None:
    check_device("cuda", 2, "An engine", lambda: 2, lambda: "cuda")
    check_device("cpu", 1, "An engine", lambda: None, lambda: "cpu")
    # What uses no vLLM computes on the CPU with any build of torch.
    check_device("cpu", 1, "A classifier", lambda: 8, platform=None)
    check_device("cuda", 1, "A classifier", lambda: 8, platform=None)


@pytest.mark.skipif(torch.version.cuda is not None, reason="a CUDA build of torch")
def test_a_cpu_build_of_torch_sees_no_gpu() -> None:
    assert visible_gpus() is None and gpus_in_use() is None
    with pytest.raises(SalusError, match=r"torch on .* is a build for CPUs"):
        check_device("cuda", 1, "A trainer", gpus_in_use, platform=None)
