from __future__ import annotations

import numpy as np
import pytest
import torch
from anndata import read_h5ad, read_zarr
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

import scgeoae as sg
from scgeoae.geometry import Ambient, Jet, shorten
from scgeoae.geometry.geodesic import chords
from scgeoae.graphs.neighbors import bridged

from ..for_each import for_each


class Chart:
    """A surface in closed form in the place of a decoder."""

    def __init__(self, decode, ambient=None):
        self.decode, self.ambient = decode, ambient

    def jet(self, z):
        jacobian = torch.func.vmap(torch.func.jacfwd(lambda p: self.decode(p[None])[0]))(z)
        return Jet(self.decode(z), jacobian)


def sphere(z):
    return torch.stack([z[:, 1].cos() * z[:, 0].cos(), z[:, 1].cos() * z[:, 0].sin(), z[:, 1].sin()], 1)


def lines(a, b, m=64):
    a, b = (torch.tensor(ends, dtype=torch.float64) for ends in (a, b))
    return a[:, None] + (b - a)[:, None] * torch.linspace(0, 1, m, dtype=torch.float64)[None, :, None]


def test_great_circles():
    curves = lines([[0.0, 0.8], [0.3, -0.5]], [[1.8, 0.8], [2.0, 1.0]])
    chart = Chart(sphere)
    found = shorten(chart, curves)
    ends = sphere(curves[:, [0, -1]].flatten(0, 1)).view(2, 2, 3)
    angle = torch.arccos((ends[:, 0] * ends[:, 1]).sum(1))
    pieces = chords(chart, found)
    torch.testing.assert_close(pieces.sum(1), angle, rtol=2e-4, atol=0)
    # at constant speed, and every point in the plane of the circle
    assert (pieces.std(1) / pieces.mean(1)).max() < 1e-3
    normal = torch.linalg.cross(ends[:, 0], ends[:, 1])
    away = (sphere(found.flatten(0, 1)).view(2, 64, 3) @ normal[:, :, None]).abs()
    assert away.max() < 1e-2
    assert torch.equal(found[:, [0, -1]], curves[:, [0, -1]])


def test_flat_and_hyperbolic_geometry():
    # a cylinder is flat: straight lines stay
    cylinder = Chart(lambda z: torch.stack([z[:, 0].cos(), z[:, 0].sin(), z[:, 1]], 1))
    line = lines([[0.0, 0.0]], [[2.0, 1.0]])
    wiggled = line.clone()
    wiggled[:, 1:-1, 1] += 0.3 * torch.sin(torch.linspace(0, 9, 62, dtype=torch.float64))
    torch.testing.assert_close(shorten(cylinder, wiggled), line, rtol=0, atol=2e-3)
    # the upper half plane is the plane with H = 1/y² at each point: from (-1, 1) to (1, 1) the distance is arcosh 3
    plane = Chart(lambda z: z, Ambient(lambda x: (1 / x[:, 1:] ** 2).expand(-1, 2)))
    found = shorten(plane, lines([[-1.0, 1.0]], [[1.0, 1.0]], 128))
    assert chords(plane, found).sum().item() == pytest.approx(np.arccosh(3), rel=1e-3)
    assert (found[0].square().sum(1) - 2).abs().max() < 0.02  # on the circle around the origin


def test_more_dimensions_and_two_points():
    chart = Chart(lambda z: torch.cat([z, z.square().sum(1, keepdim=True)], 1))
    curves = lines([[-1.0, 0.5, 0.0]], [[1.0, 0.5, 0.3]], 32)
    found = shorten(chart, curves)
    assert chords(chart, found).sum() < chords(chart, curves).sum()
    assert torch.equal(shorten(chart, curves[:, [0, -1]]), curves[:, [0, -1]])


def test_bridges_join_all_pieces_where_they_are_nearest():
    rng = np.random.default_rng(0)
    centers = np.array([[0, 0], [10, 0], [0, 12], [30, 30]])
    z = np.concatenate([center + rng.uniform(size=(20, 2)) for center in centers])
    blocks = [sparse.csr_matrix(np.ones((20, 20)) - np.eye(20))] * 4
    graph = sparse.block_diag(blocks).tocsr()
    joined = bridged(graph, z, lambda i, j: np.linalg.norm(z[i] - z[j], axis=1))
    assert sparse.csgraph.connected_components(joined)[0] == 1
    assert (abs(joined - joined.T) > 1e-12).nnz == 0
    new = sparse.triu(joined - graph).tocoo()
    assert new.nnz == 3
    for i, j, length in zip(new.row, new.col, new.data, strict=True):
        a, b = i // 20, j // 20
        pairs = np.linalg.norm(z[20 * a : 20 * a + 20, None] - z[None, 20 * b : 20 * b + 20], axis=2)
        assert length == pytest.approx(pairs.min())


