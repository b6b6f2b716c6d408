"""What CONTRIBUTING.md and the files around it promise."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import yaml

import scgeoae as sg
from scgeoae.geometry.regularizers import REGULARIZERS

from .for_each import for_each

ROOT = Path(__file__).parents[1]
PAGES = [p for pattern in ("*.md", "docs/*.md", "benchmarks/results/*.md") for p in sorted(ROOT.glob(pattern))]


def example() -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    return re.search(r"<!-- regularizer -->\n```python\n(.*?)```", text, re.DOTALL)[1]


@for_each("side", ["decoder", "encoder"])
def test_a_regularizer_of_ones_own_holds_the_map(small, side):
    vanilla = sg.tl.geoae(small, regularizer=None, copy=True, progress_bar=False)
    with patch.dict(REGULARIZERS):
        names = {"adata": small}
        exec(example(), names)
        assert small.uns["geoae"]["params"]["regularizer"] == "even_scale"
        assert small.uns["geoae"]["params"]["strength"] == 0.5
        sg.tl.geoae(small, regularizer="even_scale", side=side, progress_bar=False)
        sg.tl.geoae(small, regularizer={"even_scale": 0.1, "volume": 0.1}, n_steps=2, key_added="x", progress_bar=False)

    def value(adata):
        return names["even_scale"](torch.from_numpy(sg.get.metric_tensors(adata, side=side))).item()

    assert value(small) < value(vanilla) / 2
    assert "even_scale" not in REGULARIZERS
    # a map that was made with it is read without it
    assert sg.get.model(small).decode(torch.zeros(1, 2)).shape == (1, 8)


@for_each("page", PAGES)
def test_links_to_files_lead_somewhere(page):
    # in an unpacked sdist there are no documentation and no benchmarks
    if not (ROOT / "docs").is_dir():
        pytest.skip("not a clone")
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    assert not [t for t in targets if t and "://" not in t and not (page.parent / t).exists()]


def test_version_and_addresses_are_the_same_everywhere():
    text = (ROOT / "pyproject.toml").read_text()
    project = tomllib.loads(text)["project"]
    urls = project["urls"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert (citation["repository-code"], citation["url"]) == (urls["Repository"], urls["Documentation"])
    assert all(urls[name].startswith(urls["Repository"] + "/") for name in ("Issues", "Changelog", "Security"))
    repository = urls["Repository"].removeprefix("https://github.com/")
    for host in ("https://github.com", "https://raw.githubusercontent.com"):
        assert f"]({host}/{repository}/" in text
    entry = ROOT / "docs" / "ecosystem" / "meta.yaml"
    if not entry.is_file():
        pytest.skip("not a clone")
    listed = yaml.safe_load(entry.read_text())
    assert (listed["name"], listed["license"]) == (project["name"], project["license"])
    assert (listed["project_home"], listed["documentation_home"]) == (urls["Repository"], urls["Documentation"])


def test_actions_are_pinned_by_commit_and_see_no_credentials():
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    if not workflows:
        pytest.skip("not a clone")
    for path in workflows:
        text = path.read_text()
        used = re.findall(r"uses: (\S+)(.*)", text)
        assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action) for action, _ in used if not action.startswith("./"))
        assert all(re.match(r" # v\d+\.\d+\.\d+$", rest) for action, rest in used if not action.startswith("./"))
        workflow = yaml.safe_load(text)
        assert workflow["permissions"] == {}
        for job in workflow["jobs"].values():
            for step in job.get("steps", []):
                if step.get("uses", "").startswith("actions/checkout@"):
                    assert step["with"]["persist-credentials"] is False


def test_hooks_and_tests_use_one_ruff():
    hooks = ROOT / ".pre-commit-config.yaml"
    if not hooks.is_file():
        pytest.skip("not a clone")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    pinned = next(r.removeprefix("ruff==") for r in extras["test"] if r.startswith("ruff=="))
    assert f"ruff-pre-commit\n    rev: v{pinned}\n" in hooks.read_text()
