"""A site: one upstream of its own behind one path of the module's gateway."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import count
from typing import Any

import pytest

from tests.gateway import Gateway
from tests.integration.stores import commands, stores
from tests.upstream import Respond, Upstream, echo

__all__ = ["commands", "site", "stores"]

NUMBERS = count(1)
Site = tuple[str, Upstream]


@pytest.fixture
def site(gateway: Gateway) -> Iterator[Callable[..., Site]]:
    """``path, upstream = site(plain(b"x"), service={"read_timeout": 500}, strip_path=False)``."""
    with ExitStack() as stack:

        def make(
            respond: Respond = echo,
            *,
            service: Mapping[str, Any] | None = None,
            base: str = "",
            server: Mapping[str, Any] | None = None,
            **route: Any,
        ) -> Site:
            upstream = stack.enter_context(Upstream(respond, **(server or {})))
            path = f"/site{next(NUMBERS)}"
            gateway.route(upstream.url + base, service=service, **{"paths": [path], **route})
            return path, upstream

        yield make
