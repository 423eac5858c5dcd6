"""TLS parameters of connections to upstreams: what they show, whom they trust; shared by services that agree in them.

Strategy: a service holds an `Outgoing`, which says what it wants. The context is made of it off the hub when it is
first used, from the certificates and authorities as they are then. When one of them changes the context is dropped:
pools tell connections apart by their context, so none that was made before is used any more.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from gevent.lock import BoundedSemaphore

from kong_gevent.conf import certificates
from kong_gevent.errors import GatewayError
from kong_gevent.offload import offload

if TYPE_CHECKING:
    from kong_gevent.conf import Settings
    from kong_gevent.runtime.certificates import AuthorityTable, CertificateTable

log = logging.getLogger("kong_gevent.tls")
Entity = Mapping[str, Any]
Pairs = list[tuple[bytes, bytes]]
_TLS = ("https", "grpcs", "tls")


class IdentityUnusable(GatewayError):
    """A certificate that is to be shown, or an authority that is to be trusted, is not there or no good."""


class _ClientContext(ssl.SSLContext):
    """A context that bounds the chains it accepts; `depth`: intermediate certificates at most, None: any number."""

    depth: int | None = None


class _ClientSide(ssl.SSLObject):
    """One connection's TLS. The ssl module has no setting for the depth of a chain, so it is counted afterwards."""

    def do_handshake(self) -> None:
        """As the base class's. Raises `ssl.SSLCertVerificationError` also for a chain that is too long."""
        super().do_handshake()
        depth = getattr(self.context, "depth", None)
        # Neither the upstream's own certificate counts nor the authority, as in OpenSSL's `SSL_CTX_set_verify_depth`.
        if depth is not None and len(self._sslobj.get_verified_chain()) - 2 > depth:  # type: ignore[attr-defined]
            raise ssl.SSLCertVerificationError(1, f"certificate verify failed: more than {depth} certificates between")


class Outgoing:
    """What connections to one kind of place agree in. Equal ones are one object while somebody holds it.

    `certificate`: id of the one to show; `authorities`: ids of those to trust; None: what the settings say.
    """

    __slots__ = ("__weakref__", "_maker", "authorities", "certificate", "context", "depth", "verify")

    def __init__(
        self, maker: Contexts, verify: bool, depth: int, authorities: tuple[str, ...] | None, certificate: str | None
    ) -> None:
        self._maker = maker
        self.verify = verify
        self.depth = depth
        self.authorities = authorities
        self.certificate = certificate
        self.context: ssl.SSLContext | None = None
        """The context, when it is ready."""

    def get(self) -> ssl.SSLContext:
        """The context; may wait until it is made. Raises `IdentityUnusable`, `Overloaded`."""
        return self.context or self._maker.prepare(self)