def test_bridges_of_many_pieces_are_a_spanning_tree_of_the_shortest():
    rng = np.random.default_rng(0)
    z = rng.uniform(size=(300, 2))
    # pieces of 1, 2, … cells that lie through each other
    sizes = rng.integers(1, 40, size=30)
    piece = np.repeat(np.arange(30), sizes)[:300]
    same = piece[:, None] == piece
    graph = sparse.csr_matrix(np.where(same, 1.0, 0) - np.eye(300))
    joined = bridged(graph, z, lambda i, j: np.linalg.norm(z[i] - z[j], axis=1))
    new = sparse.triu(joined - graph)
    n_pieces = sparse.csgraph.connected_components(graph, directed=False)[0]
    assert new.nnz == n_pieces - 1
    # what Kruskal finds among all pairs, with the pieces for nothing
    far = np.linalg.norm(z[:, None] - z, axis=2)
    tree = sparse.csgraph.minimum_spanning_tree(sparse.csr_matrix(np.where(same, 1e-9, far)))
    assert new.sum() == pytest.approx(tree.sum(), abs=1e-6)


def test_between_cells_groups_and_positions(fitted):
    z = fitted.obsm["X_geoae"]
    by_cell = sg.tl.geodesic(fitted, fitted.obs_names[3], fitted.obs_names[40], genes=[])
    by_position = sg.tl.geodesic(fitted, z[3], z[40], genes=[])
    assert by_cell.length == pytest.approx(by_position.length, rel=1e-3)
    np.testing.assert_allclose(by_cell.coordinates[[0, -1]], z[[3, 40]], rtol=1e-6)
    assert by_cell.source == fitted.obs_names[3]
    back = sg.tl.geodesic(fitted, fitted.obs_names[40], fitted.obs_names[3], genes=[])
    assert back.length == pytest.approx(by_cell.length, rel=2e-3)
    groups = sg.tl.geodesic(fitted, "CD14+ Monocyte", "CD19+ B", groupby="bulk_labels", genes=["CST3", "NKG7"])
    assert groups.source == "CD14+ Monocyte"
    assert list(groups.expression) == ["CST3", "NKG7"]
    assert groups.expression.shape == (64, 2)
    np.testing.assert_allclose(groups.expression.index, groups.distance)
    decoded = sg.tl.decode(fitted, groups.coordinates, genes=["CST3"]).X[:, 0]
    np.testing.assert_allclose(groups.expression["CST3"], decoded, atol=1e-6)
    assert groups.length <= groups.straight_length
    ends = sg.tl.decode(fitted, groups.coordinates[[0, -1]], genes=[]).obsm["X_pca"]
    assert np.linalg.norm(ends[1] - ends[0]) <= groups.length
    assert (np.diff(groups.distance) > 0).all()
    assert groups.deviation >= 0


def test_distances_between_groups(fitted):
    before = fitted.copy()
    found = sg.tl.geodesic_distances(fitted, "bulk_labels")
    names = list(fitted.obs["bulk_labels"].cat.categories)
    for table in found:
        assert list(table.index) == list(table.columns) == names
        np.testing.assert_array_equal(table, table.T)
        assert (np.diag(table) == 0).all()
    assert (found.geodesic <= found.straight + 1e-9).all(axis=None)
    assert (found.ambient <= found.geodesic + 1e-9).all(axis=None)
    one = sg.tl.geodesic(fitted, names[0], names[3], groupby="bulk_labels", genes=[])
    assert found.geodesic.loc[names[0], names[3]] == pytest.approx(one.length, rel=1e-3)
    # a metric: no detour is shorter, up to what 64 points leave
    d = found.geodesic.to_numpy()
    assert (d[:, None, :] <= (d[:, :, None] + d.T[None]) * 1.02).all()
    assert list(fitted.uns) == list(before.uns)


def test_distances_between_two_groups(small):
    sg.tl.geoae(small, n_steps=5)
    table = sg.tl.geodesic_distances(small, "side").geodesic
    assert table.loc["left", "right"] == table.loc["right", "left"] > 0


