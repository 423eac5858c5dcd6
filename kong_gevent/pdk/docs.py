"""The attribute table of a plugin's documentation page, made from its `Config`: `python -m kong_gevent.pdk.docs`.

A page holds the table between two markers; running the module writes the tables of all pages in `docs/plugins` anew.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kong_gevent.pdk.loader import load_plugins
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


def main(folder: Path) -> int:
    """Write the tables of all pages in a folder; the number of pages that changed."""
    changed = 0
    for name, plugin in load_plugins(["bundled"]).items():
        page = folder / f"{name}.md"
        before = page.read_text(encoding="utf-8")
        after = page_with_table(before, plugin)
        if after != before:
            page.write_text(after, encoding="utf-8")
            changed += 1
    return changed


if __name__ == "__main__":
    print(f"{main(Path(*sys.argv[1:2] or ['docs', 'plugins']))} pages changed")
