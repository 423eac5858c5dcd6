"""Fields that are removed, renamed, replaced, added and appended, as transforming plugins are told to.

Strategy: what has to be done follows from which of the fields are there, and how often. For each such situation the
changes are worked out once, as one prepared template; a request then costs a look at those fields and one edit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kong_gevent.http.fields import normalised_name
from kong_gevent.pdk.edits import IDENTITY_NAMES, FieldEdits, HeaderTemplate, Section
from kong_gevent.pdk.templates import Template

if TYPE_CHECKING:
    from kong_gevent.pdk.context import Context
    from kong_gevent.pdk.upstream import UpstreamView
    from kong_gevent.pdk.views import ResponseView

MAX_SITUATIONS = 256
OWN = frozenset(
    ("content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade")
)
"""Fields of framing and of the connection, which are the gateway's."""
_get: Any = dict.get

Getter = Callable[[Any, Mapping[str, Any]], bytes]
Pair = tuple[str, Template]


class _Field:
    """What has become of one field: `kept` are the lines it had, `lines` those that came."""

    __slots__ = ("count", "kept", "lines", "spelled")

    def __init__(self, name: str, count: int) -> None:
        self.spelled = name
        self.count = count
        self.kept = count > 0
        self.lines: list[Template | Getter] = []

    def set(self, spelled: str, lines: list[Template | Getter]) -> None:
        self.spelled, self.kept, self.lines = spelled, False, lines


class HeaderRules:
    """The rules of one configuration, applied in this order: remove, rename, replace, add, append.

    Renaming and replacing need a field that is there, adding one that is not. `as_found`: whether for renaming and
    replacing the fields count that were there in the beginning, and not what earlier rules have left. Templates are
    rendered with the names given to `apply_…` (see `templates.names_for`).
    """

    def __init__(
        self,
        *,
        remove: Sequence[str] = (),
        rename: Sequence[tuple[str, str]] = (),
        replace: Sequence[Pair] = (),
        add: Sequence[Pair] = (),
        append: Sequence[Pair] = (),
        as_found: bool = False,
    ) -> None:
        self._remove = remove
        self._rename = [(old, new) for old, new in rename if normalised_name(new) not in OWN]
        self._replace, self._add, self._append = (_allowed(pairs) for pairs in (replace, add, append))
        self._as_found = as_found
        used = [*remove, *(name for pair in self._rename for name in pair)]
        used += [name for name, _ in (*self._replace, *self._add, *self._append)]
        self.names = tuple(dict.fromkeys(normalised_name(name) for name in used))
        self._name_set = frozenset(self.names)
        self._identity = not self._name_set.isdisjoint(IDENTITY_NAMES)
        self._computes = any(
            value.constant is None for pairs in (self._replace, self._add, self._append) for _, value in pairs
        )
        self._plans: dict[tuple[int, ...], tuple[HeaderTemplate, list[Getter]]] = {}

    def apply_upstream(self, ctx: Context, names: Mapping[str, Any]) -> None:
        """Change what the upstream gets; raises `ExpressionError`."""
        if self.names:
            fields = ctx.fields if self._untouched(ctx.up) and (ctx.identity is None or not self._identity) else None
            known = None if fields is None else fields.ruled
            if known is None or known[0] is not self:
                known = self._change(fields, ctx.upstream, names)
            ctx.set_upstream(known[1], known[2])

    def apply_response(self, ctx: Context, names: Mapping[str, Any]) -> None:
        """Change what the client gets; raises `ExpressionError`."""
        if self.names:
            fields = ctx.answer if self._untouched(ctx.down) else None
            known = None if fields is None else fields.ruled
            if known is None or known[0] is not self:
                known = self._change(fields, ctx.response, names)
            ctx.set_response(known[1], known[2])

    def _untouched(self, edits: FieldEdits | None) -> bool:
        return edits is None or edits.apart_from(self._name_set)

    def _change(
        self, section: Section | None, view: UpstreamView | ResponseView, names: Mapping[str, Any]
    ) -> tuple[Any, HeaderTemplate, tuple[bytes, ...]]:
        """These rules, and the edit that they come to for a section, or for a view when its fields were changed.

        Where no text is to be computed, a section that comes again gets the same edit; so it is kept there.
        """
        index = section.index if section is not None else None
        known = (self, *self._worked_out(index, view, names))
        if section is not None and not self._computes:
            section.ruled = known
        return known

    def _worked_out(
        self, index: Any, view: UpstreamView | ResponseView, names: Mapping[str, Any]
    ) -> tuple[HeaderTemplate, tuple[bytes, ...]]:
        if index is not None:
            found = [_get(index, name) for name in self.names]
            counts = tuple([0 if v is None else len(v) if v.__class__ is list else 1 for v in found])
        else:
            counts = tuple([len(view.header_values(name)) for name in self.names])
        plan = self._plans.get(counts)
        if plan is None:
            plan = self._plan(counts)
        template, getters = plan
        return template, tuple([getter(view, names) for getter in getters]) if getters else ()

    def _plan(self, counts: tuple[int, ...]) -> tuple[HeaderTemplate, list[Getter]]:
        fields = {name: _Field(name, count) for name, count in zip(self.names, counts, strict=True)}
        for name in self._remove:
            fields[normalised_name(name)].set(name, [])
        self._rename_in(fields)
        for name, value in self._replace:
            field = fields[normalised_name(name)]
            if self._is_there(field) or name.lower() == "host":
                field.set(name, [value])
        for name, value in self._add:
            field = fields[normalised_name(name)]
            if not (field.kept or field.lines) and name.lower() != "host":
                field.set(name, [value])
        for name, value in self._append:
            field = fields[normalised_name(name)]
            if name.lower() == "host":  # there can only be one
                field.set(name, [value])
            else:
                field.spelled = name
                field.lines = [*field.lines, value]
        plan = _template(list(fields.values()))
        if len(self._plans) >= MAX_SITUATIONS:
            self._plans.clear()
        self._plans[counts] = plan
        return plan

    def _is_there(self, field: _Field) -> bool:
        return field.count > 0 if self._as_found else field.kept or bool(field.lines)

    def _rename_in(self, fields: dict[str, _Field]) -> None:
        for old, new in self._rename:
            source, target = fields[normalised_name(old)], fields[normalised_name(new)]
            if old == new or not self._is_there(source):
                continue
            keeps = source.kept or (self._as_found and not source.lines)
            lines: list[Template | Getter] = [_copy(old, at) for at in range(source.count if keeps else 0)]
            lines += source.lines
            source.set(old, [])
            target.set(new, lines)


