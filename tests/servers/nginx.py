"""nginx with a part of a configuration that a test gives it."""

import os

from tests.servers.process import ConfiguredServer, find_program

PACKAGE = "nginx"
_MAIN = """
worker_processes 1;
pid nginx.pid;
error_log stderr;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    {folders}
    include part.conf;
}}
"""
_FOLDERS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def binary() -> str:
    """Path of the program. Raises ServerMissing when there is none."""
    return find_program("nginx", PACKAGE)


class Nginx(ConfiguredServer):
    """A master with one worker; `port` has to be one on which its `http` part, `configuration`, listens."""

    name = "nginx"
    file_name = "part.conf"

    def command(self) -> list[str]:
        """In the foreground, the part that a test writes within the lines that every one needs."""
        main = self.folder / "nginx.conf"
        folders = "\n    ".join(f"{name}_temp_path {name};" for name in _FOLDERS)
        main.write_text(_MAIN.format(folders=folders, user="" if os.geteuid() else "user root;"))
        return [binary(), "-p", str(self.folder), "-c", str(main), "-e", "stderr", "-g", "daemon off;"]
