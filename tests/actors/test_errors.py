"""What an error's text says its cause is, also where a library's validation error crossed a process as text."""

from __future__ import annotations

import traceback

import pytest
from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from actors.errors import SalusError, cause_in, reason

LONG = "positions exceed what the model holds"


@dataclass
class EngineArguments:
    """As vLLM's own: a dataclass that pydantic checks as a whole."""

    length: int

    @model_validator(mode="after")
    def _fits(self) -> EngineArguments:
        if self.length > 128:
            raise ValueError(f"{LONG} ({self.length} > 128)")
        return self


class Inner(BaseModel):
    share: float = Field(le=1)
    rope: int = 0


class Settings(BaseModel):
    inner: Inner


def invalid(kind: type[BaseModel], given: object) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(given)
    return caught.value


def too_long() -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        EngineArguments(length=512)
    return caught.value


def test_of_a_validation_error_the_setting_and_the_message_are_said() -> None:
    assert reason(too_long()) == f"EngineArguments: {LONG} (512 > 128)"
    several = invalid(Settings, {"inner": {"share": 3, "rope": "x"}})
    assert reason(several) == "Settings.inner.share: Input should be less than or equal to 1"
    secret = invalid(Settings, {"inner": "secret-token"})
    assert reason(secret).startswith("Settings.inner: Input should be") and "secret" not in reason(secret)


def test_so_they_are_in_the_text_that_a_replica_leaves() -> None:
    """As `ray.serve` words it: tracebacks within tracebacks, and the cause in an error of Ray's own."""
    try:
        try:
            EngineArguments(length=512)
        except ValidationError as error:
            raise RuntimeError(f"Failed to create vLLM engine config: {error}") from None
    except RuntimeError:
        inner = traceback.format_exc()
    text = f"The deployment failed to start 3 times in a row. Error:\nray::Replica()\nRuntimeError: {inner}"
    assert "For further information visit" in text
    assert cause_in(text) == f"EngineArguments: {LONG} (512 > 128)"
    indented = "\n".join(f"    {line}" for line in inner.splitlines())
    assert cause_in(indented) == f"EngineArguments: {LONG} (512 > 128)"


def test_an_endless_message_is_cut() -> None:
    class Endless(BaseModel):
        word: str

        @model_validator(mode="after")
        def _never(self) -> Endless:
            raise ValueError(f"{self.word} is not supported. Supported are: " + "another, " * 5000)

    said = reason(invalid(Endless, {"word": "Foo"}))
    assert said.startswith("Endless: Foo is not supported. Supported are: another,") and len(said) < 700


def test_of_any_other_error_the_last_line_is_said() -> None:
    assert reason(RuntimeError("Traceback:\n  in here\nactors.errors.SalusError: it broke; mend it.\n\n")) == (
        "it broke; mend it."
    )
    assert reason(SalusError("it broke.")) == "it broke."
    assert reason(TimeoutError()) == "TimeoutError"
    assert reason(ValueError("1 validation error for you to find")) == "1 validation error for you to find"
    assert cause_in("") == ""


def test_a_sentence_that_ends_a_chain_is_the_cause_whatever_it_was_made_from() -> None:
    invalid = "pydantic_core.ValidationError: 1 validation error for ModelConfig\n  Value error, no such class\n"
    address = "    For further information visit https://errors.pydantic.dev/2.11/v/value_error\n"
    text = f"{invalid}{address}\nThe above exception was the direct cause:\n\nTraceback:\n  in here\n"
    assert cause_in(f"{text}actors.errors.SalusError: vLLM cannot start with /m (it said so).\n") == (
        "vLLM cannot start with /m (it said so)."
    )