def _allowed(pairs: Sequence[Pair]) -> list[Pair]:
    return [(name, value) for name, value in pairs if normalised_name(name) not in OWN]


def _copy(name: str, at: int) -> Getter:
    return lambda view, _: view.header_values(name)[at].encode("latin-1")


def _escaped(text: str) -> bytes:
    """A value for the wire: neither a client nor a setting begins a new field with it."""
    value = text.encode("utf-8", "surrogateescape")
    for octet, escaped in ((b"\r", b"%0D"), (b"\n", b"%0A"), (b"\0", b"%00")):
        if octet in value:
            value = value.replace(octet, escaped)
    return value


def _rendered(template: Template) -> Getter:
    return lambda _, names: _escaped(template.render(names))


def _template(fields: list[_Field]) -> tuple[HeaderTemplate, list[Getter]]:
    """The outcome as one template, and what fills its gaps."""
    sets = [(field.spelled, line) for field in fields if not field.kept for line in field.lines]
    adds = [(field.spelled, line) for field in fields if field.kept for line in field.lines]
    cleared = [field.spelled for field in fields if field.count and not field.kept and not field.lines]
    getters: list[Getter] = []

    def pattern(line: Template | Getter) -> bytes:
        if isinstance(line, Template) and line.constant is not None:
            return HeaderTemplate.constant(_escaped(line.constant))
        getters.append(_rendered(line) if isinstance(line, Template) else line)
        return b"%b"

    ready = [[(name, pattern(line)) for name, line in lines] for lines in (sets, adds)]
    return HeaderTemplate(ready[0], added=ready[1], cleared=cleared), getters
