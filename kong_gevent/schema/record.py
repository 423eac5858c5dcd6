"""Records: a Marshmallow schema with Kong's order of work (shorthands, fields, checks) and Kong's error tree."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import marshmallow
from marshmallow import ValidationError

from kong_gevent.schema import kinds
from kong_gevent.schema.checks import Check, Failure, get, put
from kong_gevent.schema.messages import UNKNOWN, Errors, leaf, normalise
from kong_gevent.schema.rules import same, show

NOT_A_RECORD = "expected a record"


class Shorthand:
    """A name accepted on write that stands for other fields; `expand(value)` gives their values. Not shown on read."""

    def __init__(self, field: kinds.Field, expand: Callable[[Any], Mapping[str, Any]]) -> None:
        self.field = field
        self.expand = expand

    def document(self) -> dict[str, Any]:
        """What `/schemas` tells beyond the field itself."""
        return {}


class Deprecated(Shorthand):
    """An old flat name of a field. It must agree with the new one when both are sent; reads show both."""

    def __init__(self, field: kinds.Field, path: str, *, removal: str = "4.0", old_default: Any = kinds.UNSET) -> None:
        self.path = path
        self.removal = removal
        self.old_default = old_default
        super().__init__(field, self._place)

    def _place(self, value: Any) -> dict[str, Any]:
        placed: dict[str, Any] = {}
        put(placed, self.path, value)
        return placed

    def document(self) -> dict[str, Any]:
        """The deprecation note, from which clients learn the new path."""
        name = self.field.name or "this field"
        shown: dict[str, Any] = {
            "message": f"{name}: this field is deprecated, use {self.path} instead",
            "removal_in_version": self.removal,
            "replaced_with": [{"path": self.path.split(".")}],
        }
        if self.old_default is not kinds.UNSET:
            shown["old_default"] = self.old_default
        return {"deprecation": shown}


class Record(marshmallow.Schema):
    """Base of all schemas. Class attributes besides the fields: `checks`, `shorthand_fields`, `custom_validator`.

    `run` is the way in. An instance is made once and shared: validation keeps no state in it.
    """

    error_messages: ClassVar[dict[str, str]] = {"unknown": UNKNOWN, "type": NOT_A_RECORD}  # type: ignore[misc]
    checks: ClassVar[Sequence[Check]] = ()
    shorthand_fields: ClassVar[Mapping[str, Shorthand]] = {}
    custom_validator: ClassVar[Any] = None

    def __init__(self) -> None:
        super().__init__(unknown=marshmallow.RAISE)
        for name, shorthand in self.shorthand_fields.items():
            shorthand.field.name = name
        self.shape: dict[str, kinds.Field] = {
            name: field for name, field in self.load_fields.items() if isinstance(field, kinds.Field)
        }
        self.has_shorthands: bool = bool(self.shorthand_fields) or any(
            record.has_shorthands for _, record in self._nested_records()
        )

    def _nested_records(self) -> list[tuple[str, Record]]:
        found: list[tuple[str, Record]] = []
        for name, field in self.shape.items():
            inner = field.elements if isinstance(field, kinds.Array) else field
            if isinstance(inner, kinds.Record):
                found.append((name, inner.schema))
        return found

    def run(self, data: Any, *, updating: bool = False) -> tuple[dict[str, Any], Errors]:
        """Validate a whole record: the value with defaults, and the error tree (empty when valid).

        `updating` changes two texts, as Kong does for PATCH; the record passed is the merged one in any case, in which
        the shorthands of the partial one are expanded already.
        """
        if not isinstance(data, Mapping):
            return {}, {"@entity": [NOT_A_RECORD]}
        early: Errors = {}
        if self.shorthand_fields and not updating:
            data, early = self._expand_own(data)
        variant = self.variant(data)
        if not isinstance(variant, Record):
            return {}, variant
        try:
            result: dict[str, Any] = variant.load(data)
            errors: Errors = {}
        except ValidationError as error:
            result = dict(error.valid_data) if isinstance(error.valid_data, dict) else {}
            errors = normalise(error.messages)
        if early:
            errors.update(early)
        # A wrong value counts as given: "at least one of" must not add a second error to it.
        seen = {**{name: data[name] for name in errors if name in data}, **result} if errors else result
        for check in variant.checks:
            check.run(seen, errors, updating)
        if not errors and variant.custom_validator is not None:
            failure: Failure = variant.custom_validator(result)
            if isinstance(failure, str):
                raise ValidationError(failure)  # becomes the whole error of the field that holds this record
            errors = dict(failure or {})
        return result, errors

    def variant(self, data: Mapping[str, Any]) -> Record | Errors:
        """The schema for this value: itself, or a sub-schema chosen by a field; an error tree when there is none."""
        return self

    def expand(self, data: Mapping[str, Any]) -> tuple[dict[str, Any], Errors]:
        """Replace shorthands by what they stand for, at all levels; for partial updates, before they are merged."""
        if not self.has_shorthands:
            return dict(data), {}
        result, errors = self._expand_own(data) if self.shorthand_fields else (dict(data), {})
        for name, record in self._nested_records():
            value = result.get(name)
            if isinstance(value, Mapping) and record.has_shorthands:
                result[name], inner = record.expand(value)
                if inner:
                    errors[name] = inner
        return result, errors

    def _expand_own(self, data: Mapping[str, Any]) -> tuple[dict[str, Any], Errors]:
        result, errors = dict(data), {}
        for name, shorthand in self.shorthand_fields.items():
            if name not in result:
                continue
            try:
                value = result.pop(name)
                value = shorthand.field.deserialize(value) if value is not None else None
            except ValidationError as error:
                errors[name] = leaf(error)
                continue
            if isinstance(shorthand, Deprecated):
                given = _given(data, shorthand.path)
                if given is not kinds.UNSET:
                    if not (same(value, given)):
                        errors[name] = (
                            "both deprecated and new field are used but their values mismatch: "
                            f"{name} = {show(value)} vs {shorthand.path} = {show(given)}"
                        )
                    continue
            result = merge(result, shorthand.expand(value))
        return result, errors

    def render(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """A stored record as it is shown: the old names stand beside the new ones, at all levels."""
        shown = dict(stored)
        if not self.has_shorthands:
            return shown
        for name, record in self._nested_records():
            value = shown.get(name)
            if isinstance(value, Mapping) and record.has_shorthands:
                shown[name] = record.render(value)
        for name, shorthand in self.shorthand_fields.items():
            if isinstance(shorthand, Deprecated):
                shown[name] = get(stored, shorthand.path)
        return shown

    def fill(self, stored: dict[str, Any]) -> dict[str, Any]:
        """Add, in place and at all levels, the defaults of fields that a record stored by an earlier version lacks."""
        for name, field in self.shape.items():
            if isinstance(field, kinds.Record):
                if name not in stored:
                    stored[name] = field.initial()
                if isinstance(stored[name], dict):
                    field.schema.fill(stored[name])
            elif name not in stored:
                stored[name] = field.initial()
        return stored

    def infer(self, value: Any) -> Any:
        """Type the texts of a form by this schema; unknown names and impossible values stay as they are."""
        if not isinstance(value, Mapping):
            return value
        typed: dict[str, Any] = {}
        for name, item in value.items():
            field = self.shape.get(name)
            if field is None and name in self.shorthand_fields:
                field = self.shorthand_fields[name].field
            typed[name] = item if field is None or item is None else field.infer(item)
        return typed


def _given(data: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(data, Mapping) or name not in data:
            return kinds.UNSET
        data = data[name]
    return data


def merge(stored: Mapping[str, Any], patch: Mapping[str, Any], shape: Mapping[str, kinds.Field] | None = None) -> Any:
    """Lay a partial record over a stored one: records are merged, arrays, sets, maps and null replace.

    Without a `shape` every object counts as a record.
    """
    merged = copy.copy(dict(stored))
    for name, value in patch.items():
        field = shape.get(name) if shape is not None else None
        below = merged.get(name)
        if isinstance(value, Mapping) and isinstance(below, Mapping) and (shape is None or _is_record(field)):
            merged[name] = merge(below, value, field.schema.shape if isinstance(field, kinds.Record) else None)
        else:
            merged[name] = value
    return merged


def _is_record(field: kinds.Field | None) -> bool:
    return isinstance(field, kinds.Record)


class Config(Record):
    """Base of a plugin's settings.

    `checks` look at the plugin object (paths start with `config.`), `config_checks` at this record; see the package's
    docstring for an example.
    """

    config_checks: ClassVar[Sequence[Check]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.entity_checks = tuple(self.checks)
        self.checks = tuple(self.config_checks)  # type: ignore[misc]
