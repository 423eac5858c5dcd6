"""Kong's schema vocabulary on Marshmallow: one description of an entity or a plugin's settings, used for everything.

From the same class come validation (with Kong 3.9's texts and error tree), defaults, the typing of form bodies, merging
of partial updates and the `/schemas/…` documents. The public names are what entities and plugins are written with:

    from kong_gevent.schema import Config, checks, fields

    class RateLimitingConfig(Config):
        minute = fields.Number(gt=0, metadata={"description": "Requests allowed per minute."})
        limit_by = fields.Choice("consumer", "ip", load_default="consumer")
        header_name = fields.HeaderName()                              # optional, null by default
        fault_tolerant = fields.Boolean(required=True, load_default=True)
        error_code = fields.Integer(between=(100, 599), load_default=429)
        allow = fields.Array(fields.IpOrCidr(), load_default=[])
        tags = fields.Set(fields.String())
        headers = fields.Map(keys=fields.HeaderName(), values=fields.String())
        redis = fields.Record({"host": fields.Host(), "port": fields.Port(load_default=6379)})   # or a Record class

        shorthand_fields = {"redis_host": fields.Deprecated(fields.String(), "redis.host")}       # old flat names
        config_checks = [checks.MutuallyRequired("cert", "key")]       # on the record: paths relative to it
        checks = [           # on the plugin object: paths start with "config."; last, as it hides the module's name
            checks.AtLeastOneOf("config.minute", "config.hour"),
            checks.Conditional("config.limit_by", {"eq": "header"}, "config.header_name", {"required": True}),
        ]

        @staticmethod
        def custom_validator(config):               # after the fields are valid; the answer replaces the whole
            return "text" or {"field": "text"} or None                 # error of `config`

Every field takes `required`, `load_default` (absence of it: no default), `metadata={"description": …}`, `err` (a text
instead of the rule's), `custom_validator` (value -> text or None), the flags of `/schemas` (`referenceable`,
`encrypted`, `unique`, `auto`, …), the unpublished flag `secret` (its value is recorded nowhere) and Kong's rules by
name (`one_of`, `between`, `gt`, `len_min`, `len_max`, `match`, `starts_with`, …). `match` takes a Lua pattern as text
or a compiled Python pattern.
A record is required and made of its sub-defaults unless it says `required=False`. Null for an optional field
stays null; null for a required one is an error.
"""

from kong_gevent.schema import checks, fields
from kong_gevent.schema.document import document
from kong_gevent.schema.infer import infer
from kong_gevent.schema.messages import Errors, violation
from kong_gevent.schema.record import Config, Record, merge

__all__ = ["Config", "Errors", "Record", "checks", "document", "fields", "infer", "merge", "violation"]
