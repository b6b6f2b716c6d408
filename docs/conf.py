"""The documentation site: ``sphinx-build -W --keep-going -b html docs docs/_build/html``; it needs no network."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import sys
import warnings
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.pycode import ModuleAnalyzer

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent
RESULTS = HERE.parent / "benchmarks" / "results"
PAGE = HERE / "_static" / "map.html"
sys.path.insert(0, str(HERE / "extensions"))

project = "scgeoae"
author = "scgeoae developers"
copyright = author  # noqa: A001
release = version = version_of("scgeoae")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.bibtex",
    "docstrings",
]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
templates_path = ["_templates"]

# With several versions on the site, search engines are sent to the default one.
html_baseurl = os.environ.get("READTHEDOCS_CANONICAL_URL", "")

# Whoever builds without a network gets no links into other projects, and no warnings.
if os.environ.get("READTHEDOCS") == "True":
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "anndata": ("https://anndata.readthedocs.io/en/stable/", None),
        "matplotlib": ("https://matplotlib.org/stable/", None),
        "numpy": ("https://numpy.org/doc/stable/", None),
        "pandas": ("https://pandas.pydata.org/docs/", None),
        "python": ("https://docs.python.org/3/", None),
        "scanpy": ("https://scanpy.readthedocs.io/en/stable/", None),
        "scvi": ("https://docs.scvi-tools.org/en/stable/", None),
        "torch": ("https://docs.pytorch.org/docs/stable/", None),
    }

# `name` in a docstring is a link where there is such an object; one that begins with our name must exist.
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!scgeoae\b).*")]

autosummary_generate = True
autosummary_ignore_module_all = False
autosummary_imported_members = True
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False
python_maximum_signature_line_length = 90
python_use_unqualified_type_names = True

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks are shown as they were run

bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "sphinx_book_theme"
html_title = "scgeoae"
html_static_path = ["_static"]
html_css_files = ["scgeoae.css"]
html_theme_options = {
    "navbar_persistent": [],  # the search stands in the sidebar
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
}

# scvi-tools and lightning warn when they are imported
warnings.filterwarnings("ignore")


def copy_tutorials(app: Sphinx) -> None:
    """Bring the notebooks under this folder, since Sphinx reads no other."""
    target = HERE / "tutorials"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for path in (HERE.parent / "tutorials").glob("*.ipynb"):
        shutil.copy(path, target)


def write_page(app: Sphinx) -> None:
    """Write the interactive page of the first page, a map of the cells that ship with Scanpy, unless it is there."""
    import scanpy as sc

    import scgeoae as sg

    if app.builder.name == "html" and not PAGE.exists():
        adata = sc.datasets.pbmc68k_reduced()
        sg.tl.geoae(adata, progress_bar=False)
        sg.pl.interactive(adata, color="bulk_labels").to_html(PAGE)


def made_of_folders(app: Sphinx, *env_and_changes: object) -> list[str]:
    """Name the pages to read again in every build, since they show what lies in a folder."""
    return ["benchmarks"]


def write_tables(app: Sphinx, docname: str, content: list[str]) -> None:
    """Put the tables of `benchmarks/results` where a page says ``<!-- tables: pattern -->``."""

    def tables(match: re.Match) -> str:
        paths = sorted(RESULTS.glob(f"{match[1]}.md"))
        if not paths:
            msg = f"{docname} asks for the tables {match[1]!r}, and there are none in {RESULTS}."
            raise FileNotFoundError(msg)
        return "\n".join(map(table, paths))

    content[0] = re.sub(r"<!-- tables: (\S+) -->", tables, content[0])


def table(path: Path) -> str:
    """Return the Markdown that includes one of them, with a title and a target of its name."""
    has_title = path.read_text().startswith("# ")
    title = "" if has_title else f"### {path.stem}\n\n"
    offset = ":heading-offset: 2\n" if has_title else ""
    return f"({path.stem})=\n{title}```{{include}} ../benchmarks/results/{path.name}\n{offset}```\n"


def link_tables(app: Sphinx, docname: str, content: list[str]) -> None:
    """Let links to files of `benchmarks/results`, which are right on a code host, go to the page of benchmarks."""
    up = "../" * docname.count("/")
    content[0] = re.sub(r"\]\((?:\.\./)+benchmarks/results/(\w+)\.md\)", rf"]({up}benchmarks.md#\1)", content[0])
    content[0] = re.sub(r"\]\((?:\.\./)+benchmarks/results/?\)", f"]({up}benchmarks.md)", content[0])
    if docname.startswith("tutorials/"):
        content[0] = content[0].replace("](../docs/", "](../")


def mend_docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Say what is known of members without words of their own, and of those with the words of another package."""
    if lines and re.fullmatch(r"Alias for field number \d+", lines[0]):
        lines.clear()
    elif what == "data":
        lines[:] = words_of(name)
    elif what == "method" and not getattr(inspect.unwrap(obj), "__module__", "scgeoae").startswith("scgeoae"):
        origin = inspect.unwrap(obj)
        lines[:] = [f"That of scvi-tools, ``{origin.__module__}.{origin.__qualname__}``."]


def words_of(name: str) -> list[str]:
    """Return the docstring that follows a constant where it is defined, often below the package that exports it."""
    package, _, constant = name.rpartition(".")
    for module in [m for m in sys.modules if m == package or m.startswith(f"{package}.")]:
        words = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", constant))
        if words:
            return words
    return []


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    app.connect("builder-inited", copy_tutorials, priority=1)
    app.connect("builder-inited", write_page)
    app.connect("env-get-outdated", made_of_folders)
    app.connect("source-read", link_tables)
    app.connect("source-read", write_tables, priority=600)
    app.connect("autodoc-process-docstring", mend_docstring)
