"""The API against its own description: requests that follow it and requests that break it, made by schemathesis."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from hypothesis.internal.conjecture import providers
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from tests.unit.admin.world import World

CHECKS = (
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
)
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
"""Content types that hold texts by name: of what breaks a schema by being something else nothing is sent."""
MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
EXAMPLES = {"below": 2, "classic": 2, "entities": 4}
"""Requests of each mode for one operation, by kind of path: where many paths are made by the same code, fewer."""
KINDS = {
    "lists": r"/[\w-]+",
    "entities": r"/[\w-]+/\{\w+\}",
    "below": r"/[\w-]+/\{\w+\}/[\w-]+(/\{\w+\})?",
    "classic": r"/classic.*",
    "others": r".*",
}
"""Kinds of paths; the first that matches is the one."""
NAMES = {"name": "services", "db_entity_name": "services", "log_level": "debug", "key": "none", "tags": "one"}
"""What stands for parameters of paths that name no entity."""
NOT_HERE = ("/status/dns", "/debug/explain", "/debug/trace")
"""Paths that answer 501: Kong's own, and what needs a node that proxies."""
CLASSIC = {"consumer": "consumers"}
"""Parameters of classic paths: the entities that they name."""
CALM = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True)
def same_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of the modules that happen to be loaded are no values: every run makes the same requests."""
    monkeypatch.setattr(providers, "_get_local_constants", providers.Constants)
    providers.CONSTANTS_CACHE.cache.clear()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(str(tmp_path_factory.mktemp("prefix")))


@pytest.fixture(scope="module")
def schema(world: World) -> Any:
    found = schemathesis.openapi.from_wsgi("/openapi.json", world.api.app)
    found.config.generation.update(modes=list(MODES))
    return found


def operations(schema: Any, kind: str) -> Iterator[Any]:
    """Those whose path is of a kind."""
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path in NOT_HERE:
            continue
        if kind == next(name for name, pattern in KINDS.items() if re.fullmatch(pattern, operation.path)):
            yield operation


def aimed(world: World, case: Any) -> Any:
    """Half of the requests are about entities that are there."""
    for name in case.path_parameters or ():
        known = world.ids.get(CLASSIC.get(name, name)) or NAMES.get(name)
        if known:
            case.path_parameters[name] = known
    return case


def problems_of(world: World, operation: Any, mode: Any, examples: int) -> set[str]:
    """What is wrong with the answers of one operation."""
    found: set[str] = set()

    @settings(CALM, max_examples=examples)
    @given(case=operation.as_strategy(generation_mode=mode), there=st.booleans())
    def ask(case: Any, there: bool) -> None:
        if there:
            case = aimed(world, case)
        response = case.call()
        judged = CHECKS if _is_refused(case) else CHECKS[:-1]
        try:
            case.validate_response(response, checks=list(judged))
        except (AssertionError, BaseExceptionGroup) as error:
            found.add(f"{operation.label}: {case.as_curl_command()}: {_told(error)}")

    try:
        ask()
    except Unsatisfiable:  # nothing that such a request says can be wrong
        assert operation.method == "get" or not operation.body
    finally:
        world.put_back()
    return found


def _is_refused(case: Any) -> bool:
    """Whether a body that breaks the schema has to be refused, whatever it breaks it with."""
    if case.media_type in FORMS:
        return _fits_form(case.body)
    # As for Kong, an empty object does for an empty list, and nobody looks at a time that is about to be replaced.
    return not isinstance(case.body, dict) or ("updated_at" not in case.body and {} not in case.body.values())


def _fits_form(body: Any) -> bool:
    """Whether all of a body is sent as a form: texts, or lists of them, by name."""
    if not isinstance(body, dict):
        return False
    values = [item for value in body.values() for item in (value if isinstance(value, list) and value else [value])]
    return not any(isinstance(value, (dict, list)) for value in values)


def _told(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return " | ".join(_told(inner) for inner in error.exceptions)
    return str(error)[:600]


@pytest.mark.parametrize("mode", MODES, ids=["follows", "breaks"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_answers_are_as_described(world: World, schema: Any, kind: str, mode: Any) -> None:
    found: set[str] = set()
    for operation in operations(schema, kind):
        found |= problems_of(world, operation, mode, EXAMPLES.get(kind, 12))
    assert not found, "\n\n".join(sorted(found)[:40])
