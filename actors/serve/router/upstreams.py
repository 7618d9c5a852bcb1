"""The connections of one router: to each model's present application, and to no other."""

from __future__ import annotations

from actors.serve.router.upstream import Upstream


class Upstreams:
    """Life: to* -> close. One event loop."""

    def __init__(self, base: str) -> None:
        """`base`: the endpoint's address as it is reached from here."""
        self._base = base
        self._known: dict[str, tuple[str, Upstream]] = {}

    async def to(self, model: str, prefix: str) -> Upstream:
        """The way to a model's application; nobody uses that to its former one any more."""
        known = self._known.get(model)
        if known is not None and known[0] == prefix:
            return known[1]
        upstream = Upstream(self._base, prefix)
        self._known[model] = (prefix, upstream)
        if known is not None:
            await known[1].close()
        return upstream

    async def close(self) -> None:
        """End all connections."""
        while self._known:
            _, (_, upstream) = self._known.popitem()
            await upstream.close()
