"""No request to this machine itself goes through a proxy: what `http_proxy` and the like name is for other hosts."""

from __future__ import annotations

import os

from actors.files.private import make_files_private

# Libraries differ in which of the two they read.
_VARIABLES = ("NO_PROXY", "no_proxy")
# An endpoint that listens on every address is asked at 0.0.0.0.
_HOSTS = ("localhost", "127.0.0.1", "::1", "0.0.0.0")
_ALL = "*"


def no_proxy() -> dict[str, str]:
    """The variables with which a process reaches loopback directly; what the user has set in either is in both."""
    given = ",".join(os.environ.get(name, "") for name in _VARIABLES).split(",")
    hosts = dict.fromkeys(host.strip() for host in (*given, *_HOSTS) if host.strip())
    return dict.fromkeys(_VARIABLES, _ALL if _ALL in hosts else ",".join(hosts))


def settle_worker() -> None:
    """Ray calls it at the start of each worker of a joined cluster, however its nodes were started.

    What a worker writes is private to its user, and it reaches loopback directly.
    """
    make_files_private()
    os.environ.update(no_proxy())
