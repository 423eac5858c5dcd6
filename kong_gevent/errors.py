"""Every error of the gateway, base classes first, leaves after; each knows what its receiver should see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class GatewayError(Exception):
    """Base of all errors that this project raises on purpose."""


class ConfigurationError(GatewayError):
    """The settings are wrong; `messages` lists every problem found, one line each."""

    def __init__(self, messages: Sequence[str] | str) -> None:
        self.messages: list[str] = [messages] if isinstance(messages, str) else list(messages)
        super().__init__("; ".join(self.messages))


class Overloaded(GatewayError):
    """A bounded queue (thread pool, connection pool) is full."""


class HttpError(GatewayError):
    """An exchange has to end with an error answer: `status` and `message` are what the client sees."""

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        self.status = status
        self.message = message
        self.reason = reason or message
        super().__init__(f"{status} {self.reason}")


class PluginLimit(HttpError):
    """A limit that a plugin set was exceeded: answered like the plugin's own errors."""


class ProtocolError(HttpError):
    """What a client sent breaks HTTP/1.1; the connection is closed after the answer."""


class AnswerError(GatewayError):
    """What an upstream sent breaks HTTP/1.1, or it ended too early (RFC 9112, sections 6.3 and 8)."""


class ConnectionClosed(GatewayError):
    """The peer went away, or the gateway closed the connection itself."""


class AnswerCut(ConnectionClosed):
    """An answer breaks off after its head has gone out, by the upstream or a plugin: the client sees that it is cut."""


class DeadlineExceeded(GatewayError):
    """A peer did not do its part in time."""


def again(error: Exception) -> Exception:
    """An error that is kept somewhere, to be raised.

    Once raised it would refer, by its traceback, to whom it is kept by: neither could go before garbage is collected.
    """
    return type(error)(*error.args)


# Coded errors of the data access objects: code, name, status and body are those of Kong 3.9.


def key_text(value: object) -> str:
    """A key as it appears in coded messages: Lua notation, names in alphabetical order, no spaces (`{name="x"}`)."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}={key_text(value[name])}" for name in sorted(value)) + "}"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


class DaoError(GatewayError):
    """Base of the coded errors: `code`, `name`, `status` of the answer, `message`, `fields` (or `options`)."""

    code = 0
    name = ""
    status = 400

    def __init__(self, message: str, fields: Any = None, options: Mapping[str, Any] | None = None) -> None:
        self.message = message
        self.fields = fields
        self.options = options
        super().__init__(message)

    def to_dict(self) -> dict[str, Any]:
        """The body of the answer, without the members that this error does not have."""
        body: dict[str, Any] = {"code": self.code, "name": self.name, "message": self.message}
        if self.fields is not None:
            body["fields"] = self.fields
        if self.options is not None:
            body["options"] = dict(self.options)
        return body


class InvalidPrimaryKey(DaoError):
    """The id in the path is no UUID, and the entity has no other key."""

    code, name = 1, "invalid primary key"


class SchemaViolation(DaoError):
    """The entity breaks its schema; `fields` mirrors the entity with a text at each wrong place."""

    code, name = 2, "schema violation"


class PrimaryKeyViolation(DaoError):
    """An entity with this id exists already."""

    code, name = 3, "primary key violation"


class ForeignKeyViolation(DaoError):
    """The entity refers to one that does not exist, or it cannot go because others refer to it."""

    code, name = 4, "foreign key violation"


class UniqueViolation(DaoError):
    """Another entity holds one of the unique values."""

    code, name, status = 5, "unique constraint violation", 409


class EntityNotFound(DaoError):
    """The entity to change does not exist."""

    code, name, status = 6, "not found", 404


class InvalidOffset(DaoError):
    """The page token was not made by this gateway."""

    code, name = 7, "invalid offset"


class DatabaseError(DaoError):
    """The datastore refused a statement; the client sees a generic 500."""

    code, name, status = 8, "database error", 500


class InvalidSize(DaoError):
    """The page size is no integer between 1 and 1000."""

    code, name = 9, "invalid size"


class InvalidUnique(DaoError):
    """The key in the path breaks the rules of the field it stands for."""

    code = 10

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        self.name = f"invalid unique {field}"
        super().__init__(message)


class InvalidOptions(DaoError):
    """A list filter is malformed."""

    code, name = 11, "invalid options"


class OperationUnsupported(DaoError):
    """This entity, or this datastore, cannot be written to."""

    code, name, status = 12, "operation unsupported", 405


class ForeignKeysUnresolved(DaoError):
    """A reference by another key than the id names nothing."""

    code, name = 13, "foreign keys unresolved"


class InvalidDeclarativeConfiguration(DaoError):
    """A declarative document is refused as a whole."""

    code, name = 14, "invalid declarative configuration"


class ReferencedByOthers(DaoError):
    """A CA certificate is still listed by other entities."""

    code, name = 19, "referenced by others"


class StoreUnavailable(DatabaseError):
    """The datastore cannot be used now (unreachable, unreadable, full, locked); reading and writing may work later."""

    status = 503


class StoreMisconfigured(StoreUnavailable):
    """The settings cannot lead to a usable datastore (password, certificate, name, right, version): waiting is no use.

    The message is one line that names the setting or the right to change.
    """


class SchemaMissing(StoreUnavailable):
    """The store's keyspace, database or tables do not exist (yet): it needs bootstrapping."""


class OutcomeUnknown(StoreUnavailable):
    """The store went away, or took too long, in the middle of a change: it may have been made, or be made soon."""


class EventsLost(GatewayError):
    """Events between a reader's cursor and the oldest kept one are gone: reload everything from the store."""


class MigrationError(GatewayError):
    """The store's schema and this version do not fit, or another node is migrating; the message says what to do."""
