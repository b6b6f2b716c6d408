"""Laws of the whole package: imports, floors, calling conventions, documentation."""

from __future__ import annotations

import ast
import gc
import inspect
import re
import subprocess
import sys
import tomllib
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

import pytest

import scgeoae as sg

from .for_each import for_each

ROOT = Path(sg.__file__).parent
PUBLIC = {
    f"{floor}.{name}": getattr(getattr(sg, floor), name)
    for floor in ("tl", "pl", "get")
    for name in getattr(sg, floor).__all__
}
HEAVY = ("torch", "scanpy", "anndata", "scvi", "umap", "matplotlib", "lightning", "numba")


def loaded_after(code: str) -> set[str]:
    code += "\nimport sys\nprint(*{name.split('.')[0] for name in sys.modules})"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_import_is_light():
    assert not loaded_after("import scgeoae") & set(HEAVY)


def test_using_it_imports_only_what_it_takes():
    loaded = loaded_after("import scgeoae as sg; sg.tl.geoae; sg.pl.interactive; sg.get.model")
    assert not loaded & {"scvi", "umap", "anywidget"}


def test_everything_announced_is_there():
    assert set(sg.__all__) <= set(dir(sg))
    for name in set(sg.__all__) - ({"model"} if find_spec("scvi") is None else set()):
        assert inspect.ismodule(getattr(sg, name)) or name == "load"
    with pytest.raises(AttributeError, match="has no attribute 'spam'"):
        _ = sg.spam


def test_a_package_without_scvi_tools_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "scvi", None)
    monkeypatch.delitem(sys.modules, "scgeoae.model", raising=False)
    monkeypatch.delitem(vars(sg), "model", raising=False)
    with pytest.raises(ImportError, match=r"^sg\.model needs .* 'scvi-tools': pip install 'scgeoae\[scvi\]'\.$"):
        _ = sg.model


@for_each("enabled", [True, False])
@for_each("fails", [True, False])
def test_the_garbage_collector_pauses_while_a_subpackage_is_imported(monkeypatch, enabled, fails):
    seen = []

    def imported(*_):
        seen.append(gc.isenabled())
        if fails:
            raise ImportError

    monkeypatch.setattr(sg, "import_module", imported)
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ImportError) if fails else nullcontext():
            sg.__getattr__("tl")
        assert (seen, gc.isenabled()) == ([False], enabled)
    finally:
        gc.enable()


def imports_of(path: Path) -> set[str]:
    """Absolute names of what a module imports, as far as they are ours, and top-level names of others."""
    package = ["scgeoae", *path.relative_to(ROOT).with_suffix("").parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0:
                found.add(node.module.split(".")[0])
                continue
            base = package[: len(package) - node.level + 1]
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {module} if node.module else {f"{module}.{alias.name}" for alias in node.names}
    return found


COMES_WITH = {
    "h5py": "anndata",
    "mpl_toolkits": "matplotlib",
    "scvi": "scvi-tools",
    "sklearn": "scikit-learn",
    "traitlets": "anywidget",
}


def test_imports_are_declared():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]

    def names(*lists):
        return {re.match(r"[\w-]+", requirement)[0] for requirements in lists for requirement in requirements}

    core = names(project["dependencies"])
    extras = {
        extra: names(project["optional-dependencies"][extra]) for extra in ("scvi", "leiden", "atlas", "interactive")
    }
    for path in ROOT.rglob("*.py"):
        imported = {name.split(".")[0] for name in imports_of(path)} - sys.stdlib_module_names - {"scgeoae"}
        assert {COMES_WITH.get(name, name) for name in imported} <= core.union(*extras.values()), path
    # the tests run with all of these
    assert set().union(*extras.values()) <= names(project["optional-dependencies"]["test"])


def test_models_of_counts_alone_import_scvi_tools():
    importing = {p.relative_to(ROOT).parts[0] for p in ROOT.rglob("*.py") if imports_of(p) & {"scvi", "lightning"}}
    assert importing == {"model"}


FLOORS = dict.fromkeys(("_arguments", "_files", "_matrix", "_runtime"), 0)
FLOORS |= {"nn": 1, "geometry": 1, "graphs": 1, "quality": 1, "training": 2, "_anndata": 3}
FLOORS |= dict.fromkeys(("tl", "pl", "get", "datasets", "model"), 4)


@for_each("path", [p for p in ROOT.rglob("*.py") if p.parent != ROOT])
def test_imports_go_down(path):
    here = path.relative_to(ROOT).parts[0]
    imported = imports_of(path)
    ours = {name.split(".")[1] for name in imported if name.startswith("scgeoae.")}
    assert all(FLOORS[name] <= FLOORS[here] for name in ours)
    if FLOORS[here] == 4:
        assert not (ours & {"tl", "pl"}) - {here}
    if FLOORS[here] <= 2:
        assert not imported & {"anndata", "scanpy", "matplotlib", "pandas"}


def test_scanpy_plots_are_called_in_one_module():
    callers = {p.name for p in (ROOT / "pl").glob("*.py") if "sc.pl" in p.read_text()}
    assert callers == {"_scanpy.py"}


POSITIONAL = {("tl.pseudotime", "root"), ("pl.embedding", "basis"), ("pl.vectors", "vectors")}


@for_each("name", PUBLIC)
def test_calling_convention(name):
    parameters = list(inspect.signature(PUBLIC[name]).parameters.values())
    # the data first, then what the call is about; whatever has a default is named, but for a root that Scanpy may know,
    # the basis of the plot that takes the place of one of Scanpy's, and vectors, which are velocities as a rule
    assert parameters[0].name == ("adata_new" if name.endswith(".transform") else "adata")
    for p in parameters:
        if p.kind != p.VAR_KEYWORD and (name, p.name) not in POSITIONAL:
            assert (p.default is p.empty) == (p.kind != p.KEYWORD_ONLY), p.name


@for_each("name", PUBLIC)
def test_documentation(name):
    function = PUBLIC[name]
    text = inspect.getdoc(function)
    for section in ("Parameters", "Returns", "Raises", "Examples"):
        assert f"\n{section}\n---" in text
    for parameter in inspect.signature(function).parameters:
        assert parameter in text
