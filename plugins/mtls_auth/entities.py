"""What mtls-auth keeps: which consumer a name in a certificate stands for."""

from __future__ import annotations

from kong_gevent.pdk import Entity, fields
from kong_gevent.pdk.auth import Credential


class MtlsAuthCredential(Credential):
    """Schema of a mapping."""

    subject_name = fields.String(
        required=True,
        metadata={"description": "An alternative name of the certificate, or its common name where it has none."},
    )
    ca_certificate = fields.Foreign(
        "ca_certificates",
        on_delete="cascade",
        metadata={"description": "CA certificate that the client's must chain to; any that the plugin trusts if null."},
    )


KEY = ("subject_name", "ca_certificate")
CREDENTIALS = Entity(
    "mtls_auth_credentials",
    MtlsAuthCredential(),
    collection="mtls-auths",
    nested="mtls-auth",
    unique_together=[KEY],
    cache_key=KEY,
)
