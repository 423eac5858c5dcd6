"""The pages of the bundled plugins: there is one for each, with the code's own table and an example that is true."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kong_gevent.pdk.docs import index_with_table, page_with_table
from kong_gevent.pdk.loader import load_plugins
from tests.gateway import Gateway
from tests.upstream import Upstream, plain
from tests.wire import wait_until

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
PLUGINS = load_plugins(["bundled"])
BLOCK = re.compile(r"```(?:sh|text)\n(.*?)```", re.DOTALL)


def test_each_plugin_has_a_page_and_each_page_a_plugin() -> None:
    assert sorted(page.stem for page in (DOCS / "plugins").glob("*.md")) == sorted(PLUGINS)


def test_the_list_tells_which_plugins_run() -> None:
    page = (DOCS / "plugins.md").read_text()
    assert page == index_with_table(page), "run python -m kong_gevent.pdk.docs"
    assert "| [cors](plugins/cors.md) | 2000 | yes |" in page
    assert "| zipkin | 100000 | settings only |" in page


@pytest.mark.parametrize("name", PLUGINS)
def test_the_table_is_that_of_the_code(name: str) -> None:
    page = (DOCS / "plugins" / f"{name}.md").read_text()
    assert page == page_with_table(page, PLUGINS[name]), "run python -m kong_gevent.pdk.docs"
    assert f"Priority {PLUGINS[name].priority}." in page


@pytest.fixture(scope="module")
def node() -> Iterator[Gateway]:
    with Gateway() as gateway:
        yield gateway


@pytest.fixture(scope="module")
def backend() -> Iterator[Upstream]:
    with Upstream(plain(b"ok", headers=[("Content-Type", "text/plain")])) as server:
        yield server


@pytest.mark.parametrize("name", PLUGINS)
def test_the_example_does_what_it_says(name: str, node: Gateway, backend: Upstream, tmp_path: Path) -> None:
    node.reset()
    node.route(backend.url, service={"name": "example"})
    file = tmp_path / "file.log"
    environment = {**os.environ, "ADMIN": node.admin_url, "PROXY": node.proxy_url, "FILE": str(file), "no_proxy": "*"}

    def run(commands: str) -> str:
        done = subprocess.run(
            ["bash", "-eu", "-c", commands],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.replace("\r", "")

    setup, example, printed = BLOCK.findall((DOCS / "plugins" / f"{name}.md").read_text())
    assert run(setup).count('"created_at"') == setup.count("curl"), "an Admin API call failed"
    assert run(example).split() == printed.split()
    if name == "file-log":
        assert '"agent":"test-agent"' in wait_until(lambda: file.exists() and file.read_text())
