"""The client itself: collections, and the endpoints that are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from kong_gevent.client.collection import Collection, Entity, path_of
from kong_gevent.client.transport import Argument, Transport

if TYPE_CHECKING:
    from kong_gevent.client.trace import Filter, Trace


class Client:
    """An Admin API at `url` (`http://host:port`, `https://host:port`, also behind a path).

    `token`: an Admin token; `verify`: True for the system's authorities, the path of a PEM file with others, False for
    none; `cert`: client certificate, a path of certificate with key or a pair of paths; `timeout`: seconds to connect,
    and between two parts of an answer; `retries`: see `Transport`; `headers`: more fields for each request. Proxies and
    `.netrc` of the environment are not used, redirects are not followed. Threads and greenlets may share one client.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        verify: bool | str = True,
        cert: str | tuple[str, str] | None = None,
        timeout: float = 30.0,
        retries: int = 2,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._transport = Transport(
            url, token=token, verify=verify, cert=cert, timeout=timeout, retries=retries, headers=headers
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self.url}>"

    @property
    def url(self) -> str:
        """The API's address, without a slash at its end."""
        return self._transport.url

    def close(self) -> None:
        """Close the idle connections; the client may be used again."""
        self._transport.close()

    def collection(self, *path: str) -> Collection:
        """A list of entities: `collection("services")`, below one `collection("services", "example", "routes")`.

        Parts are quoted, so keys may hold any character.
        """
        return Collection(self._transport, *path)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Argument] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Any other request: the decoded answer, None for one without a body. `path` has to be quoted already.

        `body`: what JSON can express, or bytes with a content type in `headers`.
        """
        return self._transport.send(method, path, body, query, headers)[1]

    # --- the node ----------------------------------------------------------------------------------------------------

    def node(self) -> dict[str, Any]:
        """`GET /`: version, plugins, configuration of the node."""
        return self._object("/")

    def status(self, **query: Argument) -> dict[str, Any]:
        """`GET /status`: memory, connections, datastore. `unit` and `scale` say how memory is printed."""
        return self._object("/status", query)

    def schema(self, entity: str) -> dict[str, Any]:
        """`GET /schemas/{entity}` in Kong's form; `plugins/NAME` for a plugin's."""
        return self._object(path_of("schemas", *entity.split("/")))

    def validate(self, entity: str, values: Mapping[str, Any]) -> None:
        """Would this be accepted by a POST, the store apart? Raises `Invalid` if not."""
        self.request("POST", path_of("schemas", entity, "validate"), values)

    def endpoints(self) -> list[str]:
        """Every path of this API, parameters in braces."""
        paths: list[str] = self._object("/endpoints")["data"]
        return paths

    # --- declarative configuration -----------------------------------------------------------------------------------

    def config(self) -> str:
        """`GET /config`: the configuration of a node without a database, as YAML."""
        text: str = self._object("/config")["config"]
        return text

    def load_config(
        self, document: str | Mapping[str, Any], *, check_hash: bool = False, flatten_errors: bool = False
    ) -> dict[str, Any] | None:
        """`POST /config`: replace the whole configuration, at once or not at all; a text is YAML or JSON.

        The answer has the entities by collection and id; it is None when `check_hash` found that this very text is
        loaded already. Raises `Invalid`; with `flatten_errors` its `body` has `flattened_errors`.
        """
        body = {"config": document} if isinstance(document, str) else document
        query = {"check_hash": check_hash or None, "flatten_errors": flatten_errors or None}
        status, entities = self._transport.send("POST", "/config", body, query)
        return None if status == 304 else entities

    # --- requests ----------------------------------------------------------------------------------------------------

    def explain(self, method: str, url: str, headers: Sequence[str] = (), **asked: str | int | None) -> dict[str, Any]:
        """`POST /debug/explain`: what would become of a request, without sending it.

        `headers`: `Name: value` each; further keywords: `client_ip`, `sni`, `consumer`, `credential`, `near`.
        """
        given = {name: value for name, value in asked.items() if value is not None}
        body = {"method": method, "url": url, "headers": list(headers), **given}
        found: dict[str, Any] = self.request("POST", "/debug/explain", body)
        return found

    def trace(self, **filters: Filter) -> Trace:
        """`/debug/trace`: real requests of all workers of the node as they finish, one message each, until `close`.

        `filters`: `route`, `service`, `consumer`, `path`, `status` (a list), `sample`, `limit`. The first message has
        the type `started`, requests have `request`; `dropped` counts those that came too fast to be shown.
        """
        from kong_gevent.client.trace import Trace

        return Trace(self.url, {name: value for name, value in filters.items() if value not in (None, (), [])},
                     **self._transport.connection)  # fmt: skip

    # --- tags --------------------------------------------------------------------------------------------------------

    @property
    def tags(self) -> Collection:
        """`/tags`: rows `{"tag", "entity_name", "entity_id"}`; only `list` and `iterate` make sense."""
        return self.collection("tags")

    def tagged(self, tag: str) -> list[Entity]:
        """The rows of `/tags/{tag}`: which entities carry a tag."""
        return list(self.collection("tags", tag).iterate())

    def _object(self, path: str, query: Mapping[str, Argument] | None = None) -> dict[str, Any]:
        found: dict[str, Any] = self.request("GET", path, query=query)
        return found
