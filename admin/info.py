"""What the node is: `/`, `/endpoints`, `/timers`, `/plugins/enabled`, `/robots.txt`."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response

from kong_gevent import KONG_VERSION
from kong_gevent.admin.node import NodeFacade
from kong_gevent.admin.render import answer
from kong_gevent.admin.routing import add_path

ROBOTS = "/robots.txt"


class Information:
    """Facts about the node that clients read before they do anything else."""

    def __init__(self, node: NodeFacade, paths: Callable[[], list[str]]) -> None:
        self._node = node
        self._paths = paths

    def root(self) -> Response:
        """Version, plugins, processes and the configuration, secrets masked."""
        node = self._node
        return answer(
            {
                "tagline": "Welcome to kong",
                "version": KONG_VERSION,
                "edition": "community",
                "hostname": node.hostname,
                "node_id": node.node_id,
                "lua_version": f"{platform.python_implementation()} {platform.python_version()}",
                "timers": dict(node.timers()),
                "plugins": {
                    "available_on_server": {
                        name: {"version": plugin.version, "priority": plugin.priority}
                        for name, plugin in sorted(node.plugins.items())
                    },
                    "enabled_in_cluster": self._configured(),
                },
                "pids": {"master": node.master_pid, "workers": sorted(pid for pid, _ in node.workers())},
                "configuration": self._configuration(),
            }
        )

    def _configured(self) -> list[str]:
        return sorted({row["name"] for row in self._node.store.dao("plugins").each()})

    def _configuration(self) -> dict[str, Any]:
        shown: dict[str, Any] = self._node.settings.as_dict(mask=True)
        shown["log_level"] = self._node.log_level
        shown["loaded_plugins"] = dict.fromkeys(self._node.plugins, True)
        return shown

    def endpoints(self) -> Response:
        """All paths, parameters in braces."""
        return answer({"data": self._paths()})

    def timers(self) -> Response:
        """Timers of the worker that answers."""
        counted = self._node.timers()
        running, pending = counted.get("running", 0), counted.get("pending", 0)
        return answer(
            {
                "worker": {"id": 0, "count": len(self._node.workers())},
                "stats": {
                    "flamegraph": {"running": "", "pending": "", "elapsed_time": ""},
                    "sys": {
                        "total": running + pending,
                        "runs": counted.get("runs", 0),
                        "running": running,
                        "pending": pending,
                        "waiting": counted.get("waiting", 0),
                    },
                    "timers": {},
                },
            }
        )

    def enabled_plugins(self) -> Response:
        """Names of the plugins that may be configured."""
        return answer({"enabled_plugins": sorted(self._node.plugins)})


def _robots() -> Response:
    return Response("User-agent: *\nDisallow: /\n", content_type="text/plain; charset=utf-8")


def blueprint(node: NodeFacade, paths: Callable[[], list[str]]) -> Blueprint:
    """The information endpoints. `paths` lists every path of the finished app."""
    made = Blueprint("info", __name__)
    views = Information(node, paths)
    add_path(made, "/", {"GET": views.root})
    add_path(made, "/endpoints", {"GET": views.endpoints})
    add_path(made, "/timers", {"GET": views.timers})
    add_path(made, "/plugins/enabled", {"GET": views.enabled_plugins})
    add_path(made, ROBOTS, {"GET": _robots})
    return made
