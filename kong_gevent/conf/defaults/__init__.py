"""The one table of settings: name, type, default, allowed values, limits, help. Everything else is derived from it.

Each module has a section of it, under the heading that the section has in the documentation.
"""

from __future__ import annotations

from kong_gevent.conf.defaults.aliases import ALIASES, DYNAMIC_PREFIXES, SHOWN_ALIASES
from kong_gevent.conf.defaults.cluster import CLUSTER
from kong_gevent.conf.defaults.dns import DNS
from kong_gevent.conf.defaults.general import GENERAL
from kong_gevent.conf.defaults.listeners import LISTENERS
from kong_gevent.conf.defaults.process import PROCESS
from kong_gevent.conf.defaults.proxy import PROXY
from kong_gevent.conf.defaults.storage import STORAGE
from kong_gevent.conf.defaults.tls import TLS
from kong_gevent.conf.setting import Setting

__all__ = ["ALIASES", "DYNAMIC_PREFIXES", "SHOWN_ALIASES", "TABLE", "Setting"]

TABLE: dict[str, Setting] = {
    setting.name: setting for setting in (*GENERAL, *LISTENERS, *PROXY, *PROCESS, *STORAGE, *TLS, *DNS, *CLUSTER)
}
"""Every setting by name, in the order in which they are documented."""
