from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scgeoae as sg

from ..for_each import for_each


def test_before_the_run(reduced):
    for read in (sg.get.scores, sg.get.model, sg.get.metric_tensors):
        with pytest.raises(KeyError, match=r"run sg\.tl\.geoae\(adata\) first"):
            read(reduced)
    with pytest.raises(KeyError, match=r"run sg\.tl\.geoae\(adata, key_added='mine'\) first"):
        sg.get.model(reduced, key="mine")


def test_metric_tensors_are_symmetric_positive(fitted):
    metric = sg.get.metric_tensors(fitted)
    assert np.array_equal(metric, metric.transpose(0, 2, 1))
    assert (np.linalg.eigvalsh(metric) > 0).all()
    np.testing.assert_array_equal(metric[:, 0, 1], fitted.obsm["geoae_metric"][:, 1])


def damage(model, how):
    weights = model["weights"]
    name = "decoder.bend.weights.1"
    if how == "no weight":
        del weights[name]
    elif how == "unknown weight":
        weights["spam"] = weights[name]
    elif how == "shape":
        weights[name] = weights[name][:-1]
    elif how == "nan":
        weights[name] = np.full_like(weights[name], np.nan)
    elif how == "no entry":
        del model["activation"]
    elif how == "activation":
        model["activation"] = "relu"
    elif how == "hidden":
        model["hidden"] = np.array([-3])
    elif how == "text":
        weights[name] = "spam"
    elif how == "weights":
        model["weights"] = 3
    elif how == "complex":
        weights[name] = weights[name] * 1j
    elif how == "huge":
        # which would take 4 TB if it were copied
        weights[name] = np.broadcast_to(np.float32(1), (10**6, 10**6))
    elif how == "scale":
        weights["scale"] = np.float32(0)


@for_each(
    "how, message",
    [
        ("no weight", "missing or unknown weights decoder.bend.weights.1"),
        ("unknown weight", "missing or unknown weights spam"),
        ("shape", r"decoder.bend.weights.1 has shape \(127, 128\), not \(128, 128\)"),
        ("nan", "decoder.bend.weights.1 has values that are not finite"),
        ("no entry", "the entry 'activation' is missing"),
        ("activation", "found 'relu'"),
        ("hidden", "."),
        ("text", "."),
        ("weights", "'weights' is not a dictionary: 3"),
        ("complex", "decoder.bend.weights.1 does not hold real numbers"),
        ("huge", r"decoder.bend.weights.1 has shape \(1000000, 1000000\), not"),
        ("scale", "its scale or unit is not positive"),
    ],
)
def test_damaged_model(fitted, how, message):
    adata = fitted.copy()
    damage(adata.uns["geoae"]["model"], how)
    with pytest.raises(ValueError, match=rf"adata\.uns\['geoae'\] is damaged: in 'model', .*{message}"):
        sg.get.model(adata)


@for_each("stored", [{}, "text", 3, pd.DataFrame({"model": [1.0]}), {"model": "text"}, {"model": {}}])
def test_damaged_uns(fitted, stored):
    adata = fitted.copy()
    adata.uns["geoae"] = stored
    with pytest.raises(ValueError, match=r"adata\.uns\['geoae'\] is damaged"):
        sg.get.model(adata)
    with pytest.raises(ValueError, match=r"adata\.uns\['geoae'\] is damaged"):
        sg.get.scores(adata)


@for_each(
    "params, message",
    [
        ("text", "'params' is not a dictionary: 'text'"),
        ({}, "in 'params', 'use_rep' is not a name: None"),
        ({"use_rep": 3}, "in 'params', 'use_rep' is not a name: 3"),
        ({"use_rep": "X_pca", "n_pcs": "3"}, "in 'params', 'n_pcs' is not an integer >= 1: '3'"),
        ({"use_rep": "X", "layer": ["counts"]}, "in 'params', 'layer' is not a name"),
        ({"use_rep": "X", "refine": "yes"}, "in 'params', 'refine' is not True or False: 'yes'"),
        ({"use_rep": "X", "tsne_weight": -1.0}, "in 'params', 'tsne_weight' is not a finite number >= 0: -1.0"),
        ({"use_rep": "X", "perplexity": "25"}, "in 'params', 'perplexity' is not a finite number > 1: '25'"),
        ({"use_rep": "X", "equal_room": 2.0}, "in 'params', 'equal_room' is not a number from 0 to 1: 2.0"),
        ({"use_rep": "X", "library_size": float("nan")}, "in 'params', 'library_size' is not a finite number > 0: nan"),
    ],
)
def test_damaged_params(fitted, params, message):
    adata = fitted.copy()
    adata.uns["geoae"]["params"] = params
    for call in (
        lambda: sg.tl.transform(fitted[:3].copy(), adata),
        lambda: sg.tl.decode(adata, [[0, 0]]),
        lambda: sg.tl.evaluate(adata, basis="geoae", n_sample=100),
        lambda: sg.pl.indicatrices(adata, show=False),
    ):
        with pytest.raises(ValueError, match=rf"adata\.uns\['geoae'\] is damaged: {message}"):
            call()


@for_each(
    "scores, message",
    [
        (np.zeros(3), "'scores' is not a dictionary"),
        ({"CN": np.zeros(3)}, r"in 'scores', 'CN' is not a number: array"),
        ({"CN": "0.1"}, "in 'scores', 'CN' is not a number: '0.1'"),
    ],
)
def test_damaged_scores(fitted, scores, message):
    adata = fitted.copy()
    adata.uns["geoae"]["scores"] = scores
    with pytest.raises(ValueError, match=rf"adata\.uns\['geoae'\] is damaged: {message}"):
        sg.get.scores(adata)


def test_damaged_tensors(fitted):
    adata = fitted.copy()
    adata.obsm["geoae_metric"] = adata.obsm["geoae_metric"][:, :2]
    with pytest.raises(ValueError, match="do not form the upper triangle"):
        sg.get.metric_tensors(adata)