class Contexts:
    """A worker's `Outgoing`s. What a service says counts, then what its upstream says, then the settings (Kong 3.9)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._verify: bool = settings.nginx_proxy_proxy_ssl_verify
        self._trusted: list[str] = settings.lua_ssl_trusted_certificate or ["system"]
        self._certificates: CertificateTable | None = None
        self._authorities: AuthorityTable | None = None
        self._known: WeakValueDictionary[Any, Outgoing] = WeakValueDictionary()
        self._kept: dict[Any, Outgoing] = {}
        self._own: dict[bool, ssl.SSLContext] = {}
        self._one_at_a_time = BoundedSemaphore()
        self._changes = 0
        self.on_drop: Callable[[ssl.SSLContext], None] = lambda context: None
        """Called with each context that must not be used for another request."""

    def follow(self, certificates_: CertificateTable, authorities: AuthorityTable) -> None:
        """Take certificates and authorities from these tables, now and whenever they change."""
        self._certificates = certificates_
        self._authorities = authorities
        certificates_.on_change.append(self._certificates_changed)
        authorities.on_change.append(self._authorities_changed)

    # --- who wants what ----------------------------------------------------------------------------------------------

    def for_service(
        self, service: Entity, upstream: Entity | None = None, protocol: str | None = None
    ) -> Outgoing | None:
        """For the connections of a service (by another protocol than its own, if given); None for clear text."""
        if (protocol or service["protocol"]) not in _TLS:
            return None
        told = service.get("tls_verify")
        shown = service.get("client_certificate") or (upstream and upstream.get("client_certificate"))
        authorities = service.get("ca_certificates")
        depth = service.get("tls_verify_depth")
        return self._find(
            self._verify if told is None else bool(told),
            self._settings.lua_ssl_verify_depth if depth is None else depth,
            tuple(sorted(authorities)) if authorities else None,
            shown["id"] if shown else None,
        )

    def for_probes(self, upstream: Entity) -> Outgoing:
        """For the active health checks of an upstream."""
        shown = upstream["client_certificate"]
        verify = upstream["healthchecks"]["active"]["https_verify_certificate"]
        return self._find(verify, self._settings.lua_ssl_verify_depth, None, shown["id"] if shown else None)

    def outgoing(self, verify: bool) -> ssl.SSLContext:
        """For connections of the gateway's own and of plugins: verified against the trusted authorities, or not."""
        context = self._own.get(verify)
        if context is None:
            context = self._own[verify] = self._client_context(verify, None)
        return context

    def _find(self, verify: bool, depth: int, authorities: tuple[str, ...] | None, certificate: str | None) -> Outgoing:
        if not verify:
            depth, authorities = 0, None
        key = (verify, depth, authorities, certificate)
        found = self._kept.get(key) or self._known.get(key)
        if found is None:
            found = Outgoing(self, *key)
            # Those that name no entity are few, and some are only held for one request.
            (self._kept if authorities is None and certificate is None else self._known)[key] = found
        return found

    # --- making ------------------------------------------------------------------------------------------------------

    def prepare(self, wanted: Outgoing) -> ssl.SSLContext:
        """See `Outgoing.get`."""
        with self._one_at_a_time:
            while wanted.context is None:
                changes = self._changes
                context = offload(self._make, wanted, self._pairs(wanted), self._authorities_of(wanted))
                if changes == self._changes:
                    wanted.context = context
            return wanted.context

    def _pairs(self, wanted: Outgoing) -> Pairs | None:
        """What is to be shown, PEM; None: what the settings say."""
        if wanted.certificate is None:
            return None
        found = self._certificates.get(wanted.certificate) if self._certificates is not None else None
        pairs = found.pairs() if found is not None else []
        if not pairs:
            raise IdentityUnusable(f"client certificate {wanted.certificate} is not there or has no secret")
        return pairs

    def _authorities_of(self, wanted: Outgoing) -> str | None:
        """Who is to be trusted, PEM; None: whom the settings say."""
        if wanted.authorities is None:
            return None
        held = self._authorities.entities if self._authorities is not None else {}
        for key in wanted.authorities:
            if key not in held:
                raise IdentityUnusable(f"CA certificate {key} does not exist")
        return "\n".join(held[key]["cert"] for key in wanted.authorities)

    def _make(self, wanted: Outgoing, pairs: Pairs | None, authorities: str | None) -> ssl.SSLContext:
        context = self._client_context(wanted.verify, authorities)
        context.depth = wanted.depth if wanted.verify else None
        context.sslobject_class = _ClientSide
        whose = f"client certificate {wanted.certificate}" if pairs is not None else "client_ssl_cert"
        try:
            for pair in self._own_pairs() if pairs is None else pairs:
                certificates.load_pair(context, *pair)
        except (OSError, ValueError) as error:  # SSLError is an OSError
            raise IdentityUnusable(f"{whose} cannot be used: {certificates.reason_of(error)}") from error
        return context

    def _own_pairs(self) -> Pairs:
        """What the settings show to upstreams, if anything. Raises OSError, ValueError."""
        settings = self._settings
        if not settings.client_ssl:
            return []
        return [(certificates.pem_of(settings.client_ssl_cert), certificates.pem_of(settings.client_ssl_cert_key))]

    def _client_context(self, verify: bool, authorities: str | None) -> _ClientContext:
        context = _ClientContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif authorities is not None:
            try:
                context.load_verify_locations(cadata=authorities)
            except (ssl.SSLError, ValueError) as error:
                raise IdentityUnusable(f"a CA certificate cannot be used: {certificates.reason_of(error)}") from error
        else:
            self._trust(context)
        return context

    def _trust(self, context: ssl.SSLContext) -> None:
        """Trust whom the settings say."""
        for source in self._trusted:
            try:
                if source == "system":
                    context.load_default_certs()
                else:
                    context.load_verify_locations(cadata=certificates.pem_of(source).decode())
            except (OSError, ValueError) as error:
                log.error(
                    "lua_ssl_trusted_certificate: %s cannot be read: %s", source[:200], certificates.reason_of(error)
                )

    # --- changes -----------------------------------------------------------------------------------------------------

    def _certificates_changed(self, keys: AbstractSet[str]) -> None:
        self._drop(lambda known: known.certificate in keys)

    def _authorities_changed(self, keys: AbstractSet[str]) -> None:
        self._drop(lambda known: known.authorities is not None and not keys.isdisjoint(known.authorities))

    def _drop(self, concerned: Callable[[Outgoing], bool]) -> None:
        self._changes += 1
        for known in list(self._known.values()):
            if concerned(known) and known.context is not None:
                context, known.context = known.context, None
                self.on_drop(context)
