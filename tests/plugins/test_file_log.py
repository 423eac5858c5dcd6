"""file-log: one line per request, what custom fields hold, and files that cannot be written."""

import errno
import json
import os
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kong_gevent.errors import SchemaViolation
from kong_gevent.pdk.testing import InMemoryGateway

Make = Callable[..., InMemoryGateway]


def lines(made: InMemoryGateway, path: Path) -> list[dict[str, Any]]:
    made.flush()
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.log"


def test_each_request_is_a_line_with_its_record(plugin: Make, path: Path) -> None:
    made = plugin("file-log", path=str(path))
    runs = [made.get(f"/{number}") for number in range(3)]
    written = lines(made, path)
    assert [entry["request"]["uri"] for entry in written] == ["/0", "/1", "/2"]
    assert [entry["request"]["id"] for entry in written] == [run.response.headers["X-Kong-Request-Id"] for run in runs]
    assert path.read_bytes().endswith(b"}\n")


def test_the_file_is_made_with_kongs_mode(plugin: Make, path: Path) -> None:
    made = plugin("file-log", path=str(path))
    mask = os.umask(0)
    try:
        made.get()
        made.flush()
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_an_existing_file_is_appended_to(plugin: Make, path: Path) -> None:
    path.write_text("{}\n")
    made = plugin("file-log", path=str(path))
    made.get()
    assert len(lines(made, path)) == 2


@pytest.mark.parametrize(("reopen", "expected"), [(True, 1), (False, 0)])
def test_a_moved_file_is_left_only_with_reopen(plugin: Make, path: Path, reopen: bool, expected: int) -> None:
    made = plugin("file-log", path=str(path), reopen=reopen)
    made.get()
    made.flush()
    moved = path.rename(path.with_suffix(".1"))
    made.get()
    made.flush()
    assert len(path.read_text().splitlines()) == expected if path.exists() else expected == 0
    assert len(moved.read_text().splitlines()) == 2 - expected


