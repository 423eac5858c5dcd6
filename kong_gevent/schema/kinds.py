"""The types of Kong's schemas as Marshmallow fields: what JSON each takes, its texts, its null and default rules."""

from __future__ import annotations

import copy
import secrets
import string
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from marshmallow import ValidationError

from kong_gevent.schema.field import UNSET, Field
from kong_gevent.schema.messages import Errors, leaf
from kong_gevent.schema.rules import compile_rules, is_uuid

if TYPE_CHECKING:
    from kong_gevent.schema.record import Record as RecordSchema

__all__ = [
    "UNSET",
    "Array",
    "Boolean",
    "Field",
    "Foreign",
    "Integer",
    "Json",
    "Map",
    "Number",
    "Record",
    "Set",
    "String",
    "random_string",
]

MAX_EXACT = 2**53
"""Greatest integer that every JSON reader keeps exactly."""
_ALPHABET = string.ascii_letters + string.digits


def random_string() -> str:
    """32 random letters and digits, what Kong gives to keys and secrets that nobody chose."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(32))


class String(Field):
    """Text; empty is refused unless `len_min=0`."""

    type_name = "string"
    type_error = "expected a string"
    built_in: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.longest: int | None = None
        self.limit(None)

    def limit(self, longest: int | None) -> None:
        """Rules that are no attributes, and so not in `/schemas`: not empty, and at most so many bytes."""
        self.longest = longest
        implied = {"len_min": 1} if "len_min" not in self.attributes and "len_eq" not in self.attributes else {}
        if longest is not None:
            implied["len_max"] = longest
        if implied:
            self.rules = compile_rules({**self.attributes, **implied})

    def convert(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError(self.type_error)
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                position = len(value[: error.start].encode()) + 1
                text = f"invalid utf-8 character sequence detected at position {position}"
                raise ValidationError(text) from None
        return value

    def copy_with(self, **changes: Any) -> Field:
        twin = cast("String", super().copy_with(**changes))
        twin.limit(self.longest)
        return twin

    def generate(self) -> str:
        return str(uuid.uuid4()) if self.attributes.get("uuid") else random_string()


class Number(Field):
    """A JSON number; integral fractions become integers, infinities are refused."""

    type_name = "number"
    type_error = "expected a number"

    def convert(self, value: Any) -> int | float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValidationError(self.type_error)
        if isinstance(value, int):
            return value if -MAX_EXACT <= value <= MAX_EXACT else self._large(value)
        if value != value or value in (float("inf"), float("-inf")):
            raise ValidationError(self.type_error)
        return int(value) if value.is_integer() and abs(value) <= MAX_EXACT else value

    def _large(self, value: int) -> float:
        try:
            return float(value)
        except OverflowError:
            raise ValidationError(self.type_error) from None

    def generate(self) -> int | float:
        return round(time.time(), 3)

    def infer(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError:
            return value

    @staticmethod
    def _parse(text: str) -> int | float:
        if "_" in text:
            raise ValueError(text)
        try:
            return int(text)
        except ValueError:
            return float(text)


class Integer(Number):
    """A number without fraction, exact in every JSON reader (up to 2^53)."""

    type_name = "integer"
    type_error = "expected an integer"

    def convert(self, value: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and "between" in self.attributes:
            return value  # however large: the range has the better text
        number = super().convert(value)
        if not isinstance(number, int):
            raise ValidationError(self.type_error)
        return number

    def generate(self) -> int:
        return int(time.time())


class Boolean(Field):
    """`true` or `false`, no other spelling."""

    type_name = "boolean"
    type_error = "expected a boolean"

    def convert(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError(self.type_error)
        return value

    def infer(self, value: Any) -> Any:
        return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


class Array(Field):
    """A list; order and duplicates are kept. Elements are checked before the collection's rules; none may be null."""

    type_name = "array"
    type_error = "expected an array"
    takes_objects: ClassVar[bool] = False
    """Whether a type turns objects into lists; only for descriptions of what is accepted."""

    def __init__(self, elements: Field, **options: Any) -> None:
        self.elements = elements.copy_with(required=True) if not elements.wanted else elements
        super().__init__(**options)

    def convert(self, value: Any) -> list[Any]:
        if isinstance(value, dict) and not value:
            value = []  # Lua cannot tell {} from [], so Kong's clients may send either
        if not isinstance(value, (list, tuple)):
            raise ValidationError(self.type_error)
        items: list[Any] = []
        errors: Errors = {}
        element = self.elements
        for position, item in enumerate(self.distinct(value), 1):
            try:
                items.append(element.deserialize(item))
            except ValidationError as error:
                errors[position] = leaf(error)
        if errors:
            raise ValidationError(errors)
        return items

    def distinct(self, value: Any) -> Any:
        """The elements that count."""
        return value

    def infer(self, value: Any) -> Any:
        if value is None or (isinstance(value, dict) and value):
            return value
        return [self.elements.infer(item) for item in (value if isinstance(value, list) else [value])]


