"""mtls-auth: clients show a certificate in the TLS handshake."""

from __future__ import annotations

import re
from time import time
from typing import Any, NamedTuple

from kong_gevent.pdk import (
    CertificateRequest,
    ClientCertificate,
    Conf,
    Config,
    Context,
    HeaderTemplate,
    Identity,
    Kit,
    fields,
)
from kong_gevent.pdk.auth import AuthenticationPlugin, Known, Refusal
from kong_gevent.plugins.mtls_auth.entities import CREDENTIALS

HEADERS = ("X-Client-Cert-DN", "X-Client-Cert-SAN")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


class MtlsAuthConfig(Config):
    """Settings of mtls-auth."""

    anonymous = fields.String(
        metadata={"description": "Consumer (id or username) as which requests without a valid certificate go on."}
    )
    consumer_by = fields.Array(
        fields.Choice("username", "custom_id"),
        load_default=["username", "custom_id"],
        metadata={"description": "What of a consumer is compared with the names in the certificate, in this order."},
    )
    ca_certificates = fields.Array(
        fields.UUID(),
        required=True,
        metadata={"description": "Identifiers of the CA certificates that a client's certificate must chain to."},
    )
    cache_ttl = fields.Number(
        required=True,
        load_default=60,
        metadata={"description": "Seconds for which the verdict about a certificate is remembered."},
    )
    skip_consumer_lookup = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether a valid certificate is enough, and no consumer is looked for."},
    )
    allow_partial_chain = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether an intermediate authority may be trusted without its root."},
    )
    authenticated_group_by = fields.Choice(
        "CN",
        "DN",
        load_default="CN",
        metadata={
            "description": "With `skip_consumer_lookup`: the group of the client, for acl, is its common name or its "
            "distinguished name."
        },
    )
    default_consumer = fields.String(
        metadata={"description": "Consumer (id or username) of valid certificates that no consumer is found for."}
    )
    send_ca_dn = fields.Boolean(
        load_default=False,
        metadata={"description": "Whether clients are told the names of the CA certificates in the handshake."},
    )


class Finding(NamedTuple):
    """What a certificate proves, for some time."""

    until: float
    refusal: Refusal | None = None
    identity: Identity | None = None
    groups: tuple[str, ...] | None = None
    told: HeaderTemplate | None = None
    verify: str = "SUCCESS"


