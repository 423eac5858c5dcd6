"""The command line as a whole: arguments, messages, exit codes."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from kong_gevent import KONG_VERSION, __version__
from kong_gevent.cli import COMMANDS, main
from kong_gevent.cli.base import Options, merge


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command in an empty folder without any settings of this machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("kong_gevent.conf.source.DEFAULT_FILES", ())
    for name in ("PREFIX", "CONF"):
        monkeypatch.delenv(f"KONG_{name}", raising=False)

    def call(*arguments: str) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        out, err = capfd.readouterr()
        return Outcome(int(caught.value.code or 0), out, err)

    return call


HINT = "\n  Run with --v (verbose) or --vv (debug) for more details\n"


def test_without_a_command_it_shows_the_usage(run: Run) -> None:
    outcome = run()
    assert outcome.code == 0
    assert all(f"  {name} " in outcome.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(run: Run, name: str) -> None:
    outcome = run(name, "-h")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"Example:\n    kong-gevent {name}" in outcome.out or "Example:\n    KONG_" in outcome.out


def test_version_is_kongs(run: Run) -> None:
    assert run("version") == Outcome(0, f"{KONG_VERSION}\n", "")
    lines = run("version", "-a").out.splitlines()
    assert lines[:2] == [f"Kong: {KONG_VERSION}", f"kong-gevent: {__version__}"]
    assert {line.split(":")[0] for line in lines} == {"Kong", "kong-gevent", "gunicorn", "gevent", "Python"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x"], "No such command: x"),
        (["migrations", "x"], "No such command for migrations: x"),
        (["vault", "put"], "No such command for vault: put"),
        (["config", "x"], "No such command for config: x"),
        (["plugin", "x"], "No such command for plugin: x"),
        (["plugin", "new", "x", "--directory", "/proc/x"], "cannot write /proc/x: No such file or directory"),
        (
            ["config", "diff", "x.yml", "--addr", "http://h", "--token", "a\nb"],
            "--token holds no token: one is a word of visible ASCII characters",
        ),
        (["config", "parse", "/nowhere.yml"], "no such file: /nowhere.yml"),
        (["config", "parse", "/nowhere"], "/nowhere is no declarative file: its name must end in .yml, .yaml, .json"),
        (["start", "--bad"], "No such option '--bad'."),
        (["stop", "-p", "/nowhere"], "no such prefix: /nowhere"),
        (["quit", "-p", "/nowhere"], "no such prefix: /nowhere"),
        (["reload", "-p", "/nowhere"], "no such prefix: /nowhere"),
        (["drain", "-p", "/nowhere"], "no such prefix: /nowhere"),
        (["health", "-p", "/nowhere"], "no such prefix: /nowhere"),
        (["start", "-c", "/nowhere"], "no file at: /nowhere"),
        (["quit", "-t", "x"], "Invalid value for '-t' / '--timeout': 'x' is not a valid float range."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_failure_is_one_message_with_a_hint_and_code_1(run: Run, arguments: list[str], message: str) -> None:
    assert run(*arguments) == Outcome(1, "", f"Error: {message}\n{HINT}")


@pytest.mark.parametrize("group", [["admin-token"], ["dev", "cassandra"], ["plugin"], ["vault"], ["migrations"]])
def test_a_group_without_a_command_shows_its_usage(run: Run, group: list[str]) -> None:
    outcome = run(*group)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"Usage: kong-gevent {' '.join(group)} [OPTIONS]")


@pytest.mark.parametrize("database", ["memory", "off"])
def test_what_a_store_that_keeps_nothing_lacks(run: Run, monkeypatch: pytest.MonkeyPatch, database: str) -> None:
    monkeypatch.setenv("KONG_DATABASE", database)
    lacks = f"Error: database = {database} keeps no tokens; the setting admin_token is one\n{HINT}"
    assert run("admin-token", "list") == Outcome(1, "", lacks)
    assert "there is no vault 'my'" in run("vault", "get", "my/x").err


def test_prepare_checks_plugins(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KONG_PLUGINS", "nowhere")
    outcome = run("prepare", "-p", str(tmp_path / "p"))
    assert outcome.code == 1
    assert "there is no plugin 'nowhere'" in outcome.err
    assert not (tmp_path / "p/.kong_env").exists()


def test_what_nobody_foresaw_is_a_message_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Options, "load", lambda self: {}["x"])
    assert run("prepare") == Outcome(1, "", f"Error: unexpected KeyError: 'x'\n{HINT}")
    assert "Traceback" in run("prepare", "--vv").err


@pytest.mark.parametrize("command", ["stop", "quit", "reload", "drain"])
def test_nothing_to_signal(run: Run, command: str, tmp_path: Path) -> None:
    outcome = run(command, "-p", str(tmp_path), "--v")
    assert outcome.code == 1
    if command != "reload":
        assert outcome.err == f"Error: Kong is not running in {tmp_path}: no pid file {tmp_path}/pids/kong.pid\n"


def test_health_of_nothing(run: Run, tmp_path: Path) -> None:
    assert run("health", "-p", str(tmp_path), "--v").err == f"Error: Kong is not running at {tmp_path}\n"


def test_options_may_stand_before_and_after(run: Run, tmp_path: Path) -> None:
    for arguments in (["-p", str(tmp_path), "health"], ["health", "-p", str(tmp_path)]):
        assert f"Kong is not running at {tmp_path}" in run(*arguments).err


def test_the_later_option_wins() -> None:
    assert merge(None, Options("a")) == Options("a")
    assert merge(Options("a", "b", 1), Options(None, "c", 0)) == Options("a", "c", 1)


def test_check_says_valid(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "kong.conf"
    file.write_text("log_level = debug\n")
    assert run("check", str(file)) == Outcome(0, f"configuration at {file} is valid\n", "")


def test_check_lists_every_error(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "kong.conf"
    file.write_text("log_level = loud\nclient_ssl = maybe\nporxy_listen = x\n")
    outcome = run("check", str(file))
    assert (outcome.code, outcome.out) == (1, "")
    assert [line.split("]")[0] for line in outcome.err.splitlines()] == ["[error", "[error"]
    assert "'loud'" in outcome.err
    assert "'maybe'" in outcome.err


def test_check_shows_warnings(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "kong.conf"
    file.write_text("porxy_listen = x\n")
    outcome = run("check", str(file))
    assert outcome.code == 0
    assert outcome.err.startswith(f"[warn] {file}:1: unknown setting 'porxy_listen' is ignored; did you mean")


def test_start_shows_all_errors_of_the_settings(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "kong.conf"
    file.write_text("log_level = loud\nclient_ssl = maybe\n")
    outcome = run("start", "-c", str(file), "-p", str(tmp_path / "p"))
    assert outcome.code == 1
    assert outcome.err.startswith("Error: log_level has an invalid value: 'loud'")
    assert "\n       client_ssl is not a boolean: 'maybe'" in outcome.err
    assert not (tmp_path / "p").exists()


def test_prepare_makes_the_prefix(run: Run, tmp_path: Path) -> None:
    assert run("prepare", "-p", str(tmp_path / "p")) == Outcome(0, "", "")
    assert (tmp_path / "p" / ".kong_env").is_file()
    assert (tmp_path / "p" / "logs").is_dir()


def test_start_refuses_a_prefix_that_is_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "p").touch()
    outcome = run("start", "-p", str(tmp_path / "p"))
    assert outcome.code == 1
    assert f"the prefix {tmp_path}/p cannot be used" in outcome.err


def test_options_of_kong_without_meaning_are_accepted_with_a_warning(run: Run, tmp_path: Path) -> None:
    outcome = run("prepare", "-p", str(tmp_path / "p"), "--nginx-conf", "x")
    assert outcome.code == 0
    assert outcome.err == "Warning: --nginx-conf is accepted for Kong's sake and has no effect\n"


def test_debug_shows_settings_without_secrets(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KONG_PG_PASSWORD", "hush")
    outcome = run("prepare", "-p", str(tmp_path / "p"), "--vv")
    assert "[debug] pg_password = ******" in outcome.err
    assert "hush" not in outcome.err


def test_version_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['kong-gevent', 'version']\n"
        "from kong_gevent.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'gevent', 'flask', 'marshmallow', 'requests', 'rich', 'gunicorn', 'sqlite3'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [KONG_VERSION, "[]"]
