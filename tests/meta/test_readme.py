"""What the README says of plugins is what the code has."""

import re
from pathlib import Path

import pytest

from kong_gevent.plugins import ANNOUNCED, BUNDLED

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("row", "names"),
    [("run", BUNDLED), ("settings are validated and published, cannot be enabled yet", ANNOUNCED)],
    ids=["run", "announced"],
)
def test_the_table_of_plugins_is_true(row: str, names: tuple[str, ...]) -> None:
    match = re.search(rf"^\| {re.escape(row)} \| (.*) \|$", README, re.MULTILINE)
    assert match is not None
    assert match.group(1) == ", ".join(sorted(names))
