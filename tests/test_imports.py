"""Modules of the package import each other without a cycle, and the public names are few."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import scgeoae as sg

ROOT = Path(sg.__file__).parent
MODULES = {
    ".".join(["scgeoae", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
USED_BY_ANALYSTS = ("tl", "pl", "get", "datasets", "model")
MOST = 60
"""Public names in the packages for engineers."""


def imported_by(module: str) -> set[str]:
    """Return the modules of ours that a module imports: at its top, in functions, and for type checking alone."""
    path = MODULES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            # a name is a module, or something in the module
            found |= {name if (name := f"{source}.{alias.name}") in MODULES else source for alias in node.names}
    return found & MODULES.keys() - {module}


def first_cycle(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_modules_import_each_other():
    cycle = first_cycle({module: imported_by(module) for module in MODULES})
    assert not cycle, " <- ".join(cycle)


def test_no_packages_import_each_other():
    def package(module: str) -> str:
        parts = module.split(".")
        return ".".join(parts[:2]) if len(parts) > 1 else module

    graph: dict[str, set[str]] = {}
    for module in MODULES:
        # `scgeoae` itself imports nothing before it is asked for
        others = {package(name) for name in imported_by(module)} - {package(module), "scgeoae"}
        graph.setdefault(package(module), set()).update(others)
    del graph["scgeoae"]
    cycle = first_cycle(graph)
    assert not cycle, " <- ".join(cycle)


def test_a_cycle_is_named():
    assert first_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) in (["b", "c", "b"], ["c", "b", "c"])
    assert first_cycle({"a": {"b"}, "b": {"c"}, "c": set()}) == []


def test_public_names_for_engineers_are_few():
    packages = [name for _, name, is_package in pkgutil.walk_packages([str(ROOT)], "scgeoae.") if is_package]
    public = [name for name in packages if "._" not in name and name.split(".")[1] not in USED_BY_ANALYSTS]
    names = {f"{package}.{name}" for package in public for name in importlib.import_module(package).__all__}
    assert len(names) <= MOST, f"{len(names)} public names"
