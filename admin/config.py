"""`/config`: the whole configuration as a document, applied at once or not at all; its history, and the way back."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response

from kong_gevent.admin.node import NodeFacade
from kong_gevent.admin.render import JSON, answer, empty, message
from kong_gevent.admin.request import current, flag
from kong_gevent.admin.routing import add_path
from kong_gevent.db import codec
from kong_gevent.db.rows import show
from kong_gevent.db.transfer import Transfer
from kong_gevent.declarative import YamlWriter, export, history
from kong_gevent.declarative.apart import Application, Refused, Rollback, run_beside
from kong_gevent.declarative.applying import Busy, Outcome, Request
from kong_gevent.declarative.changes import TooManyChanges
from kong_gevent.declarative.document import in_order
from kong_gevent.declarative.history import NoSuchChangeSet, RollbackRefused
from kong_gevent.declarative.posted import NothingPosted, from_text
from kong_gevent.declarative.progress import progress_of
from kong_gevent.pacing import Pacer

NOTHING = "expected a declarative configuration"
MANY = 250
"""Changes from which all workers make them ready beside their requests, to serve by all of them at once."""
RETRY_SECONDS = 5
_LOG = logging.getLogger("kong_gevent.admin")


class _PacedText(io.StringIO):
    """A text that is written while others get their turn."""

    def __init__(self) -> None:
        super().__init__()
        self._pace = Pacer()

    def write(self, text: str) -> int:
        self._pace()
        return super().write(text)


class ConfigViews:
    """Documents in and out."""

    def __init__(self, node: NodeFacade) -> None:
        self._node = node
        self._store = node.store

    def show(self) -> Response:
        """`GET /config`: the configuration as YAML."""
        text = _PacedText()
        export(self._store, YamlWriter(text), Pacer())
        return answer({"config": text.getvalue()})

    def load(self) -> Response:
        """`POST /config`: without a database the document replaces everything; see the manual for the others."""
        client, arguments = current(), current().query_arguments()
        kind, content = ("json", client.text) if client.kind == "json" else ("text", client.text)
        if client.is_form:
            content = client.sent.get("config", "")
        if not content or not isinstance(content, (str, bytes)):
            return message(400, NOTHING)
        whole = self._store.read_only
        request = Request(
            author(), "POST /config", prune=flag(arguments.get("prune")), tags=_tags(arguments), whole=whole,
            dry_run=flag(arguments.get("dry_run")),
        )  # fmt: skip
        try:
            if whole and arguments.get("check_hash") == "1" and self._known(kind, content):
                return empty(304)
            flattening = flag(arguments.get("flatten_errors"))
            outcome = run_beside(self._store, self._node.settings, Application(kind, content, request, flattening))
        except NothingPosted:
            return message(400, NOTHING)
        except Refused as refused:
            return _refusal(refused)
        except TooManyChanges as error:
            return message(413, str(error))
        except Busy as error:
            return _busy(error)
        self._publish(outcome, request.dry_run)
        if whole and not request.dry_run:
            return Response(b"".join(self._entities()), 201, content_type=JSON)
        return answer(outcome.shown(), 200 if request.dry_run else 201)

    def _known(self, kind: str, content: Any) -> bool:
        """Whether this very text is what the node has. Of a JSON body only the text inside counts."""
        if kind == "json":
            try:
                body = codec.loads(content)
            except ValueError:
                return False
            content = body.get("config") if isinstance(body, dict) else None
            if not isinstance(content, str) or not content:
                return False
        return from_text(content).hash == self._store.configuration_hash

    def _publish(self, outcome: Outcome, dry_run: bool) -> None:
        if not dry_run:
            self._node.published(sum(outcome.summary.values()) - outcome.summary["unchanged"] >= MANY)

    def _entities(self) -> Iterator[bytes]:
        """All entities that documents have: collection → id → entity."""
        transfer, pace = Transfer(self._store, lambda count: None), Pacer()
        yield b"{"
        first = True
        for name in in_order(self._store.catalogue):
            kind, opened = self._store.catalogue[name], False
            for row in transfer.read(kind) if kind.exported else ():
                pace()
                if not opened:
                    yield (b"" if first else b",") + codec.dumps(name) + b":{"
                yield (b"," if opened else b"") + codec.dumps(row.id) + b":" + codec.dumps(show(kind, row))
                opened, first = True, False
            if opened:
                yield b"}"
        yield b"}"

    # -- history

    def history(self) -> Response:
        """`GET /config/history`: applied change sets, newest first."""
        return answer({"data": [entry.shown() for entry in history.entries(self._store)], "next": None})

    def progress(self) -> Response:
        """`GET /config/progress`: how far the process is that makes a large change set for this node, if one does."""
        return answer(progress_of(self._node.settings.prefix))

    def change_set(self, change_sets: str) -> Response:
        """`GET /config/history/{id}`: what one of them changed."""
        try:
            entry = history.find(self._store, change_sets)
            changes = [record.shown() for record in history.records(self._store, entry)]
        except NoSuchChangeSet:
            return message(404, "Not found")
        return answer({**entry.shown(), "changes": changes})

    def undo(self) -> Response:
        """`POST /config/rollback`: back to before the change set `id`, or the newest."""
        client = current()
        key = client.sent.get("id")
        if key is not None and not isinstance(key, str):
            return message(400, "id: expected a string")
        dry_run = flag(client.query_arguments().get("dry_run"))
        try:
            outcome = run_beside(self._store, self._node.settings, Rollback(key, author(), dry_run))
        except NoSuchChangeSet as error:
            return message(404, str(error))
        except RollbackRefused as error:
            problems = error.problems
            return answer({"message": f"the change set cannot be undone: {problems[0]}", "problems": problems}, 409)
        except TooManyChanges as error:
            return message(413, str(error))
        except Busy as error:
            return _busy(error)
        self._publish(outcome, dry_run)
        return answer(outcome.shown())


def author() -> str:
    """Who asks: the name of a token, the subject of a certificate, or an address."""
    who = current().who
    return who.name if who is not None else "unknown"


def _tags(arguments: dict[str, Any]) -> list[str]:
    value = arguments.get("tags")
    return [tag for tag in value.split(",") if tag] if isinstance(value, str) else []


def _refusal(refused: Refused) -> Response:
    body = {**refused.error.to_dict(), "fields": refused.fields}
    if refused.flattened is not None:
        body["flattened_errors"] = refused.flattened
    return answer(body, refused.error.status)


def _busy(error: Busy) -> Response:
    made = message(429, str(error))
    made.headers["Retry-After"] = str(RETRY_SECONDS)
    return made


def blueprint(node: NodeFacade) -> Blueprint:
    """`/config` and what is below it."""
    made, views = Blueprint("config", __name__), ConfigViews(node)
    add_path(made, "/config", {"GET": views.show, "POST": views.load})
    add_path(made, "/config/progress", {"GET": views.progress})
    add_path(made, "/config/history", {"GET": views.history})
    add_path(made, "/config/history/<change_sets>", {"GET": views.change_set})
    add_path(made, "/config/rollback", {"POST": views.undo})
    return made
