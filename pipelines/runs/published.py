"""The log of what a run put live."""

from __future__ import annotations

from pydantic import ValidationError

from actors.errors import SalusError
from actors.publisher import Publication
from actors.run_folder import RunFolder


def read_publications(folder: RunFolder) -> list[Publication]:
    """Every publication of a run, in order; none where it published nothing.

    Raises:
        SalusError: the log cannot be read.
    """
    if not folder.publications.is_file():
        return []
    try:
        lines = folder.publications.read_text(encoding="utf-8").splitlines()
        return [Publication.model_validate_json(line) for line in lines]
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise SalusError(
            f"{folder.publications} is not a log of publications ({type(error).__name__}); take it from a copy."
        ) from error
