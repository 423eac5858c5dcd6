"""Entity checks: rules over several fields, with Kong 3.9's texts. Paths may be dotted (`config.redis.host`).

A check is left out when a field it looks at is wrong already or holds a vault reference, or when all are null (but for
those whose very point is absence).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from kong_gevent.schema.messages import ENTITY, Errors
from kong_gevent.schema.rules import matcher, quoted, same
from kong_gevent.vaults.reference import is_reference

Failure = str | Mapping[str, Any] | None


def get(data: Any, path: str) -> Any:
    """The value at a dotted path; None where something on the way is missing."""
    for name in path.split("."):
        if not isinstance(data, Mapping):
            return None
        data = data.get(name)
    return data


def _failed(errors: Errors, path: str) -> bool:
    """Whether a field, or a record that it is in, has an error."""
    found: Any = errors
    for name in path.split("."):
        if not isinstance(found, Mapping):
            return found is not None
        found = found.get(name)
    return found is not None


def put(errors: Errors, path: str, text: Any) -> None:
    """Set an error at a dotted path; a text on the way is replaced."""
    *parents, last = path.split(".")
    for name in parents:
        inner = errors.get(name)
        if not isinstance(inner, dict):
            inner = errors[name] = {}
        errors = inner
    errors[last] = text


def is_empty(value: Any) -> bool:
    """Null, the empty text and empty collections."""
    return value is None or (isinstance(value, (str, list, dict)) and not value)


class Check:
    """Base: `paths` are the fields looked at; `evaluate` returns a text for `@entity`, a tree, or None."""

    kind: ClassVar[str] = ""
    run_with_missing: ClassVar[bool] = True
    texts_in_update: ClassVar[bool] = False
    paths: Sequence[str] = ()

    def run(self, data: Mapping[str, Any], errors: Errors, updating: bool) -> None:
        """Evaluate unless a precondition is missing; adds to `errors`."""
        missing = True
        for path in self.paths:
            if errors and _failed(errors, path):
                return
            value = get(data, path)
            if value is not None:
                missing = False
                if is_reference(value):
                    return
        if missing and not self.run_with_missing:
            return
        failure = self.evaluate(data, errors)
        if isinstance(failure, str):
            text = f"when updating, {failure}" if updating and self.texts_in_update else failure
            errors.setdefault(ENTITY, []).append(text)
        elif failure:
            for path, text in failure.items():
                if path == ENTITY:
                    errors.setdefault(ENTITY, []).extend([text] if isinstance(text, str) else text)
                else:
                    put(errors, path, text)

    def evaluate(self, data: Mapping[str, Any], errors: Errors) -> Failure:
        """The test itself."""
        raise NotImplementedError

    def document(self) -> dict[str, Any]:
        """The check as `/schemas` shows it."""
        return {self.kind: list(self.paths)}


class _OfFields(Check):
    def __init__(self, *paths: str) -> None:
        self.paths = paths


class AtLeastOneOf(_OfFields):
    """One of the fields must hold something."""

    kind = "at_least_one_of"
    texts_in_update = True

    def evaluate(self, data: Mapping[str, Any], errors: Errors) -> Failure:
        if all(is_empty(get(data, path)) for path in self.paths):
            return f"at least one of these fields must be non-empty: {quoted(self.paths)}"
        return None


class OnlyOneOf(_OfFields):
    """Exactly one of the fields must hold something."""

    kind = "only_one_of"

    def evaluate(self, data: Mapping[str, Any], errors: Errors) -> Failure:
        if sum(not is_empty(get(data, path)) for path in self.paths) != 1:
            return f"exactly one of these fields must be non-empty: {quoted(self.paths)}"
        return None


class MutuallyExclusive(_OfFields):
    """At most one of the fields may hold something."""

    kind = "mutually_exclusive"

    def evaluate(self, data: Mapping[str, Any], errors: Errors) -> Failure:
        if sum(not is_empty(get(data, path)) for path in self.paths) > 1:
            return f"only one or none of these fields must be set: {quoted(self.paths)}"
        return None


class MutuallyRequired(_OfFields):
    """All of the fields or none of them."""

    kind = "mutually_required"

    def evaluate(self, data: Mapping[str, Any], errors: Errors) -> Failure:
        if 0 < sum(not is_empty(get(data, path)) for path in self.paths) < len(self.paths):
            return f"all or none of these fields must be set: {quoted(self.paths)}"
        return None


class Distinct(_OfFields):
    """The fields that are set must differ."""

    kind = "distinct"

    def evaluate(self, data: Mapping[str, Any], errors: Errors) -> Failure:
        values = [value for path in self.paths if (value := get(data, path)) is not None]
        if any(same(value, other) for at, value in enumerate(values) for other in values[:at]):
            return f"values of these fields must be distinct: {quoted(self.paths)}"
        return None


class MutuallyExclusiveSets(Check):
    """Fields of one group may not be set together with fields of the other."""

    kind = "mutually_exclusive_sets"

    def __init__(self, set1: Sequence[str], set2: Sequence[str]) -> None:
        self.set1, self.set2 = tuple(set1), tuple(set2)
        self.paths = (*self.set1, *self.set2)

    def evaluate(self, data: Mapping[str, Any], errors: Errors) -> Failure:
        first = [path for path in self.set1 if not is_empty(get(data, path))]
        second = [path for path in self.set2 if not is_empty(get(data, path))]
        if first and second:
            return f"these sets are mutually exclusive: ({quoted(first)}), ({quoted(second)})"
        return None

    def document(self) -> dict[str, Any]:
        return {self.kind: {"set1": list(self.set1), "set2": list(self.set2)}}


class Conditional(Check):
    """If one field matches, another must: errors on that other field and in `@entity`.

    Matches are rules by name, e.g. `{"one_of": [...]}`, `{"eq": None}`, `{"required": True}`, `{"len_eq": 0}`.
    """

    kind = "conditional"
    run_with_missing = False

    def __init__(
        self,
        if_field: str,
        if_match: Mapping[str, Any],
        then_field: str,
        then_match: Mapping[str, Any],
        then_err: str | None = None,
    ) -> None:
        self.paths = (if_field,)
        self.then_field = then_field
        self.then_err = then_err
        self._if, self._then = matcher(if_match), matcher(then_match)
        self._document = {
            "if_field": if_field,
            "if_match": dict(if_match),
            "then_field": then_field,
            "then_match": {name: True if callable(rule) else rule for name, rule in then_match.items()},
        }

    def evaluate(self, data: Mapping[str, Any], errors: Errors) -> Failure:
        if self._if(get(data, self.paths[0])):
            return None
        failure = self._then(get(data, self.then_field))
        if not failure:
            return None
        put(errors, self.then_field, failure)
        return self.then_err or f"failed conditional validation given value of field '{self.paths[0]}'"

    def document(self) -> dict[str, Any]:
        shown = {**self._document, "then_err": self.then_err} if self.then_err else self._document
        return {self.kind: shown}


class ConditionalAtLeastOneOf(Check):
    """If a field matches, one of a list must hold something; a second condition with its own list may follow."""

    kind = "conditional_at_least_one_of"
    run_with_missing = False
    texts_in_update = True

    def __init__(
        self,
        if_field: str,
        if_match: Mapping[str, Any],
        then_at_least_one_of: Sequence[str],
        then_err: str | None = None,
        else_match: Mapping[str, Any] | None = None,
        else_then_at_least_one_of: Sequence[str] = (),
        else_then_err: str | None = None,
    ) -> None:
        self.paths = (if_field,)
        self._branches = [(matcher(if_match), tuple(then_at_least_one_of), then_err)]
        self._document: dict[str, Any] = {
            "if_field": if_field,
            "if_match": dict(if_match),
            "then_at_least_one_of": list(then_at_least_one_of),
        }
        if then_err:
            self._document["then_err"] = then_err
        if else_match is not None:
            self._branches.append((matcher(else_match), tuple(else_then_at_least_one_of), else_then_err))
            self._document["else_match"] = dict(else_match)
            self._document["else_then_at_least_one_of"] = list(else_then_at_least_one_of)
            if else_then_err:
                self._document["else_then_err"] = else_then_err

    def evaluate(self, data: Mapping[str, Any], errors: Errors) -> Failure:
        value = get(data, self.paths[0])
        for condition, names, text in self._branches:
            if condition(value):
                continue
            if any(not is_empty(get(data, name)) for name in names):
                return None
            if text:
                return text.replace("%s", quoted(names))
            return f"at least one of these fields must be non-empty: {quoted(names)}"
        return None

    def document(self) -> dict[str, Any]:
        return {self.kind: self._document}


class Custom(Check):
    """A check in code: `function(data)` returns None, a text for `@entity`, or a mapping of paths to texts.

    It runs only when all `paths` are valid, and not when all of them are null unless `run_with_missing_fields`.
    """

    kind = "custom_entity_check"

    def __init__(
        self, *paths: str, function: Callable[[Mapping[str, Any]], Failure], run_with_missing_fields: bool = False
    ) -> None:
        self.paths = paths
        self._function = function
        self._run_with_missing_fields = run_with_missing_fields

    def run(self, data: Mapping[str, Any], errors: Errors, updating: bool) -> None:
        if self._run_with_missing_fields or any(get(data, path) is not None for path in self.paths):
            super().run(data, errors, updating)

    def evaluate(self, data: Mapping[str, Any], errors: Errors) -> Failure:
        return self._function(data)

    def document(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"field_sources": list(self.paths)}
        if self._run_with_missing_fields:
            shown["run_with_missing_fields"] = True
        return {self.kind: shown}