class Set(Array):
    """A list without duplicates: the first of equal elements is kept."""

    type_name = "set"
    type_error = "expected a set"

    def distinct(self, value: Any) -> Any:
        try:
            return list({(type(item), item): item for item in value}.values())
        except TypeError:
            return [item for at, item in enumerate(value) if item not in value[:at]]


def _object(value: Any, complaint: str) -> dict[str, Any]:
    """A JSON object, or the empty list for an empty one: Lua cannot tell them apart."""
    if isinstance(value, list) and not value:
        return {}
    if not isinstance(value, dict):
        raise ValidationError(complaint)
    return value


class Map(Field):
    """An object with free keys. The first wrong key or value is the error of the whole map."""

    type_name = "map"
    type_error = "expected a map"

    def __init__(self, keys: Field | None = None, values: Field | None = None, **options: Any) -> None:
        keys, values = keys or String(), values or String()
        self.keys = keys if keys.wanted else keys.copy_with(required=True)
        self.values = values if values.wanted else values.copy_with(required=True)
        super().__init__(**options)

    def convert(self, value: Any) -> dict[str, Any]:
        items = _object(value, self.type_error).items()
        return {self.keys.deserialize(key): self.values.deserialize(item) for key, item in items}

    def infer(self, value: Any) -> Any:
        return {key: self.values.infer(item) for key, item in value.items()} if isinstance(value, dict) else value


class Record(Field):
    """An object with known fields: a `Record` class, or a mapping of names to fields with optional `checks`."""

    type_name = "record"
    type_error = "expected a record"

    def __init__(
        self,
        shape: type[RecordSchema] | Mapping[str, Any],
        *,
        required: bool = True,
        checks: tuple[Any, ...] | list[Any] = (),
        **options: Any,
    ) -> None:
        from kong_gevent.schema.record import Record as Base  # the two modules need each other

        if isinstance(shape, Mapping):
            shape = type("InlineRecord", (Base,), {**shape, "checks": list(checks)})
        self.schema = shape()
        super().__init__(required=required, **options)

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> Any:
        if value is UNSET and (self.wanted or self.default is not UNSET):
            value = {} if self.default is UNSET else copy.deepcopy(self.default)
        elif isinstance(value, dict) and isinstance(self.default, dict):
            value = {**copy.deepcopy(self.default), **value}  # as clients do that compute what they will get
        return super().deserialize(value, attr, data, **kwargs)

    def initial(self) -> Any:
        return super().initial() if self.default is not UNSET or not self.wanted else {}

    def convert(self, value: Any) -> dict[str, Any]:
        result, errors = self.schema.run(_object(value, self.type_error))
        if errors:
            raise ValidationError(errors)
        return result

    def infer(self, value: Any) -> Any:
        return self.schema.infer(value)


class Foreign(Field):
    """A reference to another entity, stored as `{"id": …}`.

    `on_delete`: "restrict" (the parent stays), "cascade" (this one goes too) or "null" (the reference is cleared).
    """

    type_name = "foreign"
    type_error = "expected a record"

    def __init__(self, reference: str, *, on_delete: str = "restrict", **options: Any) -> None:
        self.reference = reference
        self.on_delete = on_delete
        if on_delete != "restrict":
            options["on_delete"] = on_delete
        super().__init__(reference=reference, **options)

    def convert(self, value: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            raise ValidationError(self.type_error)
        key = value.get("id")
        if key is None:
            raise ValidationError({"id": "missing primary key"})
        if not is_uuid(key):
            raise ValidationError({"id": "expected a valid UUID"})
        return {"id": key.lower()}


class Json(Field):
    """Any JSON value."""

    type_name = "json"
