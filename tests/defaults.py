"""How declarative clients compute what a server will store: the defaults of `/schemas/…` under what was given."""

from collections.abc import Mapping
from typing import Any

Fields = list[dict[str, dict[str, Any]]]


def fill_record(fields: Fields, given: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults of a record's fields under what was given, as the Go client library computes them for entities."""
    filled = dict(given)
    for entry in fields:
        for name, field in entry.items():
            if field["type"] == "record" and (field.get("required") or given.get(name) is not None):
                filled[name] = fill_record(field["fields"], given.get(name) or {})
            elif name not in filled and not field.get("auto"):
                filled[name] = field.get("default")
    return filled


def fill_config(schema: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a plugin's settings: default objects of records win over their fields' defaults, arrays descend."""
    filled = dict(given)
    replaced = set()
    for entry in schema.get("shorthand_fields", ()):
        for name, field in entry.items():
            if given.get(name) is not None:
                replaced |= {tuple(change["path"]) for change in field["deprecation"]["replaced_with"]}
    for entry in schema["fields"]:
        for name, field in entry.items():
            if field["type"] == "record" and (field.get("required") or given.get(name) is not None):
                below = {**(field.get("default") or {}), **(given.get(name) or {})}
                dropped = {path[1:] for path in replaced if path[0] == name}
                filled[name] = {
                    key: value
                    for key, value in fill_config(field, below).items()
                    if (key,) not in dropped or key in below
                }
            elif field["type"] == "array" and given.get(name) and field["elements"]["type"] == "record":
                filled[name] = [fill_config(field["elements"], item) for item in given[name]]
            elif name not in given and not field.get("auto"):
                filled[name] = field.get("default")
    return filled