def test_pseudotime(fitted):
    adata = fitted.copy()
    root = adata.obs_names[5]
    assert sg.tl.pseudotime(adata, root) is None
    time = adata.obs["geoae_pseudotime"]
    assert time.dtype == np.float32
    assert time[root] == 0
    assert np.isfinite(time).all()
    # it is the way over the graph, for those that are reached without a bridge
    way = dijkstra(adata.obsp["geoae_distances"], indices=5)
    reached = np.isfinite(way) & (way > 0)
    assert reached.sum() > 50
    ratio = time[reached] / way[reached]
    np.testing.assert_allclose(ratio, ratio.iloc[0], rtol=1e-4)
    copied = sg.tl.pseudotime(fitted, "CD34+", groupby="bulk_labels", copy=True)
    assert "geoae_pseudotime" not in fitted.obs
    # it begins at all cells of the group, and is the least of the times from each
    is_root = copied.obs["bulk_labels"] == "CD34+"
    assert is_root.equals(copied.obs["geoae_pseudotime"] == 0)
    from_each = [
        sg.tl.pseudotime(fitted, name, copy=True).obs["geoae_pseudotime"] for name in fitted.obs_names[is_root]
    ]
    np.testing.assert_allclose(copied.obs["geoae_pseudotime"], np.min(from_each, axis=0), rtol=1e-5)


def test_rows_of_cells(fitted):
    adata = fitted.copy()
    by_name = sg.tl.pseudotime(adata, adata.obs_names[5], copy=True).obs["geoae_pseudotime"]
    for row in (5, np.int64(5), np.uint8(5)):
        assert by_name.equals(sg.tl.pseudotime(adata, row, copy=True).obs["geoae_pseudotime"])
    path = sg.tl.geodesic(adata, 5, np.int32(40), genes=[])
    assert (path.source, path.target) == (adata.obs_names[5], adata.obs_names[40])
    np.testing.assert_array_equal(path.coordinates[[0, -1]], adata.obsm["X_geoae"][[5, 40]])
    for row in (700, -1):
        with pytest.raises(KeyError, match=f"Expected `root` to be the row of a cell, 0 to 699, found {row}"):
            sg.tl.pseudotime(adata, row)
    for no_row in (5.0, True):
        with pytest.raises(KeyError, match=f"`root` is {no_row}, which is not a cell"):
            sg.tl.pseudotime(adata, no_row)
    # where there are groups, a number is one of them
    with pytest.raises(KeyError, match=r"`target` is 5, which is not a cell .*nor a group"):
        sg.tl.geodesic(adata, "CD34+", 5, groupby="bulk_labels")


def test_the_root_that_scanpy_has(fitted, tmp_path):
    adata = fitted.copy()
    with pytest.raises(KeyError, match=r"neither a `root` nor adata\.uns\['iroot'\]; give a cell"):
        sg.tl.pseudotime(adata)
    adata.uns["iroot"] = np.flatnonzero(adata.obs["bulk_labels"] == "CD34+")[0]
    root = adata.obs_names[adata.uns["iroot"]]
    expected = sg.tl.pseudotime(adata, root, copy=True).obs["geoae_pseudotime"]
    adata.write_h5ad(tmp_path / "a.h5ad")
    adata.write_zarr(tmp_path / "a.zarr")
    for data in (adata, read_h5ad(tmp_path / "a.h5ad"), read_zarr(tmp_path / "a.zarr")):
        assert sg.tl.pseudotime(data) is None
        np.testing.assert_array_equal(data.obs["geoae_pseudotime"], expected)
        assert data.obs["geoae_pseudotime"][root] == 0
        # whatever the groups are called
        data.obs["number"] = 3
        sg.tl.pseudotime(data, groupby="number")
        np.testing.assert_array_equal(data.obs["geoae_pseudotime"], expected)
    for wrong in (np.array([3, 7]), np.array([3]), 700, "cell"):
        adata.uns["iroot"] = wrong
        with pytest.raises(KeyError, match=r"Expected adata\.uns\['iroot'\] to be the row of a cell, 0 to 699, found"):
            sg.tl.pseudotime(adata)


