"""Which code decides a result: a module and all that it imports of this package, directly or not, file by file."""

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from facedistill.core.errors import InputError
from facedistill.core.files import read_json, sha256
from facedistill.core.paths import HEAD, PACKAGE

# Every command goes through these, and they decide no result.
GENERIC = frozenset(PACKAGE / f"{name}.py" for name in ("__init__", "__main__", "cli"))
READ = {PACKAGE / "rig" / "head.py": HEAD}  # what a module reads decides as well


def import_closure(*roots: str) -> list[Path]:
    """The files of modules, of all that these import, even inside functions or as packages, and their data, in path order."""
    found: set[Path] = set()
    todo = {path for root in roots for path in _files(root)}
    while todo:
        path = todo.pop()
        found.add(path)
        modules = imported(path.read_text(encoding="utf-8"), path)
        todo |= {file for module in modules for file in _files(module)} - found
    return sorted(found | {READ[path] for path in found & READ.keys()})


@cache
def imported(source: str, path: Path) -> frozenset[str]:
    """The modules that a source imports anywhere; raises InputError, which names `path`, where it is not Python."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{path}: not Python ({error})") from None
    named = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            named |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(named)


def notebook_code(path: Path) -> str:
    """The code of a notebook's cells; raises InputError where it is no notebook of version 4."""
    content = read_json(path)
    try:
        return "\n".join("".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code")
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: not a notebook of version 4 ({error!r})") from None


def digest(files: Iterable[Path]) -> str:
    """A line for each file: the SHA-256 of its content, and its path from the root of the project."""
    return "".join(f"{sha256(path)}  {path.relative_to(PACKAGE.parents[1]).as_posix()}\n" for path in files)


def _files(module: str) -> set[Path]:
    """The file of a module of this package and those of the packages that it is in; none of a name that is no module."""
    first, *names = module.split(".")
    if first != PACKAGE.name:
        return set()
    places = [PACKAGE.joinpath(*names[:depth]) for depth in range(1, len(names) + 1)]
    return {file for place in places for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()} - GENERIC
