"""gunicorn's configuration file, as `kong-gevent start` passes it; all values come from the gateway's own settings."""

from kong_gevent.runtime.master import gunicorn_settings

globals().update(gunicorn_settings())
