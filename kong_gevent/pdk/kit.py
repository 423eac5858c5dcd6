"""A plugin's door to the node: caches, entities, shared counters, timers, queues, blocking work."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar, TypeVarTuple

from kong_gevent.errors import AnswerCut, GatewayError
from kong_gevent.pdk.metrics import Metrics

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class LookupFailed(GatewayError):
    """The datastore could not answer; the request must not pass because of it (answered 503)."""


class CutAnswer(AnswerCut):
    """Raised in `body_filter`: what is left of the answer must not reach the client, which sees that it is cut."""


class CountersUnavailable(GatewayError):
    """Shared counters cannot be reached, so nobody knows whether a limit holds."""


class RedisFailed(GatewayError):
    """A Redis server could not be asked, or refused. `unknown`: commands were sent, and may have been carried out."""

    def __init__(self, message: str, unknown: bool = False) -> None:
        self.unknown = unknown
        super().__init__(message)


class EntriesLost(Exception):
    """Raised by what a queue sends with: so many entries are lost for good, all others of the batch were sent.

    Entries of earlier batches may be among them, where a loss is told afterwards.
    """

    def __init__(self, count: int, reason: str) -> None:
        self.count = count
        super().__init__(reason)


class Conclusions(dict[Any, Any]):
    """What a plugin concluded from cached values; emptied whenever one of them changes.

    A conclusion from several look-ups may be outdated before it is stored: keep `version` from before the first one,
    and store nothing when it has grown since.
    """

    __slots__ = ("version",)

    def __init__(self) -> None:
        super().__init__()
        self.version = 0


class Counters(Protocol):
    """Numbers shared by all workers of the node, changed under one lock: exact, lost only when the node stops."""

    def consume(self, owner: Any, windows: Sequence[tuple[Any, ...]]) -> tuple[bool, list[int]]:
        """Count 1 in every window of `owner`, or in none.

        Each window begins with (name, limit, expires): owner, which is hashable, and name, a text, tell the counter,
        `expires` is the epoch time in s at which it vanishes. Returns whether all windows were below their limit (then
        each was incremented) and the values found *before* counting.
        """
        ...

    def add(self, key: Any, amount: int, expires: float) -> int:
        """Add to one counter and return its new value."""
        ...

    def value(self, key: Any) -> int:
        """The current value; 0 for a key that is unknown or has expired."""
        ...


class SharedCounters(Protocol):
    """Counters of several nodes together. Made in `configure`; `close` them in `retire`."""

    def consume(self, owner: tuple[str, ...], windows: Sequence[tuple[Any, ...]]) -> tuple[bool, list[int]]:
        """As `Counters.consume`; the texts of `owner` and the name together are the counter's key.

        Raises `CountersUnavailable` or `RedisFailed` when the counts cannot be had.
        """
        ...

    def usage(self, owner: tuple[str, ...], windows: Sequence[tuple[Any, ...]]) -> list[int]:
        """What has been counted in each window, without counting. The limits of the windows must be 0."""
        ...

    def add(self, owner: tuple[str, ...], windows: Sequence[tuple[Any, ...]], amount: int) -> None:
        """Count an amount in every window, whatever the limits."""
        ...

    def close(self) -> None:
        """They are not used any more."""
        ...


class Redis(Protocol):
    """A Redis server. All who name the same server with the same parameters share one connection per worker."""

    def call(self, *commands: Sequence[str | bytes | int | float]) -> list[Any]:
        """Send commands, such as `("INCR", "key")`, and return their replies (texts as bytes).

        Commands of requests that run at the same time share one write and one read. Takes at most the configured
        timeout; while the server is known to be away it fails at once. Raises `RedisFailed`, also when the server
        refuses one of the commands.
        """
        ...

    def counters(self, sync_rate: float = -1) -> SharedCounters:
        """Counters kept there: at once by INCR, or in the node's memory, synchronised every `sync_rate` s by INCRBY.

        At once means that requests above the limit count too.
        """
        ...

    def close(self) -> None:
        """The end of one use; the last one closes the connection."""
        ...


class Entities(Protocol):
    """Entities of one kind, as the Admin API shows them; what is written is validated, and seen by all workers.

    All methods raise `LookupFailed` when the datastore does not answer (a write may have happened then), and the coded
    errors (`DaoError`) of the Admin API: a schema violation, a unique value that is taken, a parent that is not there.
    `cached` reads may come from memory or a replica: what they give is at most as old as the last event that this node
    has heard of. `ttl`: seconds to live, for kinds of entities that expire.
    """

    def select(self, key: str, cached: bool = False) -> dict[str, Any] | None:
        """The entity with this id."""
        ...

    def select_by(self, field: str, value: str, cached: bool = False) -> dict[str, Any] | None:
        """The entity whose unique field has this value."""
        ...

    def select_together(self, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """The entity that has a combination of values which exists once (`Entity.unique_together`), `cached`.

        References are `{"id": …}` or None, which counts as a value.
        """
        ...

    def children(self, field: str, parent_id: str, cached: bool = False) -> list[dict[str, Any]]:
        """The entities whose foreign field refers to a parent; `cached` needs the field in the kind's `listed_by`."""
        ...

    def each(self) -> Iterator[dict[str, Any]]:
        """All of them, read page by page."""
        ...

    def insert(self, values: Mapping[str, Any], ttl: float | None = None) -> dict[str, Any]:
        """Store a new one and return it, with defaults and generated values."""
        ...

    def upsert(self, key: str, values: Mapping[str, Any], ttl: float | None = None) -> dict[str, Any]:
        """Replace the one with this id as a whole, or create it."""
        ...

    def update(self, key: str, values: Mapping[str, Any], ttl: float | None = None) -> dict[str, Any]:
        """Change some fields of the one with this id. Raises `EntityNotFound` when it is gone."""
        ...

    def delete(self, key: str) -> bool:
        """Delete the one with this id. True for exactly one of those who try it at the same time, on whatever node."""
        ...

    def delete_by(self, field: str, value: str) -> bool:
        """Delete the one whose unique field has this value; as `delete`."""
        ...


