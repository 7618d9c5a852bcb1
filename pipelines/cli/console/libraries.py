"""What libraries log and draw stays out of a command's output, unless --verbose asks for it.

Workers' own output is in Ray's files, which `salus logs` reads.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.cluster.environment import environment

# Their loggers in this process.
LIBRARIES = (
    "accelerate",
    "asyncio",
    "datasets",
    "filelock",
    "huggingface_hub",
    "matplotlib",
    "peft",
    "py.warnings",
    "ray",
    "ray.data",
    "ray.serve",
    "ray.train",
    "ray.tune",
    "torch",
    "transformers",
    "trl",
    # What Ray says of its own retries and of the workers it has started.
    "actors.contract.ray_internals",
)
QUIET = {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


def _errors_alone(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


@contextmanager
def quiet_libraries(verbose: bool = False) -> Iterator[None]:
    """Libraries log nothing below an error inside, warn of nothing and draw no bars; with `verbose`, all to stderr."""
    if verbose:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(levelname)s %(asctime)s %(name)s -- %(message)s"))
        logger, level = logging.getLogger("actors.contract.ray_internals"), logging.INFO
        former = logger.level
        logger.addHandler(handler)
        logger.setLevel(level)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(former)
        return
    # A library may set its logger's level and handlers when it is loaded; a filter stays.
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    for logger in loggers:
        logger.addFilter(_errors_alone)
    logging.captureWarnings(True)
    try:
        with environment(QUIET):
            yield
    finally:
        logging.captureWarnings(False)
        for logger in loggers:
            logger.removeFilter(_errors_alone)
