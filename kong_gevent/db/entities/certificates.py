"""certificates: what is shown to TLS clients and to upstreams, with the server names that lead to each.

The names are entities of their own (`snis`). A certificate shows them as `snis`, and takes such a list to replace them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError

from kong_gevent.db import rows
from kong_gevent.db.cascade import Deletion
from kong_gevent.db.catalogue import Entity
from kong_gevent.db.dao import DAO
from kong_gevent.db.strategies.base import Change, CommitRefused, Duplicate, Operation, Put, Row
from kong_gevent.errors import DaoError, SchemaViolation
from kong_gevent.schema import Errors, Record, checks, crypto, fields, violation
from kong_gevent.schema.messages import leaf

SNIS = "snis"
_NAMES = fields.Array(fields.WildcardHost())
_ONE_TYPE = (
    "certificate and alternative certificate need to have different type (e.g. RSA and ECDSA), "
    "the provided certificates were both of the same type"
)


def _pair(certificate: str, key: str, text: str) -> checks.Check:
    """A certificate needs its own key."""

    def mismatch(values: Mapping[str, Any]) -> str | None:
        given = values[certificate], values[key]
        return None if None in given or crypto.belong_together(*given) else text

    return checks.Custom(certificate, key, function=mismatch)


def one_type(values: Mapping[str, Any]) -> str | None:
    """Two certificates are for clients that differ in what they can verify."""
    given = values["cert"], values["cert_alt"]
    return None if None in given or not crypto.same_kind(*given) else _ONE_TYPE


class Certificate(Record):
    """Schema of a certificate; its `snis` are not stored with it."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the certificate."})
    created_at = fields.AutoTimestamp(metadata={"description": "When the certificate was stored (epoch seconds)."})
    updated_at = fields.AutoTimestamp(metadata={"description": "When it was last changed (epoch seconds)."})
    cert = fields.Certificate(
        required=True, referenceable=True, metadata={"description": "Certificate (PEM), with its chain behind it."}
    )
    key = fields.PrivateKey(
        required=True, referenceable=True, encrypted=True, metadata={"description": "Its private key (PEM)."}
    )
    cert_alt = fields.Certificate(
        referenceable=True, metadata={"description": "Certificate with a key of another type (PEM)."}
    )
    key_alt = fields.PrivateKey(
        referenceable=True, encrypted=True, metadata={"description": "Private key of the other certificate (PEM)."}
    )
    tags = fields.Tags(metadata={"description": "Labels for grouping and filtering."})

    checks = (
        checks.MutuallyRequired("cert_alt", "key_alt"),
        _pair("cert", "key", "certificate does not match key"),
        _pair("cert_alt", "key_alt", "alternative certificate does not match key"),
        checks.Custom("cert", "cert_alt", function=one_type),
    )


class CertificatesDAO(DAO):
    """Certificates with their server names, written together in one commit."""

    def _show(self, row: Row) -> dict[str, Any]:
        return {**super()._show(row), SNIS: sorted(sni["name"] for sni in self._names_of(row.id))}

    def _names_of(self, key: str) -> list[dict[str, Any]]:
        return list(self._store.dao(SNIS).each(parent=("certificate", key)))

    def _take(self, values: dict[str, Any], ttl: float | None = None) -> tuple[dict[str, Any], dict[str, Any], Errors]:
        if SNIS not in values:
            return values, {}, {}
        given = values.pop(SNIS)
        try:
            names = _NAMES.deserialize(given) or []
        except ValidationError as error:
            return values, {}, {SNIS: leaf(error)}
        double = next((name for at, name in enumerate(names) if name in names[:at]), None)
        return values, {SNIS: names}, {SNIS: f"{double} is duplicated"} if double else {}

    def _replace(
        self, key: str | None, row: Row | None, entity: Mapping[str, Any], ttl: float | None
    ) -> dict[str, Any]:
        return super()._replace(key, row, {SNIS: None, **entity}, ttl)

    def _companions(self, entity: dict[str, Any], aside: dict[str, Any]) -> tuple[list[Operation], list[Change]]:
        if SNIS not in aside:
            return [], []
        names: list[str] = aside[SNIS]
        operations: list[Operation] = []
        changes: list[Change] = []
        kind = self._store.catalogue[SNIS]
        held: set[str] = set()
        for sni in self._names_of(entity["id"]):
            held.add(sni["name"])
            row = None if sni["name"] in names else self._store.strategy.read(SNIS, sni["id"])
            if row is not None:
                deletion = Deletion(self._store, [(kind, row)])
                operations += deletion.operations
                changes += deletion.changes
        for name in names:
            if name not in held:
                put, change = self._new_name(kind, name, entity["id"])
                operations.append(put)
                changes.append(change)
        return operations, changes

    def _new_name(self, kind: Entity, name: str, key: str) -> tuple[Put, Change]:
        if self._store.dao(SNIS).select_by("name", name) is not None:
            raise self._taken(name)
        sni = self._store.dao(SNIS).validate_insert({"name": name, "certificate": {"id": key}})
        put = Put(SNIS, sni["id"], rows.encode(sni), rows.index_of(kind, sni))
        return put, Change(SNIS, put.id, "create", tuple(rows.cache_keys(kind, sni)))

    def _taken(self, name: str) -> SchemaViolation:
        holder = self._store.dao(SNIS).select_by("name", name)
        key = holder["certificate"]["id"] if holder else "unknown"
        return violation({SNIS: f"{name} already associated with existing certificate '{key}'"})

    def coded(self, refusal: CommitRefused, entity: Mapping[str, Any]) -> DaoError | CommitRefused:
        """A server name that is taken is an error of the certificate."""
        if isinstance(refusal, Duplicate) and refusal.kind == SNIS:
            return self._taken(refusal.value)  # another writer was faster
        return super().coded(refusal, entity)


def entity() -> Entity:
    """The catalogue's entry."""
    return Entity("certificates", Certificate(), cache_key=("id",), dao=CertificatesDAO)
