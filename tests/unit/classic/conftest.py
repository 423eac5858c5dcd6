"""The classic Admin API in process, over a memory store, with the bundled plugins."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kong_gevent.admin import LocalNode, PluginInfo, create_app
from kong_gevent.conf import load
from kong_gevent.db import audit, open_store
from kong_gevent.pdk.loader import load_plugins
from tests.unit.admin.api import FORM, Api

PLUGINS = load_plugins(["bundled"])


class Classic(Api):
    """Calls with forms, as the clients of the time made them; `today` has the paths of the Admin API."""

    def __init__(self, node: LocalNode) -> None:
        super().__init__(create_app(node), node)
        self.today = Api(self.app, node)

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        if isinstance(body, str):
            options |= {"data": body, "content_type": FORM}
            body = None
        return super().call(method, f"/classic{path}", body, **options)

    def made(self, path: str, form: str = "") -> dict[str, Any]:
        """Create an object that has to be accepted."""
        status, row = self.post(path, form)
        assert status == 201, row
        return dict(row)


@pytest.fixture
def node(tmp_path: Any) -> Iterator[LocalNode]:
    settings = load(overrides={"database": "memory", "prefix": str(tmp_path)}, environ={})
    store = open_store(settings, PLUGINS)
    store.migrations.bootstrap()
    store.connect()
    yield LocalNode(settings, store, {name: PluginInfo(schema=plugin) for name, plugin in PLUGINS.items()})
    store.close()


@pytest.fixture
def api(node: LocalNode) -> Classic:
    return Classic(node)


@pytest.fixture
def meanwhile(node: LocalNode, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Have another writer come in between what the next write has read and its commit."""
    commit = node.store.strategy.commit

    def arrange(work: Callable[[], Any]) -> None:
        waiting = [work]

        def overtaken(operations: Any, *args: Any) -> None:
            if waiting and operations[0].kind != audit.KIND:
                waiting.pop()()
            commit(operations, *args)

        monkeypatch.setattr(node.store.strategy, "commit", overtaken)

    return arrange
