"""Secrets by reference in the settings of plugins: every field that may hold one gets the secret, wherever it is."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kong_gevent.pdk import Conf, Config, Context, Plugin, fields
from kong_gevent.pdk.loader import load_announced, load_plugins
from kong_gevent.pdk.testing import InMemoryGateway
from kong_gevent.schema import kinds
from kong_gevent.schema.document import fields_of
from kong_gevent.vaults.secrets import Secrets

Make = Callable[..., InMemoryGateway]
Place = Callable[[str], Any]
PLUGINS: dict[str, type[Plugin]] = {**load_plugins(["bundled"]), **load_announced()}
REFERENCE = "{vault://env/some-secret}"


def places(field: kinds.Field) -> Iterator[Place]:
    """How a text gets into each referenceable field at or below one."""
    if getattr(field, "referenceable", False):
        yield lambda text: text
    if isinstance(field, kinds.Record):
        for name, inner in field.schema.shape.items():
            yield from (_in_record(name, place) for place in places(inner))
    if isinstance(field, (kinds.Array, kinds.Set)):
        yield from (_in_list(place) for place in places(field.elements))
    if isinstance(field, kinds.Map):
        yield from (_in_map(place) for place in places(field.values))


def _in_record(name: str, place: Place) -> Place:
    return lambda text: {name: place(text)}


def _in_list(place: Place) -> Place:
    return lambda text: [place(text)]


def _in_map(place: Place) -> Place:
    return lambda text: {"key": place(text)}


def places_of(name: str) -> list[Place]:
    shape = PLUGINS[name].config().shape
    return [_in_record(field, place) for field, kind in shape.items() for place in places(kind)]


def published(shown: Any) -> int:
    """The number of fields of a published schema that are said to be referenceable."""
    if isinstance(shown, dict):
        return int(shown.get("referenceable") is True) + sum(published(part) for part in shown.values())
    return sum(published(part) for part in shown) if isinstance(shown, list) else 0


@pytest.mark.parametrize("name", PLUGINS)
def test_every_field_that_may_refer_to_a_secret_gets_it(name: str) -> None:
    schema = PLUGINS[name].config()
    found = places_of(name)
    assert len(found) == published(list(fields_of(schema)))
    for place in found:
        filled = Secrets({"SOME_SECRET": "the secret"}).filled(schema.shape, place(REFERENCE))
        assert filled == (place("the secret"), True)


class TestWhatPluginsSee:
    """Through a whole gateway: what is stored and shown is the reference, what works is the secret."""

    class Shown(Plugin):
        """Sends its secrets back."""

        name = "shown"
        priority = 1

        class config(Config):
            """Secrets at every depth."""

            one = fields.String(referenceable=True)
            many = fields.Array(fields.String(referenceable=True))
            named = fields.Map(fields.String(), fields.String(referenceable=True))
            inner = fields.Record({"deep": fields.String(referenceable=True), "plain": fields.String()})

        def access(self, ctx: Context, conf: Conf) -> Any:
            return ctx.exit(200, [conf.one, conf.many, conf.named, conf.inner.deep, conf.inner.plain])

    def test_secrets_at_every_depth(self, plugin: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SOME_SECRET", "s")
        made = plugin(
            self.Shown,
            one=REFERENCE,
            many=["a", REFERENCE],
            named={"k": REFERENCE},
            inner={"deep": REFERENCE, "plain": REFERENCE},
        )
        assert made.get().response.json() == ["s", ["a", "s"], {"k": "s"}, "s", REFERENCE]
        (stored,) = made.store.dao("plugins").each()
        assert (stored["config"]["one"], stored["config"]["many"]) == (REFERENCE, ["a", REFERENCE])

    def test_a_secret_that_is_not_there_lets_nothing_pass(self, plugin: Make) -> None:
        run = plugin(self.Shown, one="{vault://env/no-such-variable}").get()
        assert (run.status, run.upstreams) == (500, [])
        assert "no-such-variable" not in run.response.text.lower()
