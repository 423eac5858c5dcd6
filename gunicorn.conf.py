"""Run the gateway from a checkout: `gunicorn -c gunicorn.conf.py`. All values come from the gateway's own settings."""

from kong_gevent.runtime.master import gunicorn_settings

wsgi_app = "kong_gevent.app:application"
globals().update(gunicorn_settings())
