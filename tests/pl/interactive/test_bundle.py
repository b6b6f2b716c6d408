from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import scgeoae

WIDGET = Path(scgeoae.__file__).parent / "pl" / "_widget"
BUNDLE = WIDGET / "static" / "interactive.js"


def test_the_bundle_is_that_of_the_sources(tmp_path):
    web = WIDGET / "web"
    if shutil.which("node") is None or not (web / "node_modules").is_dir():
        pytest.skip(f"needs node and `npm ci` in {web}")
    subprocess.run(["node", "build.js", tmp_path / "interactive.js"], cwd=web, check=True)
    assert (tmp_path / "interactive.js").read_text() == BUNDLE.read_text(), "run `npm run build` in pl/_widget/web"


def test_licenses_of_libraries_are_kept():
    text = BUNDLE.read_text(encoding="utf-8")
    notice = text[: text.index("*/")]
    for library in ("regl", "regl-scatterplot", "kdbush", "pub-sub-es", "gl-matrix", "earcut"):
        assert f"\n{library} " in notice
