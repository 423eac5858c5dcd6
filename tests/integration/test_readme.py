"""What the README promises a new user works as printed."""

import re
import subprocess

import pytest

from tests.gateway import ROOT, Gateway

README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(heading: str) -> list[tuple[str, int | None]]:
    """The curl lines of a section, with the status that a comment announces."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line]
    return [(line, int(found[1]) if (found := re.search(r"# (\d{3})", line)) else None) for line in lines]


def call(gateway: Gateway, line: str) -> tuple[int, str]:
    """Run one line against this gateway; status and body."""
    for port, actual in ((8000, gateway.proxy_port), (8001, gateway.admin_port), (8007, gateway.status_port)):
        line = line.replace(f":{port}", f":{actual}")
    command = line.partition(" # ")[0].replace("curl -i", "curl") + " -sS -w '\\n%{http_code}'"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def test_the_first_request_and_the_first_plugin(gateway: Gateway) -> None:
    answered = [
        (line, expected, *call(gateway, line))
        for heading in ("The first proxied request", "The first plugin")
        for line, expected in commands(heading)
    ]
    assert len(answered) >= 9
    for line, expected, status, body in answered:
        assert status == expected if expected else status in (200, 201), (line, status, body)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(((?!https?:)[^)#]+)", README))))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).is_file()
