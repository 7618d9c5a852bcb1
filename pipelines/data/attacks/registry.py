"""All attack styles by name."""

from __future__ import annotations

from actors.errors import SalusError
from pipelines.data.attacks.direct import DIRECT_STYLES
from pipelines.data.attacks.indirect import INDIRECT_STYLES
from pipelines.data.attacks.obfuscate import OBFUSCATE_STYLES
from pipelines.data.attacks.role_play import ROLE_PLAY_STYLES
from pipelines.data.attacks.style import AttackStyle
from pipelines.data.rows import nearest

STYLES: dict[str, AttackStyle] = {
    style.name: style for style in (*DIRECT_STYLES, *INDIRECT_STYLES, *OBFUSCATE_STYLES, *ROLE_PLAY_STYLES)
}


def style_named(name: str) -> AttackStyle:
    """The style of this name; raises `SalusError` with the nearest one where there is none."""
    if name not in STYLES:
        raise SalusError(f"There is no attack style '{name}'; did you mean '{nearest(name, STYLES)}'?")
    return STYLES[name]
