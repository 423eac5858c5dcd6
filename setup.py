"""Finds the packages: folders of a checkout that are installed under kong_gevent, whatever is added to them."""

from setuptools import find_packages, setup


def _installed_names() -> list[str]:
    names = find_packages(include=["kong_gevent", "kong_gevent.*"])
    for folder in ("admin", "plugins"):
        names.append(f"kong_gevent.{folder}")
        names += [f"kong_gevent.{folder}.{name}" for name in find_packages(folder)]
    return names


setup(packages=_installed_names())
