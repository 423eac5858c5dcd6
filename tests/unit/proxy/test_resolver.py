"""Names that lead nowhere: said each time, looked up once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kong_gevent.proxy.resolver import NameNotResolved, Resolver


def test_a_name_without_address_fails_each_time_and_is_remembered(tmp_path: Path) -> None:
    asked = []

    def offload(work: Callable[..., Any], host: str) -> Any:
        asked.append(host)
        raise NameNotResolved(f"{host}: not known", missing=True)

    resolver = Resolver(offload, hosts_file=str(tmp_path / "hosts"))
    for _ in range(3):
        with pytest.raises(NameNotResolved, match="nowhere.test: not known") as failure:
            resolver.resolve("nowhere.test")
        assert failure.value.missing
    assert asked == ["nowhere.test"]
