from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.neighbors import NearestNeighbors

from scgeoae.training import Settings, fit, placement
from scgeoae.training.affinities import conditional
from scgeoae.training.neighbors import NeighborSearch
from scgeoae.training.placement import Field
from scgeoae.training.positions import N_NEAR, WIDTH_NEIGHBOR, kernel_widths

from ..for_each import for_each


class Reference(NamedTuple):
    """The cells of a map, in standardized units and latent space."""

    x: np.ndarray
    codes: np.ndarray


def plane(a):
    """A network whose decoder is z ↦ Az."""
    a = torch.tensor(a, dtype=torch.float32)
    return SimpleNamespace(
        decoder=SimpleNamespace(jet=lambda z: SimpleNamespace(values=z @ a.T, first=a.expand(len(z), *a.shape)))
    )


def sheet(n=300, m=60, features=6, seed=0):
    """A map of a plane with groups, and new cells beside it."""
    rng = np.random.default_rng(seed)
    a = np.linalg.qr(rng.normal(size=(features, 2)))[0]
    z = rng.normal(size=(n + m, 2)) + 3 * rng.choice([-1, 1], size=(n + m, 2))
    x = (z @ a.T + 0.3 * rng.normal(size=(n + m, features))).astype(np.float32)
    return a, Reference(x[:n], (x[:n] @ a).astype(np.float32)), x[n:]


def field(model, reference, *, perplexity=10, divergence_weight=0.25, equal_room=0.0):
    search = NeighborSearch(reference.x)
    weights = {"perplexity": perplexity, "divergence_weight": divergence_weight, "equal_room": equal_room}
    return Field(model, search, reference.codes, **weights)


def place(model, x, reference, **weights):
    return field(model, reference, **weights).place(x)


def kernels(z, width, others, widths):
    delta = z[:, None].astype(float) - others
    per_square = 1 / (width[:, None] * widths)
    return delta, per_square, 1 / (1 + np.square(delta).sum(2) * per_square)


def test_with_the_reconstruction_alone_a_cell_goes_to_its_projection():
    a, reference, x = sheet()
    found = place(plane(a), x, reference, divergence_weight=0)
    np.testing.assert_allclose(found, x @ a, atol=0.02)


def test_the_field_is_that_of_all_cells_where_these_are_few():
    a, reference, x = sheet()
    n = len(reference.x)
    of = field(plane(a), reference)
    w = kernels(reference.codes, of.width, reference.codes, of.width)[2]
    np.fill_diagonal(w, 0)
    # the normalizer of the map, of which a cell has the n-th part
    assert of.per_total == pytest.approx(n / w.sum(), rel=1e-3)
    z = (x @ a).astype(np.float32)
    distance, near = of.tree.query(z, N_NEAR)
    width = of.width_at(distance)
    partners = np.random.default_rng(0).integers(n, size=(len(z), 7)).astype(np.int32)
    affinity = np.random.default_rng(1).random((len(z), 7)).astype(np.float32)
    of_far = of.repulsion_of_far(z, 1 / width, distance)
    slope, metric = (
        np.random.default_rng(2).normal(size=z.shape).astype(np.float32),
        np.tile(2 * np.eye(2), (len(z), 1, 1)),
    )
    moved, kappa, per_feature = z.copy(), np.float32(0.25), np.float32(0.1)
    of.loops.settle(
        moved, 1 / width, reference.codes, of.narrowness, partners, affinity, near, of_far, slope,
        metric.astype(np.float32), z, kappa, per_feature, np.float32(of.per_total), 1, np.float32(1e9),
    )  # fmt: skip
    delta, per_square, w = kernels(z, width, reference.codes, of.width)
    gradient = -of.per_total * np.einsum("mn,mnd->md", w**2 * per_square, delta)
    bound = np.empty(len(z))
    for i in range(len(z)):
        share = affinity[i] * (w * per_square)[i, partners[i]]
        gradient[i] += share @ delta[i, partners[i]]
        bound[i] = share.sum()
    expected = (4 * kappa * gradient + per_feature * slope) / (4 * kappa * bound + 4 * per_feature)[:, None]
    np.testing.assert_allclose(z - moved, expected, rtol=1e-3, atol=1e-4)
    # shorter steps point the same way
    at_most = np.median(np.linalg.norm(expected, axis=1))
    again = z.copy()
    of.loops.settle(
        again, 1 / width, reference.codes, of.narrowness, partners, affinity, near, of_far, slope,
        metric.astype(np.float32), z, kappa, per_feature, np.float32(of.per_total), 1, np.float32(at_most),
    )  # fmt: skip
    length = np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(z - again, expected * np.minimum(at_most / length, 1), rtol=1e-3, atol=1e-4)


