"""The device is the one that was asked for, or one sentence says why not."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Literal

from actors.errors import SalusError

Device = Literal["cpu", "cuda"]


def visible_gpus() -> int | None:
    """GPUs that torch sees in this process; None where torch was built without CUDA."""
    import torch

    # Counted by the driver's own library: CUDA is not started, which a process that forks must not have done.
    return None if torch.version.cuda is None else torch.cuda.device_count()


def gpus_in_use() -> int | None:
    """GPUs that torch can compute on in this process; None where it was built without CUDA.

    With a driver that is too old for torch there are none. It starts CUDA, so it is not for a process that forks.
    """
    import torch

    return None if torch.version.cuda is None else torch.cuda.device_count() if torch.cuda.is_available() else 0


def vllm_platform() -> str:
    """The kind of device that the installed vLLM runs on here."""
    from vllm.platforms import current_platform

    return str(current_platform.device_type)


def check_device(
    device: Device,
    gpus: int,
    who: str,
    visible: Callable[[], int | None] = visible_gpus,
    platform: Callable[[], str] | None = vllm_platform,
) -> None:
    """Refuse to start on another device than the settings name.

    Args:
        device: what the settings name.
        gpus: how many of them, where it is a GPU.
        who: begins the sentence, as "An engine".
        visible: how many GPUs torch sees; None: its build has no CUDA.
        platform: the device that vLLM was built for; None: vLLM is not used.

    Raises:
        SalusError: names what is there instead, and the cure.
    """
    here = f"on {socket.gethostname()}"
    if device == "cpu":
        if platform is not None and (found := platform()) != "cpu":
            raise SalusError(
                f"{who} is to run on the CPU, but vLLM {here} is a build for {found or 'another device'}, which cannot."
                " Install salus[cpu] there, or set device: cuda in the section of the engine (for replicas:"
                " publish.gpus_per_replica)."
            )
        return
    there = visible()
    if there is None or (platform is not None and platform() == "cpu"):
        what = "torch" if there is None else "vLLM"
        raise SalusError(
            f"{who} is to run on a GPU, but {what} {here} is a build for CPUs; install salus[cuda] there, or ask for"
            " the CPU."
        )
    if there < gpus:
        mask = os.environ.get("CUDA_VISIBLE_DEVICES")
        shown = "CUDA_VISIBLE_DEVICES is not set" if mask is None else f"CUDA_VISIBLE_DEVICES={mask!r}"
        raise SalusError(
            f"{who} needs {gpus} GPU(s), but torch sees {there} {here} ({shown}). Look at the driver there with"
            " `salus doctor`, and at the GPUs that Ray gives to the process."
        )
