"""A client that keeps tests short: paths in, status and body out."""

from typing import Any

from kong_gevent.admin import AdminApp, LocalNode

FORM = "application/x-www-form-urlencoded"


class Api:
    """Calls return `(status, body)`; the body is None when there is none. Everything goes through the WSGI app."""

    def __init__(self, app: AdminApp, node: LocalNode) -> None:
        self.app = app
        self.node = node
        self.client = app.test_client()

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        """A request with a JSON body (or `data` and `content_type`)."""
        if body is not None:
            options["json"] = body
        answer = self.client.open(path, method=method, **options)
        if answer.data:
            assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
            assert answer.headers["Content-Length"] == str(len(answer.data))
        return answer.status_code, answer.json if answer.data else None

    def get(self, path: str) -> tuple[int, Any]:
        return self.call("GET", path)

    def post(self, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        return self.call("POST", path, body, **options)

    def put(self, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        return self.call("PUT", path, body, **options)

    def patch(self, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        return self.call("PATCH", path, body, **options)

    def delete(self, path: str) -> tuple[int, Any]:
        return self.call("DELETE", path)

    def form(self, path: str, text: str, method: str = "POST") -> tuple[int, Any]:
        """A urlencoded body, as it stands."""
        return self.call(method, path, data=text, content_type=FORM)

    def make(self, path: str, /, **fields: Any) -> dict[str, Any]:
        """Create an entity that has to be accepted."""
        status, row = self.post(path, fields)
        assert status == 201, row
        made: dict[str, Any] = row
        return made

    def all(self, path: str, size: int = 1000) -> list[dict[str, Any]]:
        """Every row of a list, page by page through `next`."""
        rows: list[dict[str, Any]] = []
        following: str | None = f"{path}?size={size}"
        while following:
            status, page = self.get(following)
            assert status == 200, page
            assert ("offset" in page) == (page["next"] is not None)
            rows += page["data"]
            following = page["next"]
        return rows
