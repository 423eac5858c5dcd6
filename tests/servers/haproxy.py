"""HAProxy with a configuration of the test's own."""

import subprocess

from tests.servers.process import ConfiguredServer, find_program

PACKAGE = "haproxy"


def binary() -> str:
    """Path of the program. Raises ServerMissing when there is none."""
    return find_program("haproxy", PACKAGE)


class HAProxy(ConfiguredServer):
    """One process; `port` has to be one that its configuration binds."""

    name = "HAProxy"
    file_name = "haproxy.cfg"

    def command(self) -> list[str]:
        """A master with one worker, in the foreground."""
        return [binary(), "-W", "-db", "-f", str(self.file)]

    def check(self) -> str:
        """What HAProxy says about its configuration; empty when it is content."""
        done = subprocess.run([binary(), "-c", "-f", str(self.file)], capture_output=True, text=True)
        return "" if done.returncode == 0 and not done.stderr.strip() else done.stderr + done.stdout
