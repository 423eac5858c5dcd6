"""What all types of Kong's schemas share: attributes as in `/schemas`, defaults, null, rules."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import marshmallow
from marshmallow import ValidationError

from kong_gevent.schema.messages import REQUIRED
from kong_gevent.schema.rules import BUILDERS, Rule, compile_rules
from kong_gevent.vaults.reference import is_reference

UNSET: Any = marshmallow.missing
UNPUBLISHED = "secret"
"""The flag that is for the gateway alone: the value is not to be recorded (see `masking`)."""
FLAGS = (
    *("auto", "unique", "unique_across_ws", "immutable", "abstract", "transient", "referenceable", "encrypted"),
    UNPUBLISHED,
)
NOTES = ("description", "examples", "deprecation", "reference", "on_delete", "err", "indexes", "namespace", "inline")


class Field(marshmallow.fields.Field[Any]):
    """Base of all types. `attributes` are Kong's, in the order of the `/schemas` document.

    Raises `TypeError` for an attribute that Kong's schemas do not have.
    """

    type_name: ClassVar[str] = ""
    type_error: ClassVar[str] = ""
    built_in: ClassVar[Mapping[str, Any]] = {}
    """Attributes that the type itself sets; an instance may override them."""

    def __init__(
        self,
        *,
        required: bool | None = None,
        load_default: Any = UNSET,
        validate: Any = None,
        metadata: Mapping[str, Any] | None = None,
        **attributes: Any,
    ) -> None:
        merged = {**self.built_in, **attributes}
        unknown = [name for name in merged if name not in BUILDERS and name not in FLAGS and name not in NOTES]
        if unknown:
            raise TypeError(f"{type(self).__name__} does not know {', '.join(unknown)}")
        if required is None:
            required = bool(merged.pop("required", False))
        notes = dict(metadata or {})
        self.wanted = required
        self.default = load_default
        self.attributes: dict[str, Any] = {"type": self.type_name, **notes, **merged}
        if required:
            self.attributes["required"] = True
        if load_default is not UNSET:
            self.attributes["default"] = load_default
        self.rules: tuple[Rule, ...] = compile_rules(merged)
        self.must_be_null = "eq" in merged and merged["eq"] is None
        self.auto = bool(merged.get("auto"))
        self.referenceable = bool(merged.get("referenceable"))
        self.error_text: str | None = merged.get("err")
        super().__init__(
            load_default=None if load_default is UNSET and not required else load_default,
            required=required and load_default is UNSET and not self.auto,
            allow_none=not required,
            validate=validate,
            metadata=notes,
        )

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kwargs: Any) -> Any:
        """The value to store; raises `ValidationError` with a text or a tree."""
        if value is UNSET:
            if self.auto:
                return self.generate()
            if self.default is UNSET:
                if self.wanted:
                    raise ValidationError(REQUIRED)
                return None
            return self.initial()
        if value is None:
            return self.null()
        if self.referenceable and is_reference(value):
            return value
        if self.must_be_null:
            raise ValidationError(self.error_text or "value must be null")
        value = self.convert(value)
        for rule in self.rules:
            error = rule(value)
            if error:
                raise ValidationError(self.error_text or error)
        if self.validators:
            self._validate(value)
        return value

    def initial(self) -> Any:
        """The default, or null; what an entity shows that was stored before the field existed."""
        return None if self.default is UNSET else copy.deepcopy(self.default)

    def null(self) -> Any:
        """What an explicit null means here."""
        if self.auto:
            return self.generate()
        if self.wanted:
            raise ValidationError(REQUIRED)
        if self.attributes.get("eq") is not None:
            raise ValidationError(self.error_text or f"value must be {self.attributes['eq']}")
        return None

    def generate(self) -> Any:
        """The value of an `auto` field that was not given."""
        raise NotImplementedError(f"{type(self).__name__} has no automatic value")

    def convert(self, value: Any) -> Any:
        """Check the JSON type; returns the value in its stored form, raises `ValidationError`."""
        return value

    def infer(self, value: Any) -> Any:
        """Give a value from a form its type where that is possible; anything else is left for validation to refuse."""
        return value

    def copy_with(self, **changes: Any) -> Field:
        """The same field with other attributes (Kong's per-type overrides of a field)."""
        twin = copy.copy(self)
        attributes = {**self.attributes, **changes}
        for name in ("type", "required", "default", *self.metadata):
            attributes.pop(name, None)
        wanted = changes.pop("required", self.wanted)
        default = changes.pop("load_default", self.default)
        attributes.pop("load_default", None)
        Field.__init__(twin, required=wanted, load_default=default, metadata=self.metadata, **attributes)
        return twin