class Queue(Protocol):
    """A bounded batch queue with one consumer; entries that do not fit are dropped and counted."""

    dropped: int

    def put(self, entry: Any) -> None:
        """Add an entry; never blocks. When full, the oldest entry is dropped."""
        ...


class NodeCache(Protocol):
    """Octets by key that all workers of the node share, bounded in bytes; the oldest make room. Lost with the node.

    Keys belong to all plugins together: begin them with something of your own.
    """

    def get(self, key: bytes) -> bytes | None:
        """The entry, unless its time is over."""
        ...

    def purges(self, key: bytes) -> int:
        """A number that changes when the entry is deleted, whether or not there is one."""
        ...

    def put(self, key: bytes, entry: bytes, seconds: float, purges: int | None = None) -> bool:
        """Keep an entry for so long; False when it is too large, or was deleted since there were so many `purges`."""
        ...

    def delete(self, key: bytes) -> bool:
        """Forget an entry; whether there was one."""
        ...

    def clear(self) -> None:
        """Forget all of them, those of other plugins too."""
        ...

    def claim(self, key: bytes, seconds: float) -> bool:
        """Whether this request is the one to make an entry; another that is about to is awaited, at most so long.

        After True call `release` once; False means that another has just released it: look again.
        """
        ...

    def release(self, key: bytes) -> None:
        """The entry has been made, or will not be."""
        ...


class NodeView(Protocol):
    """What a plugin may know about its node; see `kong_gevent.admin.node.NodeFacade`."""

    def statistics(self) -> Mapping[str, int]:
        """Connections and requests: `connections_active`, `_reading`, `_writing`, `_waiting`, `_accepted`, `_handled`, `total_requests`; `clients_*`: those cut off."""  # noqa: E501
        ...

    def workers(self) -> Sequence[tuple[int, int]]:
        """Process id and resident memory (bytes) of each worker."""
        ...

    def shared_memory(self) -> Mapping[str, tuple[int, int]]:
        """Shared segments by name: capacity and use in bytes."""
        ...

    def timers(self) -> Mapping[str, int]:
        """Timers of this worker: `running`, `pending`."""
        ...

    def store_reachable(self) -> bool:
        """Whether the datastore answers."""
        ...

    def target_health(self) -> Iterable[tuple[str, str, str, str]]:
        """Every address of targets of upstreams: names of upstream and target (`host:port`), the address, its health.

        Health is `HEALTHY`, `UNHEALTHY` or `HEALTHCHECKS_OFF`; a target whose name leads nowhere has the address `""`
        and the health `DNS_ERROR`.
        """
        ...


