"""The token of an embedded Ray: a new one each time, in the environment of its processes and nowhere else.

Ray itself would take the one in ~/.ray/auth_token, which is the same for all Rays of a user, and make it readable for
whoever may look into his home. A token in the environment is inherited by Ray's processes and by those that a run
starts to join it, stands on no command line and in no file, and ends with them.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from typing import Any

from ray import _raylet

MODE = "RAY_AUTH_MODE"
TOKEN = "RAY_AUTH_TOKEN"

# The variables as they were before; None: not set.
FormerToken = Mapping[str, str | None]


def take_fresh_token() -> FormerToken:
    """From now on this process, and what it starts, speaks to a Ray with a token of its own."""
    former = {name: os.environ.get(name) for name in (MODE, TOKEN)}
    os.environ |= {MODE: "token", TOKEN: secrets.token_hex(32)}
    _read_again()
    return former


def restore_token(former: FormerToken) -> None:
    """What the user had set counts again, as for a cluster that is joined next; the embedded Ray must have ended."""
    for name, value in former.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    _read_again()


def _read_again() -> None:
    """Ray reads both variables once, when its library is loaded."""
    # Of Ray's compiled part, which ships no types; as its own `authentication_token_setup` does.
    compiled: Any = _raylet
    compiled.Config.initialize("")
    compiled.AuthenticationTokenLoader.instance().reset_cache()
