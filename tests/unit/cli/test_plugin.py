"""`plugin new`: what it writes works at once, is installed by pip, and bad names write nothing."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kong_gevent.cli.plugin import command

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(command, arguments)


def test_its_test_passes_at_once(run: Callable[..., Result], tmp_path: Path) -> None:
    done = run("new", "good-morning")
    assert done.exit_code == 0, done.output
    assert "KONG_PLUGINS=bundled,good-morning" in done.output
    folder = tmp_path / "kong-gevent-good-morning"
    page = (folder / "docs" / "good-morning.md").read_text()
    assert '| `header_name` | string | `"X-Greeting"` |' in page
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "kong_gevent.pdk.testing", "-p", "no:cacheprovider", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert tested.returncode == 0, tested.stdout
    assert "7 passed" in tested.stdout


def test_pip_installs_it_with_its_entry_point(run: Callable[..., Result], tmp_path: Path) -> None:
    assert run("new", "greeting", "--directory", "made").exit_code == 0
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "--target", "site", "./made"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    entry = next((tmp_path / "site").glob("*.dist-info/entry_points.txt")).read_text()
    assert entry.strip().splitlines() == ["[kong_gevent.plugins]", "greeting = greeting:Greeting"]
    assert (tmp_path / "site" / "greeting" / "__init__.py").is_file()


def test_docs_follows_the_code(run: Callable[..., Result], tmp_path: Path) -> None:
    run("new", "greeting")
    code = tmp_path / "kong-gevent-greeting" / "greeting" / "__init__.py"
    code.write_text(code.read_text().replace('load_default="hello"', 'load_default="hi"'))
    assert run("docs", "kong-gevent-greeting").exit_code == 0
    assert '`"hi"`' in (tmp_path / "kong-gevent-greeting" / "docs" / "greeting.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["new", "Greeting"], "'Greeting' is no name for a plugin"),
        (["new", "a--b"], "'a--b' is no name"),
        (["new", "../x"], "'../x' is no name"),
        (["new", "cors"], "there is a bundled plugin called 'cors'"),
        (["docs", "."], "there is no plugin in ."),
    ],
)
def test_what_cannot_be_is_said_and_nothing_written(
    run: Callable[..., Result], tmp_path: Path, arguments: list[str], text: str
) -> None:
    done = run(*arguments)
    assert done.exit_code == 1
    assert text in done.output
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(run: Callable[..., Result]) -> None:
    assert run("new", "greeting").exit_code == 0
    done = run("new", "greeting")
    assert (done.exit_code, "exists already" in done.output) == (1, True)
