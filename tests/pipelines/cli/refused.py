"""A command that is refused: one sentence on stderr, exit code 2, nothing else."""

from __future__ import annotations

import pytest

from pipelines.cli.main import main


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The sentence a command is refused with."""
    # What a fixture printed while it saved a model is not the command's.
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        # What is no refusal is progress.
        main([*arguments, "--quiet"])
    captured = capsys.readouterr()
    assert ended.value.code == 2
    assert "Traceback" not in captured.err + captured.out
    assert captured.err.startswith("salus: ")
    assert captured.err.count("\n") == 1
    return captured.err
