"""The syntax of the settings file, and the record in the prefix."""

from pathlib import Path

import pytest

from kong_gevent.conf.source import RUNNING_FILE, read_file, write_running
from kong_gevent.errors import ConfigurationError


def values(path: Path) -> dict[str, str]:
    return {key: given.value for key, given in read_file(path)[0].items()}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("log_level = debug", {"log_level": "debug"}),
        ("  log_level=debug  ", {"log_level": "debug"}),
        ("# log_level = debug", {}),
        ("", {}),
        ("log_level = debug # why not", {"log_level": "debug"}),
        ("pg_password = a\\#b # but not this", {"pg_password": "a#b"}),
        ("pg_password = a=b", {"pg_password": "a=b"}),
        ("pg_password =", {"pg_password": ""}),
        ("\ufefflog_level = debug", {"log_level": "debug"}),
    ],
    ids=["plain", "blanks", "comment", "empty", "trailing comment", "escaped", "equals", "no value", "byte order mark"],
)
def test_reads_a_line(tmp_path: Path, line: str, expected: dict[str, str]) -> None:
    file = tmp_path / "kong.conf"
    file.write_text(line + "\n", encoding="utf-8")
    assert values(file) == expected


def test_lists_every_malformed_line_with_its_number(tmp_path: Path) -> None:
    file = tmp_path / "kong.conf"
    file.write_text("log_level = debug\n[section]\n= 3\na b = 4\n")
    with pytest.raises(ConfigurationError) as caught:
        read_file(file)
    assert caught.value.messages == [
        f"{file}:2: expected 'key = value', got '[section]'",
        f"{file}:3: expected 'key = value', got '= 3'",
        f"{file}:4: expected 'key = value', got 'a b = 4'",
    ]


def test_a_file_of_another_kind_gives_few_messages(tmp_path: Path) -> None:
    file = tmp_path / "kong.conf"
    file.write_text("nonsense\n" * 100)
    with pytest.raises(ConfigurationError) as caught:
        read_file(file)
    assert len(caught.value.messages) == 6
    assert caught.value.messages[-1] == f"{file}: 95 more lines like these"


def test_a_repeated_setting_warns_and_the_later_one_counts(tmp_path: Path) -> None:
    file = tmp_path / "kong.conf"
    file.write_text("log_level = debug\nlog_level = info\n")
    found, warnings = read_file(file)
    assert found["log_level"].value == "info"
    assert warnings == [f"{file}:2: 'log_level' was set before ({file}:1); the later value counts"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no file at: {}"),
        (lambda path: path.mkdir(), "{} is a directory, not a configuration file"),
        (lambda path: path.write_bytes(b"a = \xff"), "{} is not UTF-8 text (byte 4)"),
    ],
    ids=["missing", "directory", "binary"],
)
def test_says_why_it_cannot_read(tmp_path: Path, make: object, message: str) -> None:
    file = tmp_path / "kong.conf"
    make(file)  # type: ignore[operator]
    with pytest.raises(ConfigurationError) as caught:
        read_file(file)
    assert caught.value.messages == [message.format(file)]


@pytest.mark.parametrize(
    "text", ["plain", "a#b", "a\\#b", "a\\nb", "-----BEGIN-----\nx\r\n-----END-----", "\\", "a \\\\ b"]
)
def test_the_record_gives_back_what_was_written(tmp_path: Path, text: str) -> None:
    record = tmp_path / RUNNING_FILE
    write_running(record, {"some_key": text, "other": "1"})
    assert values(record) == {"some_key": text, "other": "1"}


def test_only_the_owner_reads_the_record(tmp_path: Path) -> None:
    record = tmp_path / RUNNING_FILE
    record.write_text("old")
    record.chmod(0o644)
    write_running(record, {"pg_password": "x"})
    assert record.stat().st_mode & 0o777 == 0o600
