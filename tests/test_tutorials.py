"""The notebooks are their texts, as they were run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from .for_each import for_each

FOLDER = Path(__file__).parents[1] / "tutorials"
TEXTS = sorted(FOLDER.glob("*.md"))
if not FOLDER.is_dir():
    pytest.skip("not a clone", allow_module_level=True)


def code_of_text(path: Path) -> list[str]:
    return [code.strip() for code in re.findall(r"^```\{code-cell\}.*?\n(.*?)^```$", path.read_text(), re.M | re.S)]


def cells_of(path: Path) -> list[dict]:
    cells = json.loads(path.with_suffix(".ipynb").read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_each_notebook_has_a_text():
    assert TEXTS
    assert [p.stem for p in TEXTS] == [p.stem for p in sorted(FOLDER.glob("*.ipynb"))]


@for_each("text", TEXTS)
def test_notebook_was_run_as_it_is_written(text):
    cells = cells_of(text)
    assert ["".join(cell["source"]).strip() for cell in cells] == code_of_text(text)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    assert any("image/png" in o.get("data", {}) for o in outputs)


@for_each("text", TEXTS)
def test_text_says_which_cells_it_was_run_on(text):
    assert "\n*Cells: " in text.read_text()
