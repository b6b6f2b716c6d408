from __future__ import annotations

import numpy as np
import pytest

import scgeoae as sg


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


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no weight", "missing or unknown weights decoder.bend.weights.1"),
        ("unknown weight", "missing or unknown weights spam"),
        ("shape", r"decoder.bend.weights.1 has shape \(127, 128\), not \(128, 128\)"),
        ("nan", "decoder.bend.weights.1 has values that are not finite"),
        ("no entry", "the entry 'activation' is missing"),
        ("activation", "found 'relu'"),
        ("hidden", "."),
        ("text", "."),
    ],
)
def test_damaged_model(fitted, how, message):
    adata = fitted.copy()
    damage(adata.uns["geoae"]["model"], how)
    with pytest.raises(ValueError, match=rf"adata\.uns\['geoae'\] is damaged: in 'model', .*{message}"):
        sg.get.model(adata)


@pytest.mark.parametrize("stored", [{}, "text", 3, {"model": "text"}, {"model": {}}])
def test_damaged_uns(fitted, stored):
    adata = fitted.copy()
    adata.uns["geoae"] = stored
    with pytest.raises(ValueError, match=r"adata\.uns\['geoae'\] is damaged"):
        sg.get.model(adata)
    with pytest.raises(ValueError, match=r"adata\.uns\['geoae'\] is damaged"):
        sg.get.scores(adata)


def test_damaged_tensors(fitted):
    adata = fitted.copy()
    adata.obsm["geoae_metric"] = adata.obsm["geoae_metric"][:, :2]
    with pytest.raises(ValueError, match="no upper triangle"):
        sg.get.metric_tensors(adata)
