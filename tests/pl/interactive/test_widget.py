"""The widget answers the messages of a browser, and hands back what was selected."""

from __future__ import annotations

import io

import numpy as np
import pytest
import scanpy as sc

import scgeoae as sg
from scgeoae.pl._widget.widget import Widget


@pytest.fixture
def ask(fitted, monkeypatch):
    """Send a message as a browser does; return the content of the reply and its arrays."""
    view = sg.pl.interactive(fitted, color="bulk_labels")
    sent = []
    monkeypatch.setattr(view, "send", lambda content, buffers: sent.append((content, buffers)))

    def send(dtypes="", **question):
        view._handle_custom_msg({"id": 7, **question}, [])
        content, buffers = sent.pop()
        assert content.pop("id") == 7
        return content, [np.frombuffer(part, kind) for part, kind in zip(buffers, dtypes.split(), strict=True)]

    return send


def test_a_geodesic_is_that_of_tl(fitted, ask):
    start, end = fitted.obsm["X_geoae"][[3, 500]].astype(float)
    expected = sg.tl.geodesic(fitted, start, end)
    content, (points, genes, distance) = ask("f4 f4 f4", ask="geodesic", **{"from": start.tolist(), "to": end.tolist()})
    assert content["length"] == pytest.approx(expected.length)
    assert content["straight"] == pytest.approx(expected.straight_length)
    model = sg.get.model(fitted)
    ends = model.decode(np.stack([start, end])).detach().numpy()
    assert content["through"] == pytest.approx(np.linalg.norm(ends[1] - ends[0]), rel=1e-5)
    assert content["unit"] == "units of X_pca"
    np.testing.assert_allclose(points.reshape(-1, 2), expected.coordinates, atol=1e-5)
    np.testing.assert_allclose(distance, expected.distance, rtol=1e-5)
    most = (expected.expression.max() - expected.expression.min()).nlargest(8)
    assert content["genes"] == list(most.index)
    np.testing.assert_allclose(genes.reshape(8, -1).T, expected.expression[most.index], atol=1e-3)


def test_expression_and_columns(fitted, ask):
    content, (values,) = ask("f4", ask="expression", gene="NKG7")
    np.testing.assert_array_equal(values, fitted.raw[:, "NKG7"].X.toarray().ravel())
    assert (content["color"]["name"], content["color"]["dtype"]) == ("NKG7", "float32")
    content, (codes,) = ask("u1", ask="obs", column="louvain")
    assert (np.array(content["color"]["categories"])[codes] == fitted.obs["louvain"]).all()


def test_neighbors_and_names(fitted, ask):
    _, (rows, distances) = ask("u4 f4", ask="neighbors", row=12)
    x = fitted.obsm["X_pca"].astype(np.float64)
    apart = np.linalg.norm(x - x[12], axis=1)
    np.testing.assert_allclose(distances, np.sort(apart)[1:11], rtol=1e-4)
    np.testing.assert_allclose(apart[rows], distances, rtol=1e-4)
    content, _ = ask(ask="names")
    assert content["columns"] == list(fitted.obs)
    assert set(content["genes"]) == {*fitted.raw.var_names, *fitted.var_names}


def test_errors_are_sent_in_words(ask):
    assert ask(ask="expression", gene="spam")[0]["error"] == "Did not find 'spam' among the genes of adata."
    assert "the question 'spam'" in ask(ask="spam")[0]["error"]
    assert ask(ask="geodesic", **{"from": [1], "to": [0, 0]})[0]["error"].startswith("Expected `from` to be")
    assert ask(ask="obs", column="spam")[0]["error"].startswith("Did not find 'spam' in adata.obs")
    assert "error" in ask(ask="neighbors", row=10**6)[0]


