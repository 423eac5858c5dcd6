"""What an installation gets: one package, everything in it, nothing beside it; and the lists that say what it needs."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from kong_gevent.cli.settings_page import page
from tests.meta.sources import INSTALLED, ROOT, project_files, sources


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the files that would be committed."""
    tree, made = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for path in project_files():
        copy = tree / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    pip = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(made),
        str(tree),
    ]
    done = subprocess.run(pip, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    (file,) = made.iterdir()
    return file


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_a_wheel_takes_only_our_own_name(wheel: Path) -> None:
    assert {name.split("/")[0] for name in names(wheel)} == {"kong_gevent"}


def test_a_wheel_has_every_module(wheel: Path) -> None:
    wanted = set()
    for source in sources():
        folder = next(name for name in INSTALLED if source.path.is_relative_to(ROOT / name))
        inside = source.path.relative_to(ROOT / folder)
        wanted.add(str(Path(*INSTALLED[folder].split("."), inside)))
    assert wanted - names(wheel) == set()


def test_a_wheel_has_the_data_of_its_packages(wheel: Path) -> None:
    data = set()
    for path in project_files():
        top = path.relative_to(ROOT).parts[0]
        if top in INSTALLED and path.suffix not in (".py", ".pyc", ".md"):
            data.add(str(Path(*INSTALLED[top].split("."), path.relative_to(ROOT / top))))
    assert "kong_gevent/py.typed" in data
    assert data - names(wheel) == set()


def test_a_wheel_brings_the_command_and_the_requirements(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = {
            name.rpartition("/")[2]: archive.read(name).decode() for name in archive.namelist() if ".dist-info/" in name
        }
    assert "kong-gevent = kong_gevent.cli:main" in info["entry_points.txt"]
    for line in pins("requirements.txt"):
        assert re.search(rf"^Requires-Dist: {re.escape(line)}$", info["METADATA"], re.MULTILINE | re.IGNORECASE)


def pins(name: str) -> list[str]:
    lines = (line.strip() for line in (ROOT / name).read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-test.txt", "requirements.lock"])
def test_every_requirement_is_pinned(name: str) -> None:
    assert [line for line in pins(name) if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-test.txt"])
def test_the_lock_agrees_with_the_lists(name: str) -> None:
    locked = {line.lower().replace("_", "-") for line in pins("requirements.lock")}
    assert {line.lower().replace("_", "-") for line in pins(name)} - locked == set()


def test_the_package_metadata_reads_the_one_list() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["dependencies"] == {"file": ["requirements.txt"]}


def test_the_page_of_settings_is_current() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == page()
