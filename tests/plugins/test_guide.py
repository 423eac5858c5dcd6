"""The guide for plugin authors: its first plugin and its test run as they stand there."""

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from kong_gevent.pdk.testing import InMemoryGateway

GUIDE = Path(__file__).resolve().parent.parent.parent / "docs" / "plugin-development.md"
CODE = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)


def module(name: str, source: str) -> ModuleType:
    made = ModuleType(name)
    exec(compile(source, f"{GUIDE.name}: {name}", "exec"), vars(made))
    return made


def test_the_first_plugin_passes_its_own_tests(
    plugin: Callable[..., InMemoryGateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = module("kong_gevent_greeting", CODE[0])
    monkeypatch.setitem(__import__("sys").modules, "kong_gevent_greeting", package)
    tests = module("test_greeting", CODE[1])
    run = [function for name, function in vars(tests).items() if name.startswith("test_")]
    assert len(run) == 2
    for function in run:
        function(plugin)


@pytest.mark.parametrize("source", CODE)
def test_every_piece_of_code_is_python(source: str) -> None:
    text = source if source[:1] != " " else f"class Part:\n{source}"
    compile(text, GUIDE.name, "exec")