def test_rows_that_were_selected_in_a_browser_are_not_sent_back(fitted, monkeypatch):
    view = sg.pl.interactive(fitted)
    sent = []
    monkeypatch.setattr(view, "_send", lambda *message, **_: sent.append(message))
    view.set_state({"selection": memoryview(np.array([2, 9], dtype="<u4").tobytes())})
    assert (view.selection.tolist(), sent) == ([2, 9], [])
    view.selection = [1]
    assert len(sent) == 1


def test_selection_in_python_and_in_the_browser(fitted):
    view = sg.pl.interactive(fitted)
    seen = []
    view.observe(lambda change: seen.append(change["new"].tolist()), "selection")
    assert view.selection.tolist() == []
    view.selection = [5, 3, 5]
    assert view.get_state("selection")["selection"] == np.array([3, 5], dtype="<u4").tobytes()
    view.set_state({"selection": memoryview(np.array([9, 2], dtype="<u4").tobytes())})
    assert fitted[view.selection].obs_names.tolist() == fitted.obs_names[[2, 9]].tolist()
    view.selection = fitted.obs["bulk_labels"] == "Dendritic"
    assert (fitted.obs["bulk_labels"].iloc[view.selection] == "Dendritic").all()
    assert [len(rows) for rows in seen] == [2, 2, 240]
    for wrong in ([700], [-1], [0.5], [[1, 2]], [True, False], "spam"):
        with pytest.raises(ValueError, match="Expected `selection` to be row numbers from 0 to 699"):
            view.selection = wrong
    assert repr(view) == "<geoae, 700 cells, 240 of them selected>"
    assert isinstance(view, Widget)


@pytest.fixture
def log():
    """What Scanpy logs."""
    log, before = io.StringIO(), sc.settings.logfile
    sc.settings.logfile = log
    yield log
    sc.settings.logfile = before


def change_cells(adata, how):
    if how == "fewer":
        adata._inplace_subset_obs(np.arange(100))
    else:
        adata._inplace_subset_obs(np.arange(700)[::-1])


@pytest.mark.parametrize(("how", "words"), [("fewer", "100 are left"), ("reordered", "their order or names changed")])
def test_cells_that_were_removed_or_reordered(fitted, tmp_path, log, how, words):
    adata = fitted.copy()
    view = sg.pl.interactive(adata, color="bulk_labels")
    view.selection = [3]
    assert view.selection.tolist() == [3]
    assert log.getvalue() == ""
    change_cells(adata, how)
    expected = f"The view shows 700 cells of adata, and {words} since: call sg.pl.interactive again."
    for question in (
        {"ask": "obs", "column": "louvain"},
        {"ask": "expression", "gene": "NKG7"},
        {"ask": "neighbors", "row": 3},
        {"ask": "geodesic", "from": [0, 0], "to": [1, 1]},
    ):
        assert view._answers.answer({"id": 1, **question}).content == {"id": 1, "error": expected}
    with pytest.raises(ValueError, match=expected.replace(".", r"\.")):
        view.to_html(tmp_path / "map.html")
    assert view.selection.tolist() == [3]
    assert expected in log.getvalue()


def test_columns_that_changed_or_came_later(fitted):
    adata = fitted.copy()
    view = sg.pl.interactive(adata, color="bulk_labels")
    adata.obs["bulk_labels"] = adata.obs["louvain"].to_numpy()
    adata.obs["later"] = np.arange(700.0)
    assert "later" in view._answers.answer({"id": 1, "ask": "names"}).content["columns"]
    answer = view._answers.answer({"id": 1, "ask": "obs", "column": "bulk_labels"})
    codes = np.frombuffer(answer.buffers[0], answer.content["color"]["dtype"])
    assert (np.array(answer.content["color"]["categories"])[codes] == fitted.obs["louvain"]).all()
    answer = view._answers.answer({"id": 1, "ask": "obs", "column": "later"})
    np.testing.assert_array_equal(np.frombuffer(answer.buffers[0], "f4"), adata.obs["later"])
    # a page has what the columns hold when it is written
    color = view._scene.payload(kernel=False).manifest["colors"][0]
    assert set(color["categories"]) == set(fitted.obs["louvain"])
