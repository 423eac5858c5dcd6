"""TLS parameters of connections to upstreams, made once per change and shared by services that agree in them."""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kong_gevent.conf import Settings

log = logging.getLogger("kong_gevent.tls")


class Contexts:
    """Contexts by what services say about verification; without a word the settings decide, as in Kong 3.9."""

    def __init__(self, settings: Settings) -> None:
        self._verify: bool = settings.nginx_proxy_proxy_ssl_verify
        self._trusted: list[str] = settings.lua_ssl_trusted_certificate or ["system"]
        self._made: dict[bool, ssl.SSLContext] = {}

    def for_service(self, service: dict[str, Any]) -> ssl.SSLContext | None:
        """See `plan.TlsContexts.for_service`."""
        return self.plain_or_tls(service["protocol"], service)

    def plain_or_tls(self, protocol: str, service: dict[str, Any]) -> ssl.SSLContext | None:
        """The context for this protocol and service; None when the protocol is clear text."""
        if protocol not in ("https", "grpcs"):
            return None
        told = service.get("tls_verify")
        return self.outgoing(self._verify if told is None else bool(told))

    def outgoing(self, verify: bool) -> ssl.SSLContext:
        """The context for connections that are verified against the trusted authorities, or not."""
        context = self._made.get(verify)
        if context is None:
            context = self._made[verify] = self._make(verify)
        return context

    def _make(self, verify: bool) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        for source in self._trusted:
            if source == "system":
                context.load_default_certs()
                continue
            try:
                context.load_verify_locations(cafile=source)
            except (OSError, ssl.SSLError) as error:
                log.error("lua_ssl_trusted_certificate: %s cannot be read: %s", source, error)
        return context
