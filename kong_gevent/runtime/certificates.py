"""The certificates of the store, by the server names that clients ask for: a worker's part of the plan.

Only the text of a certificate is kept. A context is made of it when a client first asks (`runtime.contexts`), so that
ten thousand certificates cost their text and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from kong_gevent.vaults import Unresolved, is_reference
from kong_gevent.vaults.secrets import Secrets

log = logging.getLogger("kong_gevent.tls")
Entity = Mapping[str, Any]
EVERY_NAME = "*"
"""The server name whose certificate is shown to clients that ask for none that is known."""
_FIELDS = ("cert", "key", "cert_alt", "key_alt")


class Certificate:
    """One certificate as it is now; a change makes another. `text`: its four fields, or None when it cannot be used."""

    __slots__ = ("id", "text")

    def __init__(self, key: str, text: Mapping[str, str | None] | None) -> None:
        self.id = key
        self.text = text

    def pairs(self) -> list[tuple[bytes, bytes]]:
        """(certificate with its chain, key), PEM: one, or two of different types."""
        text = self.text or {}
        named = ((text.get("cert"), text.get("key")), (text.get("cert_alt"), text.get("key_alt")))
        return [(certificate.encode(), key.encode()) for certificate, key in named if certificate and key]


class Told:
    """Entities by id, and who is told of changes."""

    def __init__(self) -> None:
        self.entities: dict[str, Entity] = {}
        self.on_change: list[Callable[[AbstractSet[str]], None]] = []
        self._changed: set[str] | None = None

    def _note_changes(self) -> None:
        """This is a copy: nobody is told of changes before another one has `become` its content."""
        self._changed = set()

    def _tell(self, keys: AbstractSet[str] | None) -> None:
        if self._changed is not None:
            self._changed.update(keys or ())
        elif keys:
            for function in self.on_change:
                function(keys)


class CertificateTable(Told):
    """All certificates by id; a part of the plan. `entities`: as the store has them, references unresolved.

    `on_change` is called with the ids of certificates that are no longer what they were.
    """

    def __init__(self, secrets: Secrets) -> None:
        super().__init__()
        self._secrets = secrets
        self._held: dict[str, Certificate] = {}
        self._referring: set[str] = set()

    def get(self, key: str) -> Certificate | None:
        """The certificate with this id."""
        return self._held.get(key)

    def put(self, entity: Entity) -> None:
        """Add or replace a certificate."""
        key = entity["id"]
        self.remove(key)
        self.entities[key] = entity
        self._held[key] = Certificate(key, self._with_secrets(entity))

    def _with_secrets(self, entity: Entity) -> Mapping[str, str | None] | None:
        if not any(is_reference(entity[name]) for name in _FIELDS):
            return entity
        self._referring.add(entity["id"])
        try:
            return {
                name: self._secrets.get(entity[name]) if is_reference(entity[name]) else entity[name]
                for name in _FIELDS
            }
        except Unresolved as error:
            log.error("certificate %s: %s; it is not shown to anybody", entity["id"], error)
            return None

    def remove(self, key: str) -> None:
        """Forget a certificate."""
        self._referring.discard(key)
        self.entities.pop(key, None)
        if self._held.pop(key, None) is not None:
            self._tell({key})

    def fork(self) -> CertificateTable:
        """A copy, to be changed while this one is in use."""
        made = CertificateTable(self._secrets)
        made.entities, made._held, made._referring = dict(self.entities), dict(self._held), set(self._referring)
        made._note_changes()
        return made

    def become(self, other: CertificateTable) -> None:
        """Have the content of a `fork`."""
        self.entities, self._held, self._referring = other.entities, other._held, other._referring
        self._tell(other._changed)

    def resolve_again(self) -> None:
        """Vaults have changed: look up once more what references name."""
        for key in list(self._referring):
            self.put(self.entities[key])


class AuthorityTable(Told):
    """The authorities of the store (`ca_certificates`) by id; a part of the plan.

    `on_change` is called with the ids of authorities that come, change or go.
    """

    def put(self, entity: Entity) -> None:
        """Add or replace an authority."""
        self.entities[entity["id"]] = entity
        self._tell({entity["id"]})

    def remove(self, key: str) -> None:
        """Forget an authority."""
        if self.entities.pop(key, None) is not None:
            self._tell({key})

    def fork(self) -> AuthorityTable:
        """A copy, to be changed while this one is in use."""
        made = AuthorityTable()
        made.entities = dict(self.entities)
        made._note_changes()
        return made

    def become(self, other: AuthorityTable) -> None:
        """Have the content of a `fork`."""
        self.entities = other.entities
        self._tell(other._changed)


class ServerNames:
    """The server names of the store (`snis`) and the certificate for each; a part of the plan."""

    def __init__(self, certificates: CertificateTable) -> None:
        self.entities: dict[str, Entity] = {}
        self._certificates = certificates
        self._by_name: dict[str, Entity] = {}

    def put(self, entity: Entity) -> None:
        """Add or replace a name."""
        self.remove(entity["id"])
        self.entities[entity["id"]] = entity
        self._by_name[entity["name"].lower()] = entity

    def remove(self, key: str) -> None:
        """Forget a name."""
        entity = self.entities.pop(key, None)
        if entity is not None and self._by_name.get(entity["name"].lower()) is entity:
            del self._by_name[entity["name"].lower()]

    def fork(self, certificates: CertificateTable) -> ServerNames:
        """A copy, to be changed while this one is in use; it leads to other certificates."""
        made = ServerNames(certificates)
        made.entities, made._by_name = dict(self.entities), dict(self._by_name)
        return made

    def become(self, other: ServerNames) -> None:
        """Have the content of a `fork`."""
        self.entities, self._by_name = other.entities, other._by_name

    def certificate(self, key: str) -> Certificate | None:
        """The certificate with this id."""
        return self._certificates.get(key)

    def find(self, server_name: str | None) -> Certificate | None:
        """The certificate for a name that a client asks for; None: the default one.

        As Kong 3.9 does: the name itself, then with a wildcard for its first label, then for its last one, then `*`.
        """
        known = self._by_name
        if not known:
            return None
        found = None
        if server_name:
            name = server_name.lower().removesuffix(".")
            found = known.get(name) or known.get(f"*.{name.partition('.')[2]}") or known.get(_without_last(name))
        found = found or known.get(EVERY_NAME)
        return None if found is None else self._certificates.get(found["certificate"]["id"])


def _without_last(name: str) -> str:
    return f"{name.rpartition('.')[0]}.*"
