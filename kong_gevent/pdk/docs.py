"""The attribute table of a plugin's documentation page, made from its `Config`: `python -m kong_gevent.pdk.docs`.

A page holds the table between two markers; running the module writes the tables of all pages in `docs/plugins` anew.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from kong_gevent.pdk.loader import load_announced, load_plugins
from kong_gevent.pdk.plugin import Plugin
from kong_gevent.schema.document import fields_of

BEGIN, END = "<!-- attributes: generated -->", "<!-- end of attributes -->"
_TABLE = re.compile(f"{BEGIN}.*?{END}", re.DOTALL)


def attribute_table(plugin: type[Plugin]) -> str:
    """The Markdown table of a plugin's settings, with the markers around it."""
    lines = ["| Attribute | Type | Default | Constraints | Description |", "|---|---|---|---|---|"]
    lines += ["| " + " | ".join(row) + " |" for row in _rows(fields_of(plugin.config()), "")]
    old = [
        f"Old name `{name}` stands for `{shorthand.path}`."
        for name, shorthand in plugin.config.shorthand_fields.items()
        if hasattr(shorthand, "path")
    ]
    return "\n".join([BEGIN, *lines, *(["", *old] if old else []), END])


def plugin_table() -> str:
    """The Markdown table of all plugins of Kong, by priority: those that run, and those that are announced only."""
    bundled, announced = load_plugins(["bundled"]), load_announced()
    rows = ["| Plugin | Priority | Runs |", "|---|---|---|"]
    for name, plugin in sorted({**bundled, **announced}.items(), key=lambda item: (-item[1].priority, item[0])):
        shown, runs = (f"[{name}](plugins/{name}.md)", "yes") if name in bundled else (name, "settings only")
        rows.append(f"| {shown} | {plugin.priority} | {runs} |")
    return "\n".join([BEGIN, *rows, END])


def _rows(entries: list[dict[str, Any]], prefix: str) -> Iterator[tuple[str, ...]]:
    for entry in entries:
        for name, shown in entry.items():
            description = str(shown.get("description", "")).replace("|", "\\|")
            default = _default(shown)
            yield f"`{prefix}{name}`", _type(shown), default, _constraints(shown), description
            yield from _rows(shown.get("fields", []), f"{prefix}{name}.")


def _default(shown: Mapping[str, Any]) -> str:
    if "default" not in shown:
        return "–"
    return "random" if shown.get("encrypted") else f"`{json.dumps(shown['default'])}`"


def _type(shown: Mapping[str, Any]) -> str:
    kind = str(shown["type"])
    if "elements" in shown:
        return f"{kind} of {_type(shown['elements'])}"
    if "values" in shown:
        return f"{kind} of {_type(shown['values'])}"
    return kind


def _constraints(shown: Mapping[str, Any]) -> str:
    rules = ["required"] if shown.get("required") and "default" not in shown and shown["type"] != "record" else []
    inner = shown.get("elements", shown)
    if "one_of" in inner:
        rules.append("one of " + ", ".join(f"`{choice}`" for choice in inner["one_of"]))
    if "between" in inner:
        rules.append(f"{inner['between'][0]} to {inner['between'][1]}")
    if "gt" in inner:
        rules.append(f"greater than {inner['gt']}")
    if inner.get("starts_with"):
        rules.append(f"starts with `{inner['starts_with']}`")
    if inner.get("referenceable"):
        rules.append("may be a vault reference")
    return ", ".join(rules) or "–"


def page_with_table(text: str, plugin: type[Plugin]) -> str:
    """A page with its table brought up to date. Raises ValueError when the page has no markers."""
    if not _TABLE.search(text):
        raise ValueError(f"the page of {plugin.name} has no place for the attribute table")
    return _TABLE.sub(lambda _: attribute_table(plugin), text)


def index_with_table(text: str) -> str:
    """The list of plugins with its table brought up to date."""
    return _TABLE.sub(lambda _: plugin_table(), text)


def main(folder: Path) -> int:
    """Write the tables of all pages in a folder, and of the list beside it; the number of pages that changed."""
    changed = int(_write(folder.with_suffix(".md"), index_with_table))
    for name, plugin in load_plugins(["bundled"]).items():
        changed += _write(folder / f"{name}.md", partial(page_with_table, plugin=plugin))
    return changed


def _write(page: Path, renewed: Callable[[str], str]) -> bool:
    before = page.read_text(encoding="utf-8")
    after = renewed(before)
    if after != before:
        page.write_text(after, encoding="utf-8")
    return after != before


if __name__ == "__main__":
    print(f"{main(Path(*sys.argv[1:2] or ['docs', 'plugins']))} pages changed")
