"""The project's own files, and what its modules import."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = {"kong_gevent": "kong_gevent", "admin": "kong_gevent.admin", "plugins": "kong_gevent.plugins"}
"""Folders that hold code, and the names under which they are imported."""


class Import(NamedTuple):
    """One imported module and where that is written."""

    module: str
    place: str


class Source(NamedTuple):
    """One Python file of the product."""

    name: str
    """Dotted module name as installed."""
    path: Path
    tree: ast.Module

    @property
    def place(self) -> str:
        """Path for messages."""
        return str(self.path.relative_to(ROOT))

    def imports(self) -> list[Import]:
        """What it imports at run time, also inside functions."""
        return [
            Import(module, f"{self.place}:{node.lineno}") for node in _run_time(self.tree) for module in _modules(node)
        ]


def _run_time(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements that run: those only for the type checker are left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from _run_time(other)
        else:
            yield from _run_time(node)


def _modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    # `from package import name` may import a sub-module or a plain name: both are looked at.
    return [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]


@cache
def sources() -> tuple[Source, ...]:
    """Every module of the product."""
    found = []
    for folder, package in INSTALLED.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join([package, *(part for part in parts if part != "__init__")])
            found.append(Source(name, path, ast.parse(path.read_text(encoding="utf-8"), str(path))))
    return tuple(found)


@cache
def project_files() -> tuple[Path, ...]:
    """Every file that is or would be committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    names = sorted({name for name in listed.stdout.decode().split("\0") if name})
    return tuple(path for name in names if (path := ROOT / name).is_file())


def below(module: str, *packages: str) -> bool:
    """Whether a module is one of these packages or inside one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)
