"""Changes that plugins make to a header section, and their cheap application to the bytes that go out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

from kong_gevent.http.fields import FieldIndex, normalised_name
from kong_gevent.http.lines import TOKEN

IDENTITY_HEADERS = (
    "X-Consumer-ID",
    "X-Consumer-Custom-ID",
    "X-Consumer-Username",
    "X-Credential-Identifier",
    "X-Anonymous-Consumer",
)
"""Fields that tell the upstream who asks."""
IDENTITY_NAMES = frozenset(normalised_name(name) for name in IDENTITY_HEADERS)
"""The same as they are looked up."""
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_MAX_KNOWN = 4096
_NOTHING: AbstractSet[str] = frozenset()
_known: dict[str, tuple[str, bytes]] = {}


def field_text(text: str) -> str:
    """A text that somebody chose freely, such as a name, as the value of a field: control characters become `%XX`."""
    return text if text.isprintable() else _CONTROLS.sub(lambda match: f"%{ord(match.group()):02X}", text)


def _name(name: str) -> tuple[str, bytes]:
    """The spelling for look-ups and the bytes for the wire; ValueError when `name` cannot be a field name."""
    known = _known.get(name)
    if known is None:
        encoded = name.encode("latin-1", "replace")
        if not TOKEN.fullmatch(encoded):
            raise ValueError(f"bad header name {name!r}")
        known = (normalised_name(name), encoded)
        if len(_known) < _MAX_KNOWN:
            _known[name] = known
    return known


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8")


def _line(encoded: bytes, value: str | int | float | bytes) -> bytes:
    if isinstance(value, bytes):
        data = value
    elif isinstance(value, int):
        return b"%b: %d\r\n" % (encoded, value)
    else:
        data = str(value).encode("utf-8")
    if b"\r" in data or b"\n" in data or b"\0" in data:
        raise ValueError(f"a line break or NUL in the value of {encoded.decode('latin-1')}")
    return b"%b: %b\r\n" % (encoded, data)


def _name_of(line: bytes) -> str:
    return normalised_name(line.partition(b":")[0].decode("latin-1"))


_sets: dict[frozenset[str], frozenset[str]] = {}


def _shared(names: frozenset[str]) -> frozenset[str]:
    """One object for equal sets of names, so that they can be told by identity."""
    if len(_sets) >= _MAX_KNOWN:
        _sets.clear()
    return _sets.setdefault(names, names)


_unions: dict[tuple[AbstractSet[str], AbstractSet[str]], tuple[AbstractSet[str], bool]] = {}


def _unite(touched: AbstractSet[str], names: AbstractSet[str]) -> tuple[AbstractSet[str], bool]:
    """The union of two sets and whether they have nothing in common; remembered, for templates meet again and again."""
    found = (_shared(frozenset(touched | names)), touched.isdisjoint(names))
    if len(_unions) >= _MAX_KNOWN:
        _unions.clear()
    _unions[touched, names] = found
    return found


class HeaderTemplate:
    """Several fields that always change together, prepared once: `HeaderTemplate([("X-Limit", "%d"), …])`.

    Patterns are texts with `%d` (integers), `%a` (numbers) or `%b` (bytes without line breaks, which the caller vouches
    for); a value that never changes goes through `constant`. `added` are fields that get one more line and keep the
    others, unless the very same line was added before; `cleared` are names to remove.
    """

    __slots__ = ("added", "names", "pattern", "tells_identity")

    def __init__(
        self,
        fields: Sequence[tuple[str, str | bytes]] = (),
        *,
        added: Sequence[tuple[str, str | bytes]] = (),
        cleared: Sequence[str] = (),
    ) -> None:
        self.names = _shared(frozenset([_name(name)[0] for name, _ in fields] + [_name(name)[0] for name in cleared]))
        self.added = _shared(frozenset([_name(name)[0] for name, _ in added]))
        self.pattern = b"".join([_line(_name(name)[1], _bytes(pattern)) for name, pattern in (*fields, *added)])
        self.tells_identity = not IDENTITY_NAMES.isdisjoint(self.names)

    @staticmethod
    def constant(value: str | int | float | bytes) -> bytes:
        """A pattern that gives exactly this value."""
        return _bytes(value if isinstance(value, (str, bytes)) else str(value)).replace(b"%", b"%%")


class Section(Protocol):
    """The header section that edits are applied to."""

    untouched_by: AbstractSet[str] | None
    """Names that were found to be missing from it, so that the same edits need not look again."""
    cut: tuple[AbstractSet[str], bytes] | None
    """Names that were taken out of it and the lines that were left, so that the same edits need not do it again."""
    ruled: tuple[Any, Any, Any] | None
    """Rules (see `header_rules`) that were applied to it, and the edit that they came to."""

    @property
    def lines(self) -> list[tuple[bytes, bytes]]: ...

    @property
    def forward(self) -> bytes: ...

    @property
    def index(self) -> FieldIndex: ...


class FieldEdits:
    """What was set, added and cleared; names ignore case and take `_` for `-`."""

    __slots__ = ("_added", "_text", "_touched")

    def __init__(self) -> None:
        self._text = b""  # all new lines, each with its line end
        self._touched: AbstractSet[str] = _NOTHING
        self._added: AbstractSet[str] = _NOTHING

    def set(self, name: str, value: str | int | float | bytes | Sequence[str]) -> None:
        """Set the field to one value, or to several lines when a list is given; earlier values go."""
        key, encoded = _name(name)
        if isinstance(value, (list, tuple)):
            lines = b"".join([_line(encoded, item) for item in value])
        else:
            lines = _line(encoded, value)  # type: ignore[arg-type]
        self._make_way(key)
        self._text += lines

    def set_all(self, template: HeaderTemplate, values: tuple[Any, ...] = ()) -> None:
        """Set the fields of a template at once; earlier values of them go."""
        names = template.names
        union, apart = _unions.get((self._touched, names)) or _unite(self._touched, names)
        if not apart or (self._added and not self._added.isdisjoint(names)):
            self._drop(names)
        self._touched = union
        lines = template.pattern % values
        if template.added:
            if not self._added.isdisjoint(template.added):
                again = lines.splitlines(keepends=True)
                self._text = b"".join([line for line in self._each() if line not in again])
            self._added |= template.added
        self._text += lines

    def add(self, name: str, value: str | int | float | bytes) -> None:
        """Add one more line of the field and keep the others."""
        key, encoded = _name(name)
        self._text += _line(encoded, value)
        self._added |= {key}

    def clear(self, name: str) -> None:
        """Remove the field in every spelling."""
        self._make_way(_name(name)[0])

    def _make_way(self, key: str) -> None:
        """Drop all lines of this name, those that are there already and those of the message itself."""
        if key in self._touched or key in self._added:
            self._drop(frozenset((key,)))
        self._touched |= {key}

    def _drop(self, names: AbstractSet[str]) -> None:
        """Take the lines of these names out of everything that was set or added so far."""
        self._added -= names
        self._text = b"".join([line for line in self._each() if _name_of(line) not in names])

    def _each(self) -> list[bytes]:
        return self._text.splitlines(keepends=True)

    def over(self, earlier: FieldEdits) -> FieldEdits:
        """These edits applied on top of earlier ones; `earlier` is used up."""
        touched = self._touched
        if not earlier.apart_from(touched):
            earlier._drop(touched)
        earlier._text += self._text
        earlier._touched |= touched
        earlier._added |= self._added
        return earlier

    def snapshot(self) -> tuple[AbstractSet[str], bytes]:
        """The names that were set or cleared, and all new lines: equal as long as nothing is changed."""
        return self._touched, self._text

    def touches(self, name: str) -> bool:
        """Whether the values that a message had under this normalised name go, because it was set or cleared."""
        return name in self._touched

    def apart_from(self, names: AbstractSet[str]) -> bool:
        """Whether none of these normalised names was set, added or cleared."""
        return self._touched.isdisjoint(names) and self._added.isdisjoint(names)

    def values(self, name: str) -> list[str] | None:
        """The values set or added under this name; an empty list when it was cleared, None when it is untouched."""
        key = normalised_name(name)
        found = [
            line.partition(b": ")[2].rstrip(b"\r\n").decode("latin-1") for line in self._each() if _name_of(line) == key
        ]
        if found:
            return found
        return [] if key in self._touched else None

    def merge_into(self, found: dict[str, str | list[str]]) -> None:
        """Make these edits to a mapping of normalised names to values, or to lists of values of repeated fields."""
        for name in self._touched:
            found.pop(name, None)
        for line in self.added().decode("latin-1").split("\r\n")[:-1]:
            name, _, value = line.partition(": ")
            name = normalised_name(name)
            earlier = found.get(name)
            if earlier is None:
                found[name] = value
            else:
                found[name] = [*earlier, value] if isinstance(earlier, list) else [earlier, value]

    def added(self) -> bytes:
        """All new lines, each with its line end."""
        return self._text

    def apply(self, section: Section, forward: bytes | None = None) -> bytes:
        """The section's lines after these edits; `forward` are its bytes when nothing has to be removed."""
        touched = self._touched
        cut = section.cut
        if cut is None or cut[0] is not touched:
            if touched is section.untouched_by or section.index.lacks(touched):
                section.untouched_by = touched
                return (section.forward if forward is None else forward) + self._text
            lines = [line for line in section.lines if normalised_name(line[0].decode("latin-1")) not in touched]
            cut = section.cut = (touched, b"".join([b"%b: %b\r\n" % line for line in lines]))
        return cut[1] + self._text


_new = FieldEdits.__new__


def begun(template: HeaderTemplate, values: tuple[Any, ...] = ()) -> FieldEdits:
    """Edits that begin with a template, as most do: what `set_all` makes of none, at half the cost."""
    edits = _new(FieldEdits)
    edits._text = template.pattern % values
    edits._touched = template.names
    edits._added = template.added
    return edits
