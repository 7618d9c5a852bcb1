"""Who runs this process, as records name him."""

from __future__ import annotations

import os
import pwd


def os_user() -> str:
    """The name of the user this process runs as; the number where the system knows no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
