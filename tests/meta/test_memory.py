"""What a worker does not load before it is needed: each of these libraries takes several MiB in every worker."""

import subprocess
import sys

import pytest

PROGRAM = """
from gevent import monkey

monkey.patch_all()
import sys

import kong_gevent.admin
import kong_gevent.runtime.boot
from kong_gevent.conf import load
from kong_gevent.db import open_store
from kong_gevent.pdk.loader import load_plugins

settings = load(None, {"database": "sqlite", "prefix": "/nowhere"}, {})
open_store(settings, load_plugins(settings.plugins))
print(" ".join(sorted(sys.modules)))
"""


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "library",
    ["backports", "brotli", "cassandra", "cryptography", "dns", "OpenSSL", "psycopg", "redis", "requests", "rich"],
)
def test_it_is_loaded_when_it_is_needed(loaded: set[str], library: str) -> None:
    assert library not in loaded
