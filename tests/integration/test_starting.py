"""A start reads what the plan holds, however many consumers and credentials there are."""

import json
from pathlib import Path

from tests.integration.stores import Commands

PROGRAM = ("-m", "tests.integration.starting")


def test_consumers_and_credentials_are_not_read_at_the_start(commands: Commands, tmp_path: Path) -> None:
    commands.done("migrations", "bootstrap", "-q")
    file = tmp_path / "kong.yml"
    file.write_text(
        "_format_version: '3.0'\n"
        "services: [{name: s, url: 'http://h', routes: [{name: r, paths: [/]}], plugins: [{name: key-auth}]}]\n"
        "consumers: [{username: ann, keyauth_credentials: [{key: secret}]}]\n"
    )
    commands.done("config", "db_import", str(file))
    outcome = commands.run(program=PROGRAM)
    assert outcome.code == 0, outcome
    kinds = set(json.loads(outcome.out.splitlines()[-1]))
    assert {"services", "routes", "plugins"} <= kinds
    assert not kinds & {"consumers", "keyauth_credentials"}
