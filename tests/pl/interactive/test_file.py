"""The page holds what the widget is given, and no name can end a script in it."""

from __future__ import annotations

import base64
import gzip
import json
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

import scgeoae as sg

from ...payload import arrays_of


class Scripts(HTMLParser):
    """The text of each script of a page, by its id, and its title."""

    def __init__(self, text):
        super().__init__()
        self.texts, self.at = {}, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.at = dict(attrs).get("id", tag) if tag in ("script", "title") else self.at
        # nothing is loaded
        assert not {"src", "href"} & {name for name, _ in attrs}

    def handle_endtag(self, tag):
        self.at = None if tag in ("script", "title") else self.at

    def handle_data(self, data):
        if self.at is not None:
            self.texts[self.at] = self.texts.get(self.at, "") + data


def read(path):
    page = path.read_text(encoding="utf-8")
    texts = Scripts(page).texts
    manifest = json.loads(texts["manifest"])
    return page, manifest, arrays_of(manifest, gzip.decompress(base64.b64decode(texts["buffer"]))), texts


def test_a_page_holds_what_the_widget_is_given(fitted, tmp_path):
    view = sg.pl.interactive(fitted, color=["bulk_labels", "CST3"], basis=["geoae", "umap"], genes=["NKG7", "CD79A"])
    view.to_html(tmp_path / "map.html")
    _, manifest, arrays, texts = read(tmp_path / "map.html")
    expected = arrays_of(view._manifest, view._buffer)
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array)
    assert manifest["kernel"] is False
    assert texts["title"] == "geoae, 700 cells"
    # no kernel measures genes, so those that were named are there
    assert manifest["measured"] == ["NKG7", "CD79A"]
    np.testing.assert_array_equal(arrays["gene:NKG7"], fitted.raw[:, "NKG7"].X.toarray().ravel())
    view.to_html(tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "map.html").read_bytes()


def test_names_that_look_like_code(small, tmp_path):
    names = [
        "</script><script>alert(1)</script>",
        "<!--<script>",
        "a\"b'c\\",
        "β\u2028\u2029 細胞 🧬",
        "$title ${x} %s",
    ]
    small.obs["a </script> & <b>"] = [names[i % 5] for i in range(60)]
    small.var_names = [f"gene{i} </SCRIPT " for i in range(8)]
    sg.tl.geoae(small, n_steps=6, hidden=(8,), progress_bar=False, key_added="<&>")
    view = sg.pl.interactive(small, color="a </script> & <b>", basis="<&>", genes=list(small.var_names[:2]))
    view.to_html(tmp_path / "map.html")
    page, manifest, arrays, texts = read(tmp_path / "map.html")
    color = manifest["colors"][0]
    assert color["name"] == "a </script> & <b>"
    assert np.array(color["categories"])[arrays[color["array"]]].tolist() == small.obs["a </script> & <b>"].tolist()
    assert manifest["genes"] == list(small.var_names[:2])
    assert texts["manifest"].isascii()
    assert not set("<>&") & set(texts["manifest"])
    assert "<title>&lt;&amp;&gt;, 60 cells</title>" in page
    assert page.lower().count("</script") == 4


def test_without_anywidget_there_is_the_page(fitted, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("scgeoae.pl._interactive.find_spec", lambda _: None)
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "scgeoae.pl._widget.widget", raising=False)
    view = sg.pl.interactive(fitted, color="bulk_labels")
    view.to_html(tmp_path / "map.html")
    assert read(tmp_path / "map.html")[1]["n_cells"] == 700
    with pytest.raises(ImportError, match="run pip install anywidget"):
        _ = view.selection
    assert "pip install anywidget shows it in a notebook" in repr(view)


def test_a_page_is_written_whole_or_not_at_all(fitted, tmp_path):
    view = sg.pl.interactive(fitted)
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        view.to_html(tmp_path / "nowhere" / "map.html")
    with pytest.raises(TypeError, match="Expected `path` to name a file"):
        view.to_html(3)
