"""Settings: Kong's names and syntax, from file, environment and flags. The only code that reads the environment."""

from kong_gevent.conf.defaults import TABLE, Setting
from kong_gevent.conf.listeners import Listener
from kong_gevent.conf.loader import (
    default_prefix,
    environment,
    find_prefix,
    inherits_sockets,
    is_prepared,
    load,
    load_again,
    load_running,
    server_file,
)
from kong_gevent.conf.settings import AccessLog, Settings
from kong_gevent.errors import ConfigurationError

__all__ = [
    "TABLE",
    "AccessLog",
    "ConfigurationError",
    "Listener",
    "Setting",
    "Settings",
    "default_prefix",
    "environment",
    "find_prefix",
    "inherits_sockets",
    "is_prepared",
    "load",
    "load_again",
    "load_running",
    "server_file",
]
