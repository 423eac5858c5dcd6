"""`/admin-tokens`: tokens of this API, made and revoked; a token itself is only shown in the answer that made it."""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint

from kong_gevent.admin.entities import EntityViews, Row
from kong_gevent.admin.node import NodeFacade
from kong_gevent.admin.routing import add_path
from kong_gevent.db import tokens
from kong_gevent.schema import violation
from kong_gevent.schema.fields import Ttl
from kong_gevent.schema.messages import leaf

_TTL = Ttl()
_MADE_HERE = "made by the gateway"


class TokenViews(EntityViews):
    """Tokens without their digests."""

    def __init__(self, node: NodeFacade) -> None:
        super().__init__(node, tokens.KIND)

    def insert(self, fields: Row) -> Row:
        """Make a token; `ttl` (seconds) may stand for `expires_at`."""
        if "digest" in fields:
            raise violation({"digest": _MADE_HERE})
        if "ttl" in fields:
            seconds = _seconds(fields.pop("ttl"))
            fields["expires_at"] = int(time.time() + seconds) if seconds else None
        return tokens.create(self.node.store, fields)

    def show(self, row: Row) -> Row:
        """Without the digest."""
        return tokens.shown(row)

    def register(self, blueprint: Blueprint) -> None:
        """Tokens are made and revoked, never changed."""
        add_path(blueprint, self.path(), {"GET": self.list_all, "POST": self.create})
        add_path(blueprint, f"{self.path()}/<{self.name}>", {"GET": self.read, "DELETE": self.delete})


def _seconds(given: Any) -> float | None:
    from marshmallow import ValidationError

    try:
        seconds: float | None = _TTL.deserialize(_TTL.infer(given))
    except ValidationError as error:
        raise violation({"ttl": leaf(error)}) from None
    return seconds


def blueprint(node: NodeFacade) -> Blueprint:
    """The two paths."""
    made = Blueprint("admin-tokens", __name__)
    TokenViews(node).register(made)
    return made