class MtlsAuth(AuthenticationPlugin):
    """Recognises consumers by their certificate."""

    name = "mtls-auth"
    priority = 1600
    config = MtlsAuthConfig
    entities = (CREDENTIALS,)

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.known = Known(kit)
        self.authorities = kit.entities("ca_certificates")
        self.credentials = kit.entities("mtls_auth_credentials")

    def configure(self, conf: Conf) -> None:
        """Have clients asked for a certificate, and prepare the refusals."""
        import kong_gevent.pdk.trust  # noqa: F401 (loaded when a configuration needs it: it takes several MiB)

        conf.client_certificates = CertificateRequest(tuple(conf.ca_certificates) if conf.send_ca_dn else ())
        conf.missing = Refusal(401, "No required TLS certificate was sent")
        conf.untrusted = Refusal(401, "TLS certificate failed verification")
        conf.unknown = Refusal(401, "Unauthorized")
        conf.hidden = HeaderTemplate(cleared=HEADERS)

    def skipped(self, ctx: Context, conf: Conf) -> None:
        """What a client says about certificates itself never passes, whoever has authenticated the request."""
        ctx.set_upstream(conf.hidden)

    def authenticate(self, ctx: Context, conf: Conf) -> Refusal | None:
        """Find out what the certificate proves, unless it is known."""
        certificate = ctx.client_certificate
        if certificate is None:
            ctx.set_upstream(conf.hidden)
            return conf.missing  # type: ignore[no-any-return]
        key = (conf, certificate.key)
        found: Finding | None = self.known.get(key)
        if found is None or found.until <= time():
            version = self.known.version
            found = self._judge(conf, certificate)
            self.known.keep(key, found, version)
        ctx.set_upstream(found.told or conf.hidden)
        ctx.client_verify = found.verify
        if found.identity is None:
            return found.refusal
        ctx.identify(found.identity)
        if found.groups is not None:
            ctx.authenticated_groups = found.groups
        return None

    # --- judging a certificate ---------------------------------------------------------------------------------------

    def _judge(self, conf: Conf, certificate: ClientCertificate) -> Finding:
        """What the certificate proves. Raises `LookupFailed`, `Overloaded`."""
        from kong_gevent.pdk.trust import Trust, Untrusted

        until = time() + conf.cache_ttl
        authorities = self._authorities(conf)
        trust = Trust(authorities, partial=conf.allow_partial_chain)
        try:
            verified = trust.verify(certificate)
            names = _names(certificate)
        except (Untrusted, ValueError) as error:
            self.kit.log.info("mtls-auth: certificate %s is refused: %s", certificate.fingerprint, error)
            return Finding(until, conf.untrusted, verify=f"FAILED:{error}")
        until = min(until, verified.until)
        if conf.skip_consumer_lookup:
            return _without_consumer(conf, certificate, until)
        chain = [authorities[text] for text in verified.authorities]
        identity = self._mapped(names, chain) or self._matched(conf, names, certificate)
        if identity is None and conf.default_consumer is not None:
            consumer = self.kit.load_consumer(conf.default_consumer, by_username=True)
            if consumer is None:
                self.kit.log.error("mtls-auth: default consumer %s is unknown", conf.default_consumer)
            else:
                identity = Identity(consumer, _credential(certificate), _shown(certificate.subject))
        return Finding(until, None if identity else conf.unknown, identity)

    def _authorities(self, conf: Conf) -> dict[str, str]:
        """The certificates of those whom the configuration trusts, as they are now, with their ids."""
        found: dict[str, str] = {}
        for key in conf.ca_certificates:
            authority = self.authorities.select(key, cached=True)
            if authority is None:
                self.kit.log.error("mtls-auth: CA certificate %s does not exist; it is not trusted", key)
            else:
                found[authority["cert"]] = key
        return found

    def _mapped(self, names: list[str], chain: list[str]) -> Identity | None:
        """The consumer that a credential names; one for an authority of the chain comes before one for any."""
        for name in names:
            for authority in (*chain, None):
                reference = {"id": authority} if authority else None
                credential = self.credentials.select_together({"subject_name": name, "ca_certificate": reference})
                if credential is not None:
                    return self.identity(credential, name)
        return None

    def _matched(self, conf: Conf, names: list[str], certificate: ClientCertificate) -> Identity | None:
        """The consumer that has one of the names."""
        for name in names:
            for field in conf.consumer_by or ():
                consumer = self.kit.select_by("consumers", field, name)
                if consumer is not None:
                    return Identity(consumer, _credential(certificate), name)
        return None


def _names(certificate: ClientCertificate) -> list[str]:
    """What a certificate is called: its alternative names, or its common names where it has none of those.

    Raises `ValueError` when they make no sense. What no entity can be called is left out.
    """
    names = [text for _, text in certificate.alternative_names] or certificate.common_names
    return [name for name in names if name and not _CONTROLS.search(name)]


def _credential(certificate: ClientCertificate) -> dict[str, Any]:
    """What stands for the credential of a client that none is stored for."""
    return {"id": certificate.fingerprint}


def _shown(text: str) -> str:
    """A text of a certificate as the value of a header field: control characters as RFC 4514 escapes them."""
    return _CONTROLS.sub(lambda match: f"\\{ord(match.group()):02X}", text)


def _without_consumer(conf: Conf, certificate: ClientCertificate, until: float) -> Finding:
    """What a certificate proves when nobody asks for a consumer."""
    subject = _shown(certificate.subject)
    alternative = ", ".join(f"{kind}:{_shown(text)}" for kind, text in certificate.alternative_names)
    values = [(name, value) for name, value in zip(HEADERS, (subject, alternative), strict=True) if value]
    told = HeaderTemplate([(name, HeaderTemplate.constant(value)) for name, value in values], cleared=HEADERS)
    groups = [certificate.subject] if conf.authenticated_group_by == "DN" else certificate.common_names
    return Finding(until, None, Identity(None, _credential(certificate), subject), tuple(groups), told)
