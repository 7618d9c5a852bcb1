"""Whatever the commands print, nothing in it steers the terminal; and no command has another console."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

import pipelines
from actors.contract.untrusted import visible
from pipelines.cli.console.output import SafeConsole
from tests.pipelines.cli.controls import controls

HOSTILE = "a\x1b[2J\x9b31m b\u202ec\u2066 \x00\x7f\u2028\U000e0041\ud800 d"


def table() -> Table:
    made = Table(title=HOSTILE, caption=Text(HOSTILE))
    made.add_column(HOSTILE)
    made.add_row(HOSTILE)
    made.add_row(Text(HOSTILE, style="red"))
    return made


@pytest.mark.parametrize(
    "shown",
    [
        HOSTILE,
        f"[red]{HOSTILE}[/red]",
        Text(HOSTILE, style="bold"),
        Panel(HOSTILE, title=HOSTILE),
        Tree(HOSTILE),
        table(),
    ],
    ids=lambda shown: type(shown).__name__,
)
@pytest.mark.parametrize("width", [20, 200])
def test_everything_is_shown_and_nothing_obeyed(shown: RenderableType, width: int) -> None:
    out = io.StringIO()
    SafeConsole(file=out, width=width).print(shown)
    assert controls(out.getvalue()) == set() and "\ud800" not in out.getvalue()
    letters = "".join(out.getvalue().split())
    assert all(escape in letters for escape in ("\\x1b", "\\x9b")) or width == 20


def test_styles_and_lines_stay() -> None:
    out = io.StringIO()
    SafeConsole(file=out, force_terminal=True, color_system="standard").print(
        "[red]one[/red]\ntwo caf\u00e9 \u4e2d", end=""
    )
    assert out.getvalue() == "\x1b[31mone\x1b[0m\ntwo caf\u00e9 \u4e2d"


def test_plain_text_is_the_same_text() -> None:
    plain = "caf\u00e9 \u4e2d\u6587 \u0639\u0631\u0628\u064a \U0001f600 \u00a0 tab\tline\n"
    assert visible(plain) is plain or visible(plain) == plain


def test_no_other_console_is_made() -> None:
    root = Path(pipelines.__file__).parent
    made = [path for path in root.rglob("*.py") if "Console(" in path.read_text(encoding="utf-8")]
    assert [path.relative_to(root).as_posix() for path in made] == ["cli/console/output.py"]