def test_a_sample_of_far_cells_stands_for_all_of_them():
    a, reference, x = sheet(1200)
    of = field(plane(a), reference)
    z = (x @ a).astype(np.float32)
    distance, near = of.tree.query(z, N_NEAR)
    width = of.width_at(distance)
    found = of.repulsion_of_far(z, 1 / width, distance)
    delta, per_square, w = kernels(z, width, reference.codes, of.width)
    np.put_along_axis(w, near, 0, axis=1)
    expected = -of.per_total * np.einsum("mn,mnd->md", w**2 * per_square, delta)
    # 400 of 1,200
    assert (found * expected).sum() / (expected**2).sum() == pytest.approx(1, abs=0.1)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.9
    w = kernels(reference.codes, of.width, reference.codes, of.width)[2]
    np.fill_diagonal(w, 0)
    assert of.per_total == pytest.approx(len(w) / w.sum(), rel=0.1)


@for_each("equal_room", [0, 0.5, 1])
def test_new_cells_have_the_widths_of_the_cells_of_the_map(equal_room):
    a, reference, _ = sheet()
    of = field(plane(a), reference, equal_room=equal_room)
    # without the cell itself
    distance = of.tree.query(reference.codes, N_NEAR + 1)[0][:, 1:]
    expected = kernel_widths(distance[:, WIDTH_NEIGHBOR - 1], equal_room)[0]
    np.testing.assert_allclose(of.width, expected, rtol=1e-6)
    # the floor of the narrowest two percent is that of the map
    assert np.mean(np.isclose(of.width_at(distance), expected, rtol=1e-6)) > 0.97
    assert (np.ptp(of.width) == 0) == (equal_room == 1)


@for_each("equal_room", [0, 1])
def test_a_cell_comes_to_rest_in_a_minimum(equal_room):
    a, reference, x = sheet()
    model, weight, perplexity = plane(a), 0.25, 10
    found = place(model, x, reference, perplexity=perplexity, divergence_weight=weight, equal_room=equal_room)
    of = field(model, reference, equal_room=equal_room)
    near = NeighborSearch(reference.x).nearest(30, of=x)
    p = conditional(near.distances, perplexity)
    width = of.width_at(of.tree.query(found, N_NEAR)[0])
    moved = []
    for i in range(len(x)):

        def potential(z, i=i):
            square = np.square(z - reference.codes).sum(1) / (width[i] * of.width)
            pull = (p[i] * np.log1p(square[near.indices[i]])).sum()
            error = np.square(a @ z - x[i]).mean()
            return 2 * weight * (pull + of.per_total * (1 / (1 + square)).sum()) + error

        moved.append(np.linalg.norm(minimize(potential, found[i].astype(float)).x - found[i]))
    # in widths; what is left comes of widths that change along the way
    assert np.median(moved) < 0.1 * of.median_width
    assert np.quantile(moved, 0.9) < 0.5 * of.median_width


@pytest.fixture(scope="module")
def left_out(reduced):
    """Four fifths of the PBMCs with a map, and the others. In standardized units and latent space."""
    x = reduced.obsm["X_pca"].astype(np.float32)
    is_new = np.random.default_rng(0).permutation(len(x)) < len(x) // 5
    settings = Settings(hidden=(64,), batch_size=128, n_steps=300)
    fitted = fit(x[~is_new], settings)
    model = fitted.model
    codes = model.to_latent(torch.from_numpy(fitted.embedding)).numpy()
    reference = Reference(model.standardize(torch.from_numpy(x[~is_new])).numpy(), codes)
    return model, reference, model.standardize(torch.from_numpy(x[is_new])).numpy(), settings


def placed(left_out, x, reference=None):
    model, own, _, settings = left_out
    options = {"perplexity": settings.perplexity, "divergence_weight": settings.tsne_weight}
    return place(model, x, own if reference is None else reference, **options)


