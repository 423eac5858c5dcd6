"""The files of a new plugin's package."""

from __future__ import annotations

_PROJECT = """\
[build-system]
requires = ["setuptools>=68"]
build-backend = "setuptools.build_meta"

[project]
name = "kong-gevent-@NAME@"
version = "0.1.0"
description = "A plugin for Kong-gevent"
requires-python = ">=3.11"

[project.entry-points."kong_gevent.plugins"]
@NAME@ = "@MODULE@:@CLASS@"

[tool.setuptools]
packages = ["@MODULE@"]

[tool.pytest.ini_options]
pythonpath = ["."]
"""
_CODE = '''\
"""@NAME@: says hello to the upstream and to the client."""

from __future__ import annotations

from kong_gevent.pdk import Conf, Config, Context, Exit, Plugin, fields


class @CLASS@Config(Config):
    """Settings of @NAME@."""

    header_name = fields.HeaderName(
        required=True,
        load_default="X-Greeting",
        metadata={"description": "Name of the header that carries the greeting."},
    )
    text = fields.String(required=True, load_default="hello", metadata={"description": "What the greeting says."})
    closed = fields.Boolean(
        required=True, load_default=False, metadata={"description": "Whether requests are refused with status 503."}
    )


class @CLASS@(Plugin):
    """Greets both sides, or refuses."""

    name = "@NAME@"
    version = "0.1.0"
    priority = 800
    config = @CLASS@Config

    def configure(self, conf: Conf) -> None:
        """What costs time is prepared here, once per change of the configuration."""
        conf.greeting = f"{conf.text} from {self.kit.hostname}"

    def access(self, ctx: Context, conf: Conf) -> Exit | None:
        """Before the upstream is asked; what is returned ends the request."""
        if conf.closed:
            return ctx.exit(503, {"message": "closed"})
        ctx.upstream.set_header(conf.header_name, conf.greeting)
        return None

    def header_filter(self, ctx: Context, conf: Conf) -> None:
        """When the answer's head is there, whoever made it."""
        ctx.response.set_header(conf.header_name, conf.greeting)
'''
_TEST = '''\
"""@NAME@ in a whole gateway, in this process; the fixture `plugin` comes with kong-gevent."""

from pathlib import Path

import pytest
from kong_gevent.errors import SchemaViolation
from kong_gevent.pdk.docs import page_with_table
from @MODULE@ import @CLASS@


def test_both_sides_are_greeted(plugin):
    run = plugin(@CLASS@, text="good morning").get("/")
    assert run.status == 200
    assert run.upstream.headers["X-Greeting"].startswith("good morning from ")
    assert run.response.headers["X-Greeting"] == run.upstream.headers["X-Greeting"]


def test_nobody_comes_in_when_it_is_closed(plugin):
    run = plugin(@CLASS@, closed=True).get("/")
    assert (run.status, run.upstreams) == (503, [])


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ({"header_name": "not a name"}, {"header_name"}),
        ({"text": ""}, {"text"}),
        ({"closed": "yes"}, {"closed"}),
        ({"unknown": 1}, {"unknown"}),
    ],
)
def test_bad_settings_are_refused(plugin, config, fields):
    with pytest.raises(SchemaViolation) as caught:
        plugin(@CLASS@, **config)
    assert set(caught.value.fields["config"]) == fields


def test_the_page_has_the_settings_of_the_code():
    page = (Path(__file__).parent.parent / "docs" / "@NAME@.md").read_text()
    assert page == page_with_table(page, @CLASS@), "run kong-gevent plugin docs"
'''
_PAGE = """\
# @NAME@

Says hello to the upstream and to the client, in a header.

Priority 800. Scope: service, route, consumer or global.

## Attributes

<!-- attributes: generated -->
<!-- end of attributes -->

## Use

Install the package where the gateway is installed (`pip install .`), name it in `plugins = bundled,@NAME@`, start the
gateway, and switch it on:

```sh
curl -X POST http://127.0.0.1:8001/plugins -d name=@NAME@ -d config.text=hello
```
"""


def files(name: str) -> dict[str, str]:
    """The files of a plugin's package: path → text."""
    module = name.replace("-", "_")
    replaced = {
        "@NAME@": name,
        "@MODULE@": module,
        "@CLASS@": "".join(part.capitalize() for part in name.split("-")),
    }

    def filled(text: str) -> str:
        for mark, value in replaced.items():
            text = text.replace(mark, value)
        return text

    return {
        "pyproject.toml": filled(_PROJECT),
        f"{module}/__init__.py": filled(_CODE),
        f"tests/test_{module}.py": filled(_TEST),
        f"docs/{name}.md": filled(_PAGE),
    }
