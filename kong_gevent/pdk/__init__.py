"""The plugin development kit: the only package of the gateway that a plugin imports.

A plugin is a subclass of `Plugin` whose method names are the phases of a request's life. Its settings are a `Config`
with described fields; the Admin API, the published schema and the documentation come from it.
`docs/plugin-development.md` walks through one; `kong_gevent.pdk.testing` runs one inside a whole gateway, in process.
"""

from kong_gevent.errors import DaoError, GatewayError
from kong_gevent.offload import offload
from kong_gevent.pdk.client_certificates import CertificateRequest, ClientCertificate
from kong_gevent.pdk.context import Context, Exit
from kong_gevent.pdk.edits import HeaderTemplate, field_text
from kong_gevent.pdk.endpoints import AdminCall, AdminReply, Endpoint
from kong_gevent.pdk.identity import Identity
from kong_gevent.pdk.kit import CountersUnavailable, CutAnswer, Entities, EntriesLost, Kit, LookupFailed, RedisFailed
from kong_gevent.pdk.plugin import Conf, Plugin
from kong_gevent.pdk.queue_block import legacy_queue_fields, queue_parameters, queue_record
from kong_gevent.pdk.redis_block import RedisServer, policy_fields, redis_needed, redis_record, redis_shorthands
from kong_gevent.schema import Config, Errors, Record, checks, fields
from kong_gevent.schema.crypto import load_public_key
from kong_gevent.schema.entity import Entity, Reader

__all__ = [
    "AdminCall",
    "AdminReply",
    "CertificateRequest",
    "ClientCertificate",
    "Conf",
    "Config",
    "Context",
    "CountersUnavailable",
    "CutAnswer",
    "Endpoint",
    "DaoError",
    "Entities",
    "EntriesLost",
    "Entity",
    "Errors",
    "Exit",
    "GatewayError",
    "HeaderTemplate",
    "Identity",
    "Kit",
    "LookupFailed",
    "Plugin",
    "Reader",
    "Record",
    "RedisServer",
    "RedisFailed",
    "checks",
    "field_text",
    "fields",
    "legacy_queue_fields",
    "queue_parameters",
    "queue_record",
    "load_public_key",
    "offload",
    "policy_fields",
    "redis_needed",
    "redis_record",
    "redis_shorthands",
]
