"""Configurations as documents in Kong's declarative format: read, validated as a whole, moved between stores."""

from kong_gevent.declarative.document import Document
from kong_gevent.declarative.moving import check_conflicts, export, import_into
from kong_gevent.declarative.problems import InvalidDocument
from kong_gevent.declarative.reader import ENDINGS, read_file, read_json, read_whole, read_yaml
from kong_gevent.declarative.writer import JsonWriter, YamlWriter, write_all, writer_for

__all__ = [
    "ENDINGS",
    "Document",
    "InvalidDocument",
    "JsonWriter",
    "YamlWriter",
    "check_conflicts",
    "export",
    "import_into",
    "read_file",
    "read_json",
    "read_whole",
    "read_yaml",
    "write_all",
    "writer_for",
]
