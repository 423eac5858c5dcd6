"""Kong-gevent: an API gateway that speaks Kong's language, on gunicorn and gevent."""

from pathlib import Path

__version__ = "0.1.0"
KONG_VERSION = "3.9.1"
"""The release of Kong whose interfaces, messages and numbers this package follows."""

CHECKOUT: Path | None = None
"""Root of the source tree when the package is imported from one, else None (an installed package)."""

_root = Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "admin").is_dir():
    CHECKOUT = _root
    # In a checkout the folders lie beside this one; installed, they are sub-packages. Either way the
    # only names are kong_gevent.admin and kong_gevent.plugins.
    __path__.append(str(_root))
