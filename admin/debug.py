"""Switches of a running node: log level and caches."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from kong_gevent.admin.node import NodeFacade
from kong_gevent.admin.render import answer, empty, message, not_found
from kong_gevent.admin.request import current
from kong_gevent.admin.routing import add_path

LEVELS = frozenset({"debug", "info", "notice", "warn", "error", "crit", "alert", "emerg"})
_DEFAULT_TIMEOUT = 60.0
_BAD_TIMEOUT = "timeout must be greater than or equal to 0"


class LogLevel:
    """Level of the error logs, changed without a restart."""

    def __init__(self, node: NodeFacade) -> None:
        self._node = node

    def show(self) -> Response:
        """The level in force."""
        return message(200, f"log level: {self._node.log_level}")

    def change(self, log_level: str) -> Response:
        """Change it for `timeout` seconds (argument or body; default 60, 0 for good)."""
        return self._change(log_level, cluster=False)

    def _change(self, log_level: str, *, cluster: bool) -> Response:
        if log_level not in LEVELS:
            return message(400, f"unknown log level: {log_level}")
        given = {**current().query_arguments(), **current().sent}
        timeout = _seconds(given.get("timeout", _DEFAULT_TIMEOUT))
        if timeout is None:
            return message(400, _BAD_TIMEOUT)
        same = self._node.log_level == log_level
        if cluster:  # also when it is in force here: other nodes may have another one
            self._node.set_cluster_log_level(log_level, timeout)
        elif not same:
            self._node.set_log_level(log_level, timeout)
        return message(200, f"log level is already {log_level}" if same else "log level changed")

    def change_cluster(self, log_level: str) -> Response:
        """Change it on all nodes, which needs a database to tell them."""
        if self._node.settings.get("database") == "off":
            return message(405, "cannot change log level when not using a database")
        return self._change(log_level, cluster=True)


def _seconds(wanted: Any) -> float | None:
    try:
        seconds = float(wanted) if isinstance(wanted, (str, int, float)) and not isinstance(wanted, bool) else -1.0
    except (ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds < float("inf") else None


class Cache:
    """Look-ups that workers keep."""

    def __init__(self, node: NodeFacade) -> None:
        self._node = node

    def show(self, key: str) -> Response:
        """The cached value: objects and lists as they are, anything else as a `message`."""
        known, value = self._node.cache_get(key)
        if not known:
            return not_found()
        return answer(value if isinstance(value, (dict, list)) else {"message": value})

    def forget(self, key: str) -> Response:
        """Drop one key."""
        self._node.cache_delete(key)
        return empty()

    def purge(self) -> Response:
        """Drop everything."""
        self._node.cache_delete(None)
        return empty()


def blueprint(node: NodeFacade) -> Blueprint:
    """`/debug/…/log-level` and `/cache`."""
    made = Blueprint("debug", __name__)
    level, cache = LogLevel(node), Cache(node)
    add_path(made, "/debug/node/log-level", {"GET": level.show})
    add_path(made, "/debug/node/log-level/<log_level>", {"PUT": level.change})
    add_path(made, "/debug/cluster/log-level/<log_level>", {"PUT": level.change_cluster})
    add_path(made, "/cache", {"DELETE": cache.purge})
    add_path(made, "/cache/<key>", {"GET": cache.show, "DELETE": cache.forget})
    return made
