"""`python tests/bench/structure.py [CHECKOUT]`: rooms of the package, arrows between them, circles, and what is large.

A room is a folder of `curate/`, or a module that lies in none. An arrow is an import that runs, wherever it stands; imports for
type checkers alone do not count. A circle is a set of rooms each of which reaches all others.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path


def modules(package: Path) -> dict[str, ast.Module]:
    """Module name -> syntax tree."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        name = ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text())
    return found


def room_of(module: str, package: Path) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else package.name


def imported(tree: ast.Module, known: dict[str, ast.Module]) -> Iterator[str]:
    """Modules of the package that a module imports when it runs."""
    for_checkers = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_checkers:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "curate":
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                yield below if below in known else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("curate."))


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Sets of rooms that reach one another."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        todo = list(arrows[start])
        while todo:
            room = todo.pop()
            if room not in seen:
                seen.add(room)
                todo += arrows.get(room, ())
        return seen

    reach = {room: reached(room) for room in list(arrows)}
    sets = {frozenset(other for other in reach if other in reach[room] and room in reach[other]) for room in reach}
    return sorted(sorted(one) for one in sets if len(one) > 1)


def main() -> None:
    package = Path(sys.argv[1] if sys.argv[1:] else Path(__file__).parents[2]) / "curate"
    known = modules(package)
    arrows: dict[str, set[str]] = defaultdict(set)
    for name, tree in known.items():
        for other in imported(tree, known):
            if room_of(other, package) != room_of(name, package):
                arrows[room_of(name, package)].add(room_of(other, package))
    rooms = {room_of(name, package) for name in known}
    print(f"{len(rooms)} rooms, {sum(map(len, arrows.values()))} arrows, {len(found := circles(arrows))} circles")
    for circle in found:
        print(f"  circle: {', '.join(circle)}")
    lines = {path: path.read_text().count("\n") for path in package.rglob("*.py")}
    large = {str(path.relative_to(package)): size for path, size in lines.items() if size > 400}
    print(f"{len(large)} files above 400 lines: {large}")
    functions = {
        f"{name}.{node.name}": node.end_lineno - node.lineno + 1
        for name, tree in known.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    }
    long = {name: size for name, size in sorted(functions.items(), key=lambda item: -item[1]) if size > 60}
    print(f"{len(long)} functions above 60 lines: {long}")
    vague = sum(
        (ast.get_docstring(node) or "").startswith(("Of ", "Those of ", "That of "))
        for tree in known.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module)
    )
    print(f"{vague} docstrings that begin with 'Of', 'Those of' or 'That of'")


if __name__ == "__main__":
    main()