def test_a_file_that_cannot_be_opened_is_logged_and_hurts_no_request(
    plugin: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = plugin("file-log", path=str(tmp_path / "missing" / "file.log"))
    assert made.get().status == 200
    made.flush()
    assert "failed to open the file: No such file or directory" in caplog.text
    assert "1 queue entries were lost" in caplog.text


def test_writing_goes_on_once_the_folder_is_there(plugin: Make, tmp_path: Path) -> None:
    path = tmp_path / "later" / "file.log"
    made = plugin("file-log", path=str(path))
    made.get()
    made.flush()
    path.parent.mkdir()
    made.get()
    assert len(lines(made, path)) == 1


def test_a_line_that_was_cut_takes_no_other_one_with_it(
    plugin: Make, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plugin("file-log", path=str(path))
    write = os.write

    def write_in_part(file: int, data: bytes) -> int:
        if not path.stat().st_size:
            return write(file, data[:5])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("kong_gevent.plugins.file_log.os.write", write_in_part)
        made.get("/lost")
        made.flush()
    for target in ("/a", "/b"):
        made.get(target)
        made.flush()
    cut, *whole = path.read_text().splitlines()
    assert len(cut) == 5
    assert [json.loads(line)["request"]["uri"] for line in whole] == ["/a", "/b"]


def test_answers_made_here_are_logged_too(plugin: Make, path: Path) -> None:
    made = plugin("file-log", path=str(path)).use("request-termination", on="route")
    made.update("routes", made.route["id"], paths=["/ended"])
    made.get("/ended")
    made.get("/nowhere")
    written = lines(made, path)
    assert [(entry["response"]["status"], entry["source"]) for entry in written] == [(503, "kong"), (404, "kong")]


def test_a_routes_log_does_not_hear_of_other_requests(plugin: Make, path: Path) -> None:
    made = plugin("file-log", on="route", path=str(path))
    made.update("routes", made.route["id"], paths=["/here"])
    made.get("/nowhere")
    made.get("/here")
    assert [entry["request"]["uri"] for entry in lines(made, path)] == ["/here"]


class TestCustomFields:
    @pytest.mark.parametrize(
        ("program", "value"),
        [
            ("return 'fixed'", "fixed"),
            ("return 7", 7),
            ("return true", True),
            ("return kong.request.get_header('X-Tenant')", "blue"),
            ('return kong.request.get_header("x_tenant") .. "-" .. kong.request.get_method()', "blue-GET"),
            ("return kong.request.get_headers()['x-tenant']:upper()", "BLUE"),
            ("return kong.request.get_query_arg('a')", "1"),
            ("return kong.response.get_status()", 200),
            ("return kong.client.get_ip()", "127.0.0.1"),
            ("return kong.router.get_service().host", "upstream.test"),
            ("local t = kong.request.get_header('X-Tenant') if t == 'blue' then return 1 else return 2 end", 1),
            ("return kong.request.get_header('X-None') or 'none'", "none"),
        ],
    )
    def test_they_hold_what_the_program_returns(self, plugin: Make, path: Path, program: str, value: Any) -> None:
        made = plugin("file-log", path=str(path), custom_fields_by_lua={"mine": program})
        made.get("/?a=1&a=2", headers={"X-Tenant": "blue"})
        assert lines(made, path)[0]["mine"] == value

    def test_dots_lead_into_objects(self, plugin: Make, path: Path) -> None:
        fields = {"request.tenant": "return 'blue'", "own.deep.field": "return 1"}
        made = plugin("file-log", path=str(path), custom_fields_by_lua=fields)
        made.get()
        entry = lines(made, path)[0]
        assert entry["request"]["tenant"] == "blue"
        assert entry["request"]["method"] == "GET"
        assert entry["own"] == {"deep": {"field": 1}}

    def test_nil_removes_a_field(self, plugin: Make, path: Path) -> None:
        fields = {"route": "return nil", "request.headers": "return"}
        made = plugin("file-log", path=str(path), custom_fields_by_lua=fields)
        made.get()
        entry = lines(made, path)[0]
        assert "route" not in entry
        assert "headers" not in entry["request"]

    def test_fields_of_entities_can_be_replaced_in_the_record_only(self, plugin: Make, path: Path) -> None:
        made = plugin("file-log", path=str(path), custom_fields_by_lua={"service.host": "return 'hidden'"})
        made.get()
        assert lines(made, path)[0]["service"]["host"] == "hidden"
        assert made.get().log["service"]["host"] == "hidden"
        assert made.gateway.plan.services[made.service["id"]].entity["host"] == "upstream.test"

    def test_a_program_that_fails_is_logged_and_the_rest_is_written(
        self, plugin: Make, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        fields = {"bad": "return nil .. 'x'", "good": "return 1"}
        made = plugin("file-log", path=str(path), custom_fields_by_lua=fields)
        made.get()
        entry = lines(made, path)[0]
        assert ("bad" in entry, entry["good"]) == (False, 1)
        assert "custom field bad: attempt to concatenate a nil value" in caplog.text

    @pytest.mark.parametrize(
        ("program", "value"),
        [
            ("return string.lower", "function"),
            ("return string", dict.fromkeys(("lower", "upper", "len", "sub", "format", "gsub", "match"), "function")),
            ("return 0xffffffffffffffffffff", float(0xFFFFFFFFFFFFFFFFFFFF)),
            ("return 1e999", None),
        ],
    )
    def test_what_is_no_json_takes_no_record_with_it(self, plugin: Make, path: Path, program: str, value: Any) -> None:
        made = plugin("file-log", path=str(path), custom_fields_by_lua={"mine": program, "own.deep": program})
        made.get()
        entry = lines(made, path)[0]
        assert (entry["mine"], entry["own"]["deep"]) == (value, value)

    def test_they_may_be_forbidden(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        with closing(InMemoryGateway(untrusted_lua="off")) as made:
            made.use("file-log", path=str(path), custom_fields_by_lua={"mine": "return 1"})
            made.get()
            assert "mine" not in lines(made, path)[0]
        assert "custom fields are left out" in caplog.text

    @pytest.mark.parametrize("program", ["return (", "os.execute('x')", "for i = 1, 2 do end", "while true do end"])
    def test_bad_programs_are_refused(self, plugin: Make, path: Path, program: str) -> None:
        with pytest.raises(SchemaViolation) as caught:
            plugin("file-log", path=str(path), custom_fields_by_lua={"x": program})
        assert caught.value.fields["config"]["custom_fields_by_lua"].startswith("Error parsing function: line 1: ")


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ({}, {"path": "required field missing"}),
        ({"path": "/tmp/a*b"}, {"path": "not a valid filename"}),
        ({"path": "/tmp/a&b"}, {"path": "not a valid filename"}),
        ({"path": "/tmp/a%b"}, {"path": "not a valid filename"}),
        ({"path": "/tmp/a`b"}, {"path": "not a valid filename"}),
        ({"path": "/tmp/a", "reopen": "yes"}, {"reopen": "expected a boolean"}),
        (
            {"path": "/tmp/a", "custom_fields_by_lua": {"": "return 1"}},
            {"custom_fields_by_lua": "length must be at least 1"},
        ),
    ],
)
def test_bad_settings_are_refused(plugin: Make, config: dict[str, Any], fields: dict[str, Any]) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("file-log", **config)
    assert caught.value.fields == {"config": fields}
