"""The Admin API of 2015 over today's entities: APIs, consumers, plugin configurations and credentials as they were.

`tables` says how old and new names belong together; `kinds`, `apis` and `plugins` translate objects; `views` answers.
"""

from kong_gevent.admin.classic.app import PREFIX, blueprint

__all__ = ["PREFIX", "blueprint"]
