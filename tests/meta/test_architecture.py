"""docs/architecture.md names what exists, and leaves no package out."""

import re

import pytest

from tests.meta.sources import ROOT, sources

TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PATHS = sorted(set(re.findall(r"`([a-z_0-9]+(?:/[a-z_0-9]+)*(?:\.py|/))`", TEXT)))
NAMES = sorted(set(re.findall(r"`([A-Z][A-Za-z]+(?:\.[a-z_]+)?)`", TEXT)))
FOLDERS = sorted(path.parent.name for path in (ROOT / "kong_gevent").glob("*/__init__.py"))


@pytest.mark.parametrize("path", PATHS)
def test_every_file_exists(path: str) -> None:
    assert (ROOT / path).exists() or (ROOT / "kong_gevent" / path).exists()


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_package_is_explained(folder: str) -> None:
    assert re.search(rf"^\| (?:`[a-z/]+`, )*`{folder}/`", TEXT, re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_every_class_and_method_exists(name: str) -> None:
    kind, _, member = name.partition(".")
    found = [source for source in sources() if re.search(rf"^class {kind}\b", source.path.read_text(), re.MULTILINE)]
    assert found
    assert not member or any(re.search(rf"    def {member}\(|    {member}\b", s.path.read_text()) for s in found)
