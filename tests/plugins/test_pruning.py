"""What a document that is all there is to be leaves alone: what clients, sessions and operators were given."""

from collections.abc import Callable
from typing import Any

from kong_gevent.pdk.testing import InMemoryGateway

Make = Callable[..., InMemoryGateway]
LEFT = ("admin_tokens", "audit_requests", "oauth2_authorization_codes", "oauth2_tokens", "sessions")


def test_pruning_takes_configuration_only(plugin: Make) -> None:
    made = plugin()
    made.consumer("ada", "k")
    ada = made.store.dao("consumers").select_by("username", "ada")
    client = made.insert("oauth2_credentials", consumer={"id": ada["id"]}, name="app")
    made.insert("oauth2_tokens", credential={"id": client["id"]}, expires_in=60)
    made.insert("oauth2_authorization_codes", credential={"id": client["id"]})
    made.insert("sessions", session_id="s")
    made.admin("POST", "/admin-tokens", json={"name": "ci"})
    made.admin("POST", "/consumers", json={"username": "gone"})

    def count(kind: str) -> int:
        return sum(1 for _ in made.store.dao(kind).each())

    before = {kind: count(kind) for kind in LEFT}
    keep: dict[str, Any] = {
        "_format_version": "3.0",
        "consumers": [
            {"id": ada["id"], "username": "ada", "oauth2_credentials": [{"id": client["id"], "name": "app"}]}
        ],
    }
    answer = made.admin("POST", "/config?prune=1", json=keep)
    assert answer.status_code == 201, answer.text
    assert {kind: count(kind) for kind in LEFT if kind != "audit_requests"} == {
        kind: number for kind, number in before.items() if kind != "audit_requests"
    }
    assert count("audit_requests") >= before["audit_requests"]
    assert before["admin_tokens"] == 1
    assert [count("routes"), count("keyauth_credentials"), count("consumers")] == [0, 0, 1]