class Kit(Protocol):
    """What `self.kit` offers to a plugin."""

    node_id: str
    hostname: str
    worker_pid: int
    worker_uuid: str
    log: logging.Logger
    runs_programs: bool
    """Whether expressions and programs in settings may be evaluated: the setting `untrusted_lua` is not `off`."""
    classic_answers: bool
    """Whether refusals are to have the status and text of Kong 0.5: the setting of that name is on."""
    counters: Counters
    metrics: Metrics
    node_cache: NodeCache
    node: NodeView
    """The node; not there yet in `init_worker`."""

    def cached(self, key: str, load: Callable[[], T], ttl: float | None = None, negative_ttl: float | None = None) -> T:
        """The value of `key`, loaded at most once however many requests ask for it; a `None` is remembered too.

        `ttl`, `negative_ttl` in s; None means the node's `db_cache_ttl`, `db_cache_neg_ttl`. Entity changes drop the
        keys of the form `<entity>:<field>:<value>`. Raises `LookupFailed` when the datastore does not answer.
        """
        ...

    def entities(self, name: str) -> Entities:
        """The entities of a kind, for reading and writing; `KeyError` when no such kind is known."""
        ...

    def select_by(self, entity: str, field: str, value: str) -> dict[str, Any] | None:
        """As `entities(entity).select_by(field, value, cached=True)`, in the shortest time.

        Kept until it changes, and never longer than the entity lives (`ttl`).
        """
        ...

    def load_consumer(self, id_or_username: str, by_username: bool = False) -> dict[str, Any] | None:
        """A consumer by id, else (when allowed) by username, cached. Raises `LookupFailed`."""
        ...

    def memory(self) -> Conclusions:
        """A dict of this worker's for what was concluded from cached values; it is emptied whenever one changes.

        Compare its `version` from before the look-ups with the one after them and store nothing when they differ. Do
        not keep what follows from an entity with a `ttl` in it, and bound its size.
        """
        ...

    def shared_counters(self, tolerant: bool = True) -> SharedCounters:
        """Counters of all nodes that share the datastore: counted in this node's memory, synchronised in batches.

        What the others have counted is known some time later (see the page of rate-limiting); only a counter that is
        new to this node is read before it is used. `tolerant`: counting goes on with what is known while the datastore
        is away; else `consume` raises.
        """
        ...

    def redis(self, options: Mapping[str, Any]) -> Redis:
        """The server of a `redis` record (see `redis_record`), for one use. Nothing is connected before it is asked."""
        ...

    def tls_context(self, verify: bool) -> ssl.SSLContext:
        """Shared TLS parameters, not to be changed: verified against the node's trusted authorities, or not at all."""
        ...

    def signal(self, topic: str, text: str) -> None:
        """Tell the other nodes of the datastore something that is not stored; raises what the store raises."""
        ...

    def on_signal(self, topic: str, function: Callable[[str], None]) -> None:
        """Call `function` in each worker with the text of every signal of another node."""
        ...

    def every(self, seconds: float, function: Callable[[], None]) -> None:
        """Call `function` every so many seconds in this worker, in a greenlet; its exceptions are logged."""
        ...

    def queue(self, name: str, send: Callable[[list[Any]], None], **parameters: Any) -> Queue:
        """The queue of that name, made on first use; `send` gets the batches (raise to have one tried again).

        Parameters as in Kong's `config.queue` record (see `queue_parameters`), and `label`, which stands in front of
        the queue's messages in the log. Another `send` than before takes the place of the old one, with its parameters.
        """
        ...

    def offload(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run blocking code in the thread pool and return its result; other requests go on meanwhile."""
        ...