def test_cells_of_the_reference_land_on_their_places(left_out):
    _, reference, new, _ = left_out
    assert placed(left_out, reference.x).tobytes() == reference.codes.tobytes()
    mixed = np.vstack([new[:3], reference.x[100:110], new[3:6]])
    np.testing.assert_array_equal(placed(left_out, mixed)[3:13], reference.codes[100:110])


def test_a_new_cell_lands_on_the_same_bits_in_any_company(left_out, monkeypatch):
    monkeypatch.setattr(placement, "BLOCK", 64)
    new = left_out[2]
    whole = placed(left_out, new)
    assert len(np.unique(whole, axis=0)) == len(new)
    order = np.random.default_rng(1).permutation(len(new))
    assert placed(left_out, new[order]).tobytes() == whole[order].tobytes()
    for row in (0, 17, len(new) - 1):
        assert placed(left_out, new[row : row + 1]).tobytes() == whole[row].tobytes()
    # other neighbors in its block
    others = left_out[1].x[:30] + np.float32(0.1)
    many = placed(left_out, np.vstack([others, new]))
    assert many[-len(new) :].tobytes() == whole.tobytes()


def test_the_order_of_the_reference_does_not_matter(left_out):
    _, reference, new, _ = left_out
    order = np.random.default_rng(1).permutation(len(reference.x))
    shuffled = Reference(reference.x[order], reference.codes[order])
    moved = np.linalg.norm(placed(left_out, new, shuffled) - placed(left_out, new), axis=1)
    # other far cells are drawn, which push a little differently: 0.0004 of the spread of the map
    assert np.median(moved) < 0.02 * reference.codes.std()


def test_left_out_cells_find_their_neighbors(left_out):
    model, reference, new, _ = left_out
    everything = np.vstack([reference.x, new])

    def recall(codes):
        def nearest(cells):
            found = NearestNeighbors(n_neighbors=11).fit(cells).kneighbors(cells[len(reference.x) :])
            return found[1][:, 1:]

        true, mapped = nearest(everything), nearest(np.vstack([reference.codes, codes]))
        return np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(true, mapped, strict=True)])

    with torch.no_grad():
        encoded = model.encoder(torch.from_numpy(new)).numpy()
    # 0.44 and 0.25
    assert recall(placed(left_out, new)) > 1.4 * recall(encoded)
    assert recall(placed(left_out, new)) > 0.35


def test_hundreds_of_equal_cells_and_a_cell_like_them():
    a, reference, x = sheet()
    codes = reference.codes.copy()
    cells = reference.x.copy()
    cells[100:250], codes[100:250] = cells[100], codes[100]
    found = place(plane(a), cells[100:101], Reference(cells, codes))
    np.testing.assert_array_equal(found, codes[100:101])
    # others are placed beside them
    beside = place(plane(a), x, Reference(cells, codes))
    expected = place(plane(a), x, reference, divergence_weight=0)
    assert np.median(np.linalg.norm(beside - expected, axis=1)) < 0.5


def test_a_cell_far_away_stays_on_the_map():
    a, reference, x = sheet()
    far = np.float32(100) * x[:10]
    found = place(plane(a), far, reference)
    near = NeighborSearch(reference.x).nearest(30, of=far)
    start = np.einsum("mk,mkd->md", conditional(near.distances, 10), reference.codes[near.indices])
    # it goes towards its projection as far as the steps reach, and not further than that
    toward = far @ a - start
    assert ((found - start) * toward).sum(1).min() > 0
    assert np.isfinite(found).all()
    assert (np.linalg.norm(found - start, axis=1) < np.linalg.norm(toward, axis=1)).all()


@for_each("n", [4, 30, 41])
def test_small_references(n):
    a, reference, x = sheet(n)
    found = place(plane(a), x, reference, divergence_weight=0)
    assert found.shape == (60, 2)
    # steps are as long as a width, and few cells are far apart
    assert np.median(np.linalg.norm(found - x @ a, axis=1)) < 0.1
    both = place(plane(a), x, reference)
    assert np.linalg.norm(both - x @ a, axis=1).max() < 3 * np.ptp(reference.codes, axis=0).max()