def test_errors(fitted):
    with pytest.raises(KeyError, match=r"`source` is 'spam', which is not a cell in adata\.obs_names; name a column"):
        sg.tl.geodesic(fitted, "spam", "eggs")
    with pytest.raises(KeyError, match=r"nor a group of adata\.obs"):
        sg.tl.geodesic(fitted, "spam", "eggs", groupby="bulk_labels")
    with pytest.raises(KeyError, match=r"Did not find 'spam' in adata\.obs"):
        sg.tl.geodesic_distances(fitted, "spam")
    with pytest.raises(ValueError, match="Expected `target` to be a cell, a group or finite positions"):
        sg.tl.geodesic(fitted, [0, 0], [0, 0, 0])
    with pytest.raises(ValueError, match="Expected `root` to be one position, found 2"):
        sg.tl.pseudotime(fitted, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="`n_points` to be an integer >= 3, found 2"):
        sg.tl.geodesic(fitted, [0, 0], [1, 1], n_points=2)
    one = fitted.copy()
    one.obs["all"] = "same"
    with pytest.raises(ValueError, match="has one group"):
        sg.tl.geodesic_distances(one, "all")


def test_a_gene_that_is_asked_for_twice_is_drawn_once(fitted):
    path = sg.tl.geodesic(fitted, [0, 0], [1, 0], genes=["CST3", "CD79A", "CST3"])
    assert list(path.expression) == ["CST3", "CD79A"]
    _, heat = sg.pl.geodesic_genes(fitted, path, genes=["CD79A", "CD79A"], show=False)
    assert [label.get_text() for label in heat.get_yticklabels()] == ["CD79A"]


def test_plots(fitted):
    path = sg.tl.geodesic(fitted, "CD14+ Monocyte", "CD19+ B", groupby="bulk_labels")
    ax = sg.pl.geodesics(fitted, [path, path._replace(length=7.0)], color="bulk_labels", show=False)
    curves = [line.get_xydata() for line in ax.lines if len(line.get_xydata()) == 64]
    assert len(curves) == 2
    np.testing.assert_allclose(curves[0], path.coordinates)
    lengths = {f"{value} units\n(straight: {path.straight_length:.3g})" for value in (f"{path.length:.3g}", "7")}
    assert {text.get_text() for text in ax.texts} >= lengths
    with pytest.raises(ValueError, match=r"Expected `paths` to be a result of sg\.tl\.geodesic"):
        sg.pl.geodesics(fitted, [], show=False)
    trends, heat = sg.pl.geodesic_genes(fitted, path, n_genes=12, show=False)
    assert len(trends.lines) == 8
    assert len(heat.get_yticklabels()) == 12
    largest = (path.expression.max() - path.expression.min()).nlargest(12).index
    shown = [label.get_text() for label in heat.get_yticklabels()]
    # from those that are high at the start to those that are high at the end
    scaled = path.expression[largest].transform(lambda y: (y - y.min()) / (y.max() - y.min()))
    centers = {gene: np.average(scaled.index, weights=scaled[gene]) for gene in largest}
    assert shown == sorted(largest, key=centers.__getitem__)
    assert [line.get_label() for line in trends.lines] == [gene for gene in shown if gene in largest[:8]]
    with pytest.raises(KeyError, match="Did not find 'spam' on the path"):
        sg.pl.geodesic_genes(fitted, path, genes=["spam"], show=False)
    with pytest.raises(ValueError, match="The path has no genes"):
        sg.pl.geodesic_genes(fitted, path._replace(expression=path.expression.iloc[:, :0]), show=False)
    named = fitted.copy()
    named.var["symbol"] = [f"symbol of {name}" for name in named.var_names]
    _, heat = sg.pl.geodesic_genes(named, path, genes=["symbol of CST3"], gene_symbols="symbol", show=False)
    assert heat.get_yticklabels()[0].get_text() == "symbol of CST3"
    with pytest.raises(KeyError, match=r"Did not find 'spam' in adata\.var"):
        sg.pl.geodesic_genes(named, path, gene_symbols="spam", show=False)


@pytest.mark.slow
@for_each("surface", ["swiss_roll", "sphere_patch"])
def test_lengths_on_trained_surfaces(surface):
    adata = getattr(sg.datasets, surface)(n_obs=2000)
    sg.tl.geoae(adata, use_rep="X", progress_bar=False, init_pos="X_true")
    true = adata.obsp["geodesic_distances"]
    far = np.argwhere(true > 0.3 * true.max())
    pairs = far[np.random.default_rng(0).choice(len(far), 12, replace=False)]
    names = adata.obs_names
    found = [sg.tl.geodesic(adata, names[i], names[j], genes=[]).length for i, j in pairs]
    ratio = np.array(found) / true[tuple(pairs.T)]
    assert np.abs(np.median(ratio) - 1) < 0.03
