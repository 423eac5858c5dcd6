"""`python -m kong_gevent` is the command line."""

from kong_gevent.cli import main

if __name__ == "__main__":
    main()
