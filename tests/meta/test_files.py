"""What committed files must not contain: places on somebody's machine, leftovers, package registries."""

import re
from pathlib import Path

import pytest

from tests.meta.sources import ROOT, project_files

FORBIDDEN = {
    "a path of one machine": rf"{re.escape(str(ROOT))}\b|(?<![\w/.])/(?:root|home/[a-z]+)/|/(?:\w+/)*bin/python\d? *$",
    "a package registry": r"pypi\.org|pythonhosted\.org|registry\.npmjs|proxy\.golang",
    "unfinished work": r"\bTODO\b|\bFIXME\b|\bXXX\b",
}
BINARY = {".png", ".gz", ".ico", ".woff2", ".http", ".sqlite3"}


def text_files() -> list[Path]:
    return [path for path in project_files() if path.suffix not in BINARY and path != Path(__file__).resolve()]


def test_there_are_files_to_judge() -> None:
    assert len(text_files()) > 50


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_contains(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what])
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_programs_are_executable() -> None:
    programs = [path for path in project_files() if path.read_bytes()[:2] == b"#!"]
    assert programs
    assert [str(path.relative_to(ROOT)) for path in programs if not path.stat().st_mode & 0o111] == []
