"""The master process: gunicorn's settings from ours, and what is made before workers are forked."""

from __future__ import annotations

import logging
import resource
import sys
from typing import Any

from kong_gevent import conf
from kong_gevent.conf import Settings, certificates
from kong_gevent.errors import ConfigurationError
from kong_gevent.runtime import arbiter, first, listen
from kong_gevent.runtime.clients import AddressCounts
from kong_gevent.runtime.contexts import ListenerContexts
from kong_gevent.runtime.shared import Lane, SharedState

HEARTBEAT_TIMEOUT = 60
_GUNICORN_LEVELS = {"notice": "info", "warn": "warning", "crit": "critical", "alert": "critical", "emerg": "critical"}


class Master:
    """What lives as long as the master does: shared memory and the settings in force. Raises ConfigurationError."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.shared = SharedState(cache_bytes=settings.mem_cache_size)
        self.kept: Lane = self.shared.take_lane()
        """Totals of workers that have ended."""
        self.listener_contexts = ListenerContexts()
        self.listener_contexts.update(settings)
        self.addresses = AddressCounts()
        self.bind: list[str] = _bind(settings)
        """What gunicorn takes as its addresses; it never changes, `listen.exchange` does the changing."""

    def pre_fork(self, server: Any, worker: Any) -> None:
        """Give the next worker a lane."""
        worker.lane = self.shared.take_lane()
        self.addresses.wipe(worker.lane.index)

    def exchange_listeners(self, server: Any) -> None:
        """Listen where the settings in force say."""
        listen.exchange(server, self.settings)

    def child_exit(self, server: Any, worker: Any) -> None:
        """Take the lane of an ended worker back."""
        lane = getattr(worker, "lane", None)
        if lane is not None:
            self.shared.free_lane(lane, self.kept)


class _Holder:
    """The one master of this process."""

    master: Master | None = None


def master() -> Master:
    """The master of this process. Raises RuntimeError outside the gateway's own server."""
    if _Holder.master is None:
        raise RuntimeError("this worker class needs the gateway's gunicorn.conf.py")
    return _Holder.master


def gunicorn_settings() -> dict[str, Any]:
    """gunicorn's settings for ours; at a reload with bad settings the old ones stay in force.

    At the first call bad settings end the process with the reason on stderr.
    """
    try:
        settings = conf.load()
        if _Holder.master is not None:
            certificates.make_defaults(settings)  # before workers are forked that would all make them
            _Holder.master.listener_contexts.update(settings)
    except ConfigurationError as error:
        if _Holder.master is None:
            for line in error.messages:
                sys.stderr.write(f"Error: {line}\n")
            sys.exit(1)
        for line in error.messages:
            logging.getLogger("gunicorn.error").error("reload refused, the old settings stay in force: %s", line)
        settings = _Holder.master.settings
    if _Holder.master is None:
        first.prepare()
        _raise_file_limit(settings)
        try:
            _Holder.master = Master(settings)
        except ConfigurationError as error:
            for line in error.messages:
                sys.stderr.write(f"Error: {line}\n")
            sys.exit(1)
    elif settings.database == "off" and not first.load_document():
        log = logging.getLogger("gunicorn.error")
        log.error("the declarative configuration cannot be loaded, the last good one stays in force")
    _Holder.master.settings = settings
    return _translate(settings, _Holder.master)


def _translate(settings: Settings, holder: Master) -> dict[str, Any]:
    return {
        "bind": holder.bind,
        "on_reload": holder.exchange_listeners,
        "when_ready": holder.exchange_listeners,
        "worker_class": "kong_gevent.runtime.worker.GatewayWorker",
        "workers": settings.workers,
        "pidfile": str(settings.pid_file),
        "errorlog": settings.error_log("proxy"),
        "loglevel": _GUNICORN_LEVELS.get(settings.log_level, settings.log_level),
        "accesslog": None,
        "timeout": HEARTBEAT_TIMEOUT,
        "graceful_timeout": int(settings.drain_timeout + 2 * settings.drain_grace + 5),
        "proc_name": "kong-gevent",
        "control_socket_disable": True,
        "on_starting": arbiter.on_starting,
        "post_fork": arbiter.post_fork,
        "pre_fork": holder.pre_fork,
        "child_exit": holder.child_exit,
    }


def _bind(settings: Settings) -> list[str]:
    """Open the listeners, for gunicorn to take over; after a binary upgrade it has those of its predecessor."""
    if conf.inherits_sockets():
        return [listener.address for _, listener in listen.wanted(settings)]
    return [f"fd://{sock.detach()}" for sock in listen.open_all(settings)]


def _raise_file_limit(settings: Settings) -> None:
    """Allow as many open files as the system lets us, or as the settings say."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.nginx_main_worker_rlimit_nofile
    target = hard if wanted == "auto" else int(wanted)
    if target != soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, max(hard, target)))
        except (ValueError, OSError) as error:
            sys.stderr.write(f"Warning: the limit of open files stays at {soft}: {error}\n")
