"""standard-webhooks: lets in only what the holder of a secret has signed (standardwebhooks.com, version 1)."""

from __future__ import annotations

import binascii
import hmac
import time
from base64 import b64decode, b64encode
from collections.abc import Callable

from kong_gevent.pdk import Conf, Config, Context, Exit, Kit, Plugin, fields
from kong_gevent.pdk.expression_values import number, text

PREFIX = "whsec_"


class StandardWebhooksConfig(Config):
    """Settings of standard-webhooks."""

    secret_v1 = fields.String(
        required=True,
        referenceable=True,
        encrypted=True,
        metadata={"description": "The secret that senders sign with; used as it stands, and decoded after `whsec_`."},
    )
    tolerance_second = fields.Integer(
        required=True,
        load_default=300,
        gt=-1,
        metadata={"description": "Greatest age of a message in seconds."},
    )


class StandardWebhooks(Plugin):
    """Checks the signature of a message and its age."""

    name = "standard-webhooks"
    priority = 760
    config = StandardWebhooksConfig
    forbidden_scopes = ("consumer",)

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.clock: Callable[[], float] = time.time

    def configure(self, conf: Conf) -> None:
        """Make the keys: the secret itself, and what it stands for in the form that senders are given."""
        conf.keys = [conf.secret_v1.encode()]
        if conf.secret_v1.startswith(PREFIX):
            try:
                conf.keys.append(b64decode(conf.secret_v1[len(PREFIX) :], validate=True))
            except binascii.Error:
                self.kit.log.warning("standard-webhooks: what follows %s in the secret is no base64", PREFIX)

    def access(self, ctx: Context, conf: Conf) -> Exit | None:
        """Let the message in, or refuse it without saying why."""
        return None if self._is_genuine(ctx, conf) else ctx.error(400)

    def _is_genuine(self, ctx: Context, conf: Conf) -> bool:
        request = ctx.request
        name, stamp, signatures = (request.header(f"webhook-{part}") for part in ("id", "timestamp", "signature"))
        if not name or not stamp or not signatures:
            return False
        sent = number(stamp) or 0
        if not self.clock() - sent <= conf.tolerance_second:
            return False
        body = request.raw_body()
        if not body:
            return False
        signed = f"{name}.{text(sent)}.".encode("latin-1") + body
        given = signatures.encode("latin-1").split()
        wanted = [b"v1," + b64encode(hmac.digest(key, signed, "sha256")) for key in conf.keys]
        return any(hmac.compare_digest(one, other) for one in wanted for other in given)
