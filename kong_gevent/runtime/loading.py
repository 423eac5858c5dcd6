"""From a new worker to one that may serve: a configuration, from the store or else from disk, and warm caches."""

from __future__ import annotations

import gc
import logging
import random
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

import gevent
from gevent.pool import Pool

from kong_gevent.conf.certificates import listens_with_tls
from kong_gevent.db import rows
from kong_gevent.dns import NameNotResolved
from kong_gevent.errors import DatabaseError, GatewayError
from kong_gevent.runtime.changes import PLANNED
from kong_gevent.runtime.pace import REST, paced

if TYPE_CHECKING:
    from kong_gevent.runtime.node import Node

log = logging.getLogger("kong_gevent")
RETRY_SECONDS = 0.5
"""Seconds between two tries of a store that is away."""
PATIENCE = 5.0
"""Seconds for which a start waits for a store that neither answers nor refuses, before it serves what is on disk."""
JITTER = 0.1
"""The part by which the time between two looks at the store varies, so that nodes do not keep step."""
WARM_SECONDS = 10.0
"""How long caches may be filled before the first request; the rest is done beside the requests."""
WARM_PAGE = 500
WARM_TRIES = 100
"""How often, at most, pages are read again that a change has overtaken."""
RESOLVERS = 10
"""Host names that are looked up at once."""


def load_and_follow(node: Node) -> None:
    """Load, let requests in, then follow the store's events; never returns."""
    load(node)
    node.look()  # whoever asked for that before there was anything to change, waits for it
    settle()
    warmer = gevent.spawn(warm_up, node)
    warmer.join(WARM_SECONDS)
    node.prepared = True
    gevent.spawn(node.keeper.run)
    frequency = max(0.1, float(node.settings.db_update_frequency))
    while True:
        pause = frequency * random.uniform(1 - JITTER, 1 + JITTER)
        gevent.sleep(pause if node.sync.failure is None else min(pause, RETRY_SECONDS))
        try:
            follow(node)
        except Exception:
            log.exception("the datastore's events could not be followed this time")


def follow(node: Node) -> None:
    """Look once for what other nodes have written; large changes come into force in all workers together."""
    reached, asked = node.sync.reached, node.shared.looks
    node.sync.poll()
    if node.sync.prepared and node.shared.looks == asked:  # else another worker sees to it
        node.published(many=True)
    if node.sync.reached and not reached:
        settle()
        gevent.spawn(warm_up, node)


def load(node: Node) -> None:
    """Return once there is a configuration: the store's, or the last good one while the store is away."""
    sync = node.sync
    began = monotonic()
    while True:
        current = sync.begin()
        ended = current.done.wait(PATIENCE)
        if current.succeeded:
            break
        if not sync.loaded and node.keeper.load():
            return
        if ended:
            gevent.sleep(RETRY_SECONDS)
    plan = node.gateway.plan
    log.info("%d routes and %d services loaded in %.3f s", len(plan.routes), len(plan.services), monotonic() - began)


def load_once(node: Node) -> None:
    """For processes that cannot wait: load, from disk when the store is away. Raises what the store raises."""
    try:
        node.sync.load()
    except DatabaseError:
        if not node.keeper.load():
            raise


def settle() -> None:
    """What has been loaded stays: the garbage collector would only lose time looking through it."""
    gc.collect()
    gc.freeze()


def warm_up(node: Node) -> None:
    """Fill caches with the kinds of entities that `db_cache_warmup_entities` names, before requests ask for them."""
    for kind in node.settings.get("db_cache_warmup_entities", []):
        try:
            if kind == "services":
                _resolve_hosts(node)
            elif kind == "certificates":
                _make_ready(node)
            elif kind not in PLANNED and node.sync.reached:
                _warm(node, kind)
        except KeyError:
            log.warning("db_cache_warmup_entities: there is no entity '%s'", kind)
        except GatewayError as error:
            log.warning("the cache could not be filled with %s: %s", kind, error)


def rests(node: Node) -> Callable[[], float]:
    """How long what is done ahead of requests rests between two slices: not at all while there are none."""
    return lambda: REST if node.prepared else 0


def _resolve_hosts(node: Node) -> None:
    hosts = {entry.host for entry in node.gateway.plan.services.values() if entry.entity["enabled"]}

    def resolve(host: str) -> None:
        try:
            node.gateway.resolver.look(host)
        except NameNotResolved as error:
            log.debug("%s", error)  # a request for it will say so where it matters

    pool = Pool(RESOLVERS)
    for host in paced(hosts, rests(node)):
        pool.spawn(resolve, host)
    pool.join()


def _make_ready(node: Node) -> None:
    if listens_with_tls(node.settings, "proxy"):
        count = node.gateway.certificates.warm_up(rests(node))
        log.info("%d certificates made ready for handshakes", count)


def _warm(node: Node, kind: str) -> None:
    """Read a kind page by page while there is room; a page is read again when something changed meanwhile."""
    cache, dao = node.cache, node.store.dao(kind)
    count, overtaken, offset = 0, 0, None
    while not cache.full and overtaken < WARM_TRIES:
        version = cache.version
        page, following = dao.page(WARM_PAGE, offset)
        entries = [(key, entity) for entity in paced(page, rests(node)) for key in rows.cache_keys(dao.entity, entity)]
        if not cache.warm(entries, version):
            overtaken += 1
            continue
        count += len(page)
        offset = following
        if offset is None:
            break
    log.info("%d %s loaded into the cache%s", count, kind, "" if offset is None else "; there are more")
