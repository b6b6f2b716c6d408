"""Maps of counts: the module against autodiff, what a user of scvi-tools does, and what becomes of it in an AnnData."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import warnings

import anndata
import numpy as np
import pytest
import torch
from anndata import AnnData
from matplotlib.text import Text
from scipy import sparse
from torch import nn

import scgeoae as sg
from scgeoae.geometry import distortion

from ..for_each import for_each

pytest.importorskip("scvi")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what scvi-tools and lightning import
    import scvi
    from lightning import LightningDataModule

    from scgeoae.model import GeoSCVI
    from scgeoae.model._extract import survey
    from scgeoae.model._module import Covariates

# what scvi-tools, lightning and torch say of each other
pytestmark = pytest.mark.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
RUN = {"accelerator": "cpu", "enable_progress_bar": False}


def counted(seed=0, n=240, g=40) -> AnnData:
    """Counts of cells on a curved sheet, in two batches."""
    rng = np.random.default_rng(seed)
    t = rng.uniform(-1, 1, size=(n, 2))
    features = np.column_stack([t, t[:, 0] ** 2, t[:, 0] * t[:, 1]])
    loadings = np.random.default_rng(1).normal(size=(4, g))
    batch = rng.integers(0, 2, n)
    mean = np.exp(features @ loadings * 0.6 + 0.3 * np.random.default_rng(2).normal(size=(2, g))[batch] + 1)
    adata = AnnData(rng.poisson(mean).astype(np.float32))
    adata.layers["counts"] = adata.X.copy()
    adata.X = np.log1p(adata.X)
    adata.obs["batch"] = np.array(["one", "two"])[batch]
    adata.obs["kind"] = np.array(list("abc"))[rng.integers(0, 3, n)]
    adata.obs["age"] = rng.normal(size=n)
    adata.obs["factor"] = mean.sum(1) / mean.sum(1).mean()
    adata.obs["side"] = np.where(t[:, 0] > 0, "right", "left")
    return adata


def trained(adata, *, epochs=3, setup=None, **kwargs):
    scvi.settings.seed = 0
    GeoSCVI.setup_anndata(adata, layer="counts", **({"batch_key": "batch"} if setup is None else setup))
    model = GeoSCVI(adata, **kwargs)
    model.train(max_epochs=epochs, plan_kwargs={"lr": 5e-3}, **RUN)
    return model


@pytest.fixture(scope="module")
def made():
    adata = counted()
    model = trained(adata, epochs=60, gene_likelihood="nb")
    model.to_anndata()
    return model, adata


COVARIATES = {"batch_key": "batch", "categorical_covariate_keys": ["kind"], "continuous_covariate_keys": ["age"]}
KINDS = {
    "default": ({"batch_key": "batch"}, {}),
    "no batches, fisher": ({}, {"gene_likelihood": "nb", "ambient": "fisher"}),
    "covariates": (COVARIATES, {"n_layers": 2, "use_layer_norm": "both", "use_batch_norm": "none"}),
    "the decoder of SCVI": (COVARIATES, {"use_batch_norm": "both", "extra_decoder_kwargs": {"activation_fn": nn.ReLU}}),
    "poisson, fisher": (COVARIATES, {"gene_likelihood": "poisson", "ambient": "fisher", "n_latent": 3}),
    "size factors": ({"batch_key": "batch", "size_factor_key": "factor"}, {"n_layers": 2}),
    "embedded batches": ({"batch_key": "batch"}, {"batch_representation": "embedding", "dispersion": "gene-cell"}),
    "dispersion of batches": (
        {"batch_key": "batch"},
        {"gene_likelihood": "nb", "ambient": "fisher", "dispersion": "gene-batch", "regularizer": {"volume": 0.1}},
    ),
}


@for_each("kind", KINDS)
def test_metric_is_that_of_the_mean_at_the_covariates_of_each_cell(kind):
    setup, kwargs = KINDS[kind]
    adata = counted()
    model = trained(adata, setup=setup, **kwargs)
    module = model.module.eval()
    tensors = next(iter(model._make_data_loader(adata, batch_size=20)))
    inference = module.inference(**module._get_inference_input(tensors))
    z = inference["qz"].loc
    decoded, metric = module.metric(z, Covariates.of(tensors))

    # by the generative process of scvi-tools and reverse mode
    size = 1.0 if "size_factor_key" in setup else 1e4
    inputs = module._get_generative_input(tensors, inference)

    def mean(at):
        px = module.generative(**inputs | {"z": at})["px"]
        return (size * px.scale).log1p()

    jacobian = torch.autograd.functional.jacobian(mean, z)
    jacobian = jacobian[torch.arange(20), :, torch.arange(20)]
    torch.testing.assert_close(decoded, mean(z))
    h = torch.ones_like(decoded)
    if kwargs.get("ambient") == "fisher":
        mu = decoded.expm1()
        px = module.generative(**inputs)["px"]
        variance = mu if kwargs["gene_likelihood"] == "poisson" else mu + mu**2 / px.theta
        h = (1 + mu) ** 2 / variance
    expected = torch.einsum("nga,ng,ngb->nab", jacobian, h, jacobian)
    torch.testing.assert_close(metric, expected, rtol=1e-3, atol=1e-5)

    # and the decoder that is stored is this one at one set of covariates
    model.to_anndata()
    stored = sg.get.model(adata, key="geoscvi")
    found = survey(module, model._make_data_loader(adata), adata.n_obs)
    everywhere = Covariates(*(part if part is None else part.expand(20, -1) for part in found.most_common))
    at, there = module.metric(z, everywhere)
    on_map = stored.to_map(z)
    torch.testing.assert_close(stored.decode(on_map), at, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(stored.metric(on_map), stored.step.T @ there @ stored.step, rtol=1e-3, atol=1e-5)


def test_without_geometry_it_is_scvi():
    def latent(of, **kwargs):
        adata = counted()
        scvi.settings.seed = 0
        of.setup_anndata(adata, layer="counts", batch_key="batch")
        model = of(adata, n_latent=2, n_layers=1, **kwargs)
        model.train(max_epochs=2, plan_kwargs={"lr": 1e-3}, **RUN)
        return model.get_latent_representation()

    same = {"use_batch_norm": "both", "extra_decoder_kwargs": {"activation_fn": nn.ReLU}}
    np.testing.assert_array_equal(latent(GeoSCVI, regularizer=None, **same), latent(scvi.model.SCVI))


def test_penalty_is_that_of_the_metric_and_is_logged(made):
    model, adata = made
    module = model.module.eval()
    tensors = next(iter(model._make_data_loader(adata, batch_size=64)))
    inference = module.inference(**module._get_inference_input(tensors))
    generative = module.generative(**module._get_generative_input(tensors, inference))
    loss = module.loss(tensors, inference, generative, geometry_weight=0.5)
    plain = module.loss(tensors, inference, generative, geometry_weight=0)
    _, metric = module.metric(inference["z"], Covariates.of(tensors))
    penalty = adata.n_vars * module.penalties["isometric"] * sg.geometry.regularizers.isometric(metric)
    torch.testing.assert_close(loss.loss - plain.loss, 0.5 * penalty, rtol=1e-3, atol=1e-3)
    assert {"geometric_loss_train", "elbo_train"} <= set(model.history)
    assert len(model.history["geometric_loss_train"]) == 60


def test_geometry_leaves_the_running_statistics_and_the_mode_alone(made):
    model, adata = made
    module = model.module.train()
    tensors = next(iter(model._make_data_loader(adata, batch_size=64)))
    before = {name: part.clone() for name, part in module.state_dict().items()}
    module.metric(torch.randn(64, 2), Covariates.of(tensors))
    assert all(torch.equal(part, before[name]) for name, part in module.state_dict().items())
    assert module.decoder.training
    module.eval()


def test_weight_of_the_penalty_warms_up():
    adata = counted()
    GeoSCVI.setup_anndata(adata, layer="counts")
    model = GeoSCVI(adata)
    seen = []
    loss = model.module.loss
    model.module.loss = lambda *args, geometry_weight=1.0, kl_weight=1.0: (
        seen.append(geometry_weight) or loss(*args, geometry_weight=geometry_weight, kl_weight=kl_weight)
    )
    model.train(max_epochs=4, plan_kwargs={"n_epochs_geometry_warmup": 2}, train_size=1.0, batch_size=240, **RUN)
    assert seen == [0.5, 1.0, 1.0, 1.0]


def measured(**kwargs):
    adata = counted()
    trained(adata, epochs=40, gene_likelihood="nb", **kwargs).to_anndata()
    return distortion(torch.from_numpy(sg.get.metric_tensors(adata, key="geoscvi")))


@pytest.fixture(scope="module")
def free():
    return measured(regularizer=None)


@for_each("regularizer, measure", [("isometric", "iso"), ("volume", "vpres"), ("conformal", "cn")])
def test_regularizer_lowers_its_distortion(free, regularizer, measure):
    held = measured(regularizer=regularizer, strength=1.0)
    assert getattr(held, measure) < getattr(free, measure) / 3


def test_slots(made):
    model, adata = made
    z = adata.obsm["X_geoscvi"]
    assert z.dtype == np.float32
    tensors = sg.get.metric_tensors(adata, key="geoscvi")
    # one unit of the map is one of the representation, and its middle is at 0
    np.testing.assert_allclose(np.trace(tensors, axis1=1, axis2=2).mean() / 2, 1, rtol=1e-4)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-3)
    # a similarity of latent space
    latent = model.get_latent_representation()
    ratio = np.linalg.norm(z[1:] - z[:-1], axis=1) / np.linalg.norm(latent[1:] - latent[:-1], axis=1)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)
    params = adata.uns["geoscvi"]["params"]
    assert params["layer"] == "counts"
    assert params["batch_key"] == "batch"
    scores = sg.get.scores(adata, key="geoscvi")
    error = adata.obs["geoscvi_reconstruction_error"].to_numpy()
    np.testing.assert_allclose(scores["NLL"], error.mean(), rtol=1e-5)
    np.testing.assert_allclose(scores["NLL_held_out"], error[model.validation_indices].mean(), rtol=1e-5)
    assert not [name for name in [*adata.obs, *adata.obsm] if name.endswith("_encoder")]
    with pytest.raises(KeyError, match="encoder"):
        sg.get.metric_tensors(adata, key="geoscvi", side="encoder")


def test_representation_is_log1p_of_normalized_counts(made):
    import scanpy as sc

    from scgeoae._anndata.representation import stored_representation

    _, adata = made
    expected = AnnData(adata.layers["counts"].copy())
    sc.pp.normalize_total(expected, target_sum=1e4)
    sc.pp.log1p(expected)
    found = stored_representation(adata, adata.uns["geoscvi"]["params"], None, adata.n_vars)
    np.testing.assert_allclose(found.dense(), expected.X, rtol=1e-5)
    decoded = sg.tl.decode(adata, adata.obsm["X_geoscvi"], key="geoscvi")
    assert list(decoded.var_names) == list(adata.var_names)
    # in the same units, at the batch that most cells are of
    common = (adata.obs["batch"] == adata.obs["batch"].mode()[0]).to_numpy()
    there, here = (np.expm1(x[common]).mean(0) for x in (decoded.X, expected.X))
    assert np.corrcoef(there, here)[0, 1] > 0.95
    np.testing.assert_allclose(np.expm1(decoded.X).sum(1), 1e4, rtol=1e-3)


@pytest.mark.slow
def test_a_file_carries_the_map_into_a_process_without_scvi(made, tmp_path):
    _, adata = made
    path = tmp_path / "a.h5ad"
    adata.write_h5ad(path)
    code = f"""
import sys, anndata, numpy as np, matplotlib
matplotlib.use("Agg")
import scgeoae as sg
adata = anndata.read_h5ad({str(path)!r})
sg.pl.indicatrices(adata, basis="geoscvi", where="grid", show=False)
sg.pl.jacobian_heatmap(adata, basis="geoscvi", show=False)
np.save({str(tmp_path / "decoded.npy")!r}, sg.tl.decode(adata, [[0, 0], [1, 1]], key="geoscvi").X)
assert "scvi" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
    expected = sg.tl.decode(adata, [[0, 0], [1, 1]], key="geoscvi").X
    np.testing.assert_allclose(np.load(tmp_path / "decoded.npy"), expected, rtol=1e-4)


def test_survives_zarr(made, tmp_path):
    _, adata = made
    adata.write_zarr(tmp_path / "a.zarr")
    read = anndata.read_zarr(tmp_path / "a.zarr")
    here, there = (sg.get.model(a, key="geoscvi").decode(torch.zeros(1, 2)) for a in (adata, read))
    assert torch.equal(here, there)


def test_genes_are_drawn_in_the_units_that_are_decoded(made):
    _, adata = made
    axes = sg.pl.decoded_genes(adata, "3", basis="geoscvi", show=False)
    cells = next(c for c in axes.collections if len(c.get_offsets()) == adata.n_obs)
    counts = adata.layers["counts"]
    expected = np.log1p(1e4 * counts[:, 3] / counts.sum(1))
    np.testing.assert_allclose(np.sort(cells.get_array()), np.sort(expected), rtol=1e-4)
    assert axes.figure.axes[-1].get_ylabel() == "log1p expression"
    assert any(re.search("units? of log1p expression$", text.get_text()) for text in axes.findobj(Text))


def test_tools_and_plots_take_it(made):
    model, adata = made
    adata = adata.copy()
    key = "geoscvi"
    fresh = {(name, slot) for name in ("obs", "obsm", "obsp", "uns") for slot in getattr(adata, name)}
    table = sg.tl.evaluate(adata, basis=key, groupby="side")
    values = table.set_index("measure").value
    np.testing.assert_allclose(values["ISO"], sg.get.scores(adata, key=key)["ISO"], rtol=1e-3)
    sg.tl.curvature(adata, key=key)
    path = sg.tl.geodesic(adata, "left", "right", groupby="side", key=key)
    sg.pl.geodesics(adata, path, basis=key, show=False)
    sg.tl.pseudotime(adata, adata.obs_names[0], key=key)
    sg.tl.rank_genes_by_jacobian(adata, "side", key=key)
    sg.pl.gene_compass(adata, "side", "left", basis=key, show=False)
    sg.pl.decoded_genes(adata, ["3"], basis=key, show=False)
    sg.tl.distortion(adata, basis=key)
    assert 0 <= adata.obs["geoscvi_torn"].max() <= 1
    with pytest.raises(ValueError, match=r"The encoder of adata\.obsm\['X_geoscvi'\] takes counts"):
        sg.tl.transform(adata.copy(), adata, key=key)
    with pytest.raises(KeyError, match=r"run the method to_anndata\(\) of a trained sg\.model\.GeoSCVI first"):
        sg.get.metric_tensors(counted(), key=key)
    model.to_anndata(adata)
    left = {(name, slot) for name in ("obs", "obsm", "obsp", "uns") for slot in getattr(adata, name)}
    assert {slot for slot in left - fresh if not slot[1].endswith("_colors")} == set()


def test_save_and_load(made, tmp_path):
    model, adata = made
    model.save(tmp_path / "model", overwrite=True)
    loaded = GeoSCVI.load(tmp_path / "model", adata=adata, accelerator="cpu")
    np.testing.assert_allclose(loaded.get_latent_representation(), model.get_latent_representation(), atol=1e-6)
    assert "GeoSCVI" in repr(loaded._model_summary_string)
    assert loaded.module.penalties == model.module.penalties
    again = loaded.to_anndata(copy=True)
    np.testing.assert_allclose(again.obsm["X_geoscvi"], adata.obsm["X_geoscvi"], atol=1e-5)


@pytest.mark.slow  # another process imports scvi-tools
def test_a_saved_model_finds_the_same_latent_space_in_another_process(made, tmp_path):
    model, adata = made
    model.save(tmp_path / "model", overwrite=True)
    adata.write_h5ad(tmp_path / "a.h5ad")
    code = f"""
import anndata, numpy as np
from scgeoae.model import GeoSCVI
adata = anndata.read_h5ad({str(tmp_path / "a.h5ad")!r})
model = GeoSCVI.load({str(tmp_path / "model")!r}, adata=adata, accelerator="cpu")
np.save({str(tmp_path / "latent.npy")!r}, model.get_latent_representation())
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "latent.npy"), model.get_latent_representation(), atol=1e-6)


def test_new_cells_come_onto_the_same_map(made):
    model, adata = made
    new = adata[:50].copy()
    del new.obsm["X_geoscvi"], new.uns["geoscvi"]
    model.to_anndata(new)
    np.testing.assert_allclose(new.obsm["X_geoscvi"], adata.obsm["X_geoscvi"][:50], atol=1e-4)
    fresh = trained(counted(), epochs=1)
    with pytest.raises(ValueError, match=r"call model\.to_anndata\(\) first"):
        fresh.to_anndata(counted(1))


def test_query_of_a_new_batch_comes_onto_the_map(made):
    model, adata = made
    query = counted(seed=5, n=100)
    query.obs["batch"] = "three"
    mapped = GeoSCVI.load_query_data(query, model, accelerator="cpu")
    mapped.train(max_epochs=10, plan_kwargs={"weight_decay": 0.0}, **RUN)
    mapped.to_anndata()
    np.testing.assert_array_equal(mapped.module.map.rotation, model.module.map.rotation)
    left, right = (query.obsm["X_geoscvi"][query.obs["side"] == side].mean(0) for side in ("left", "right"))
    known = [adata.obsm["X_geoscvi"][adata.obs["side"] == side].mean(0) for side in ("left", "right")]
    cosine = (left - right) @ (known[0] - known[1]) / np.linalg.norm(left - right) / np.linalg.norm(known[0] - known[1])
    assert cosine > 0.9


def test_training_again_lays_the_map_again():
    adata = counted()
    model = trained(adata)
    model.to_anndata()
    unit = float(model.module.map.unit)
    model.train(max_epochs=2, **RUN)
    assert model.module.map.unit == 0
    model.to_anndata()
    assert float(model.module.map.unit) != unit


def test_users_of_scvi_tools_find_what_they_expect(made):
    model, adata = made
    assert isinstance(model, scvi.model.SCVI)
    assert model.get_normalized_expression(adata, n_samples=1).shape == adata.shape
    found = model.differential_expression(groupby="side", group1="left", silent=True)
    assert len(found) == adata.n_vars
    assert np.isfinite(float(model.get_elbo()))


def test_minified_data(made):
    model = trained(counted(), gene_likelihood="nb", epochs=5)
    model.to_anndata()
    expected = model.adata.obsm["X_geoscvi"]
    model.adata.obsm["m"], model.adata.obsm["v"] = model.get_latent_representation(return_dist=True)
    model.minify_adata(use_latent_qzm_key="m", use_latent_qzv_key="v")
    model.to_anndata(key_added="mini")
    np.testing.assert_allclose(model.adata.obsm["X_mini"], expected, atol=1e-4)
    assert "mini_reconstruction_error" not in model.adata.obs


def test_a_file_on_disk_is_read_block_by_block(tmp_path):
    counted().write_h5ad(tmp_path / "a.h5ad")
    adata = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    del adata.uns
    scvi.settings.seed = 0
    GeoSCVI.setup_anndata(adata, batch_key="batch")
    model = GeoSCVI(adata)
    model.train(max_epochs=1, **RUN)
    model.to_anndata()
    assert adata.obsm["X_geoscvi"].shape == (240, 2)


def test_cells_of_several_files():
    from anndata.experimental import AnnCollection
    from scvi.dataloaders import CollectionAdapter

    parts = []
    for seed in range(2):
        part = counted(seed, n=120)
        part.layers["counts"] = sparse.csr_matrix(part.layers["counts"])
        part.obs_names = [f"{seed}-{name}" for name in part.obs_names]
        parts.append(part)
    adapter = CollectionAdapter(AnnCollection(parts, join_vars="inner", join_obs="inner", label="file"))
    model = trained(adapter)
    with pytest.raises(TypeError, match=r"call adata = model\.to_anndata\(copy=True\)"):
        model.to_anndata()
    adata = model.to_anndata(copy=True)
    whole = anndata.concat(parts, label="file")
    model.to_anndata(whole)
    np.testing.assert_allclose(adata.obsm["X_geoscvi"], whole.obsm["X_geoscvi"], atol=1e-5)
    assert list(adata.obs["file"]) == list(whole.obs["file"])
    sg.pl.indicatrices(adata, basis="geoscvi", color="side", show=False)


class Streamed(LightningDataModule):
    """Counts that come from elsewhere than an AnnData, as data modules of scvi-tools describe them."""

    def __init__(self, adata):
        super().__init__()
        GeoSCVI.setup_anndata(adata, layer="counts", batch_key="batch")
        model = GeoSCVI(adata)
        found = dict(model.adata_manager.registry)
        fields = found["field_registries"]
        self.registry = found | {
            "setup_method_name": "setup_datamodule",
            "setup_args": found["setup_args"] | {"layer": None},
            "field_registries": fields
            | {name: {"state_registry": {}, "summary_stats": {}} for name in ("extra_categorical_covs",)},
        }
        self.n_obs = adata.n_obs
        self.make = lambda **kwargs: model._make_data_loader(adata, **kwargs)

    def train_dataloader(self):
        return self.make(shuffle=True)

    def inference_dataloader(self):
        return self.make()


def test_cells_of_a_data_module(tmp_path):
    source = counted()
    cells = Streamed(source)
    model = GeoSCVI(registry=cells.registry)
    model.train(datamodule=cells, max_epochs=2, **RUN)
    with pytest.raises(ValueError, match=r"call model\.to_anndata\(adata, dataloader=\.\.\.\)"):
        model.to_anndata()
    adata = AnnData(obs=source.obs[["side"]], var=source.var)
    with pytest.raises(ValueError, match="minibatches of 10 cells in all, found more"):
        model.to_anndata(adata[:10].copy(), dataloader=cells.inference_dataloader())
    adata.write_h5ad(tmp_path / "cells.h5ad")
    lazy = anndata.experimental.read_lazy(tmp_path / "cells.h5ad")
    model.to_anndata(adata, dataloader=cells.inference_dataloader())
    model.to_anndata(lazy, dataloader=cells.inference_dataloader())
    np.testing.assert_allclose(lazy.obsm["X_geoscvi"], adata.obsm["X_geoscvi"], atol=1e-5)
    latent = model.get_latent_representation(dataloader=cells.inference_dataloader())
    stored = sg.get.model(adata, key="geoscvi")
    np.testing.assert_allclose(adata.obsm["X_geoscvi"], stored.to_map(torch.as_tensor(latent)), atol=1e-5)
    sg.pl.jacobian_heatmap(adata, basis="geoscvi", show=False)
    with pytest.raises(ValueError, match="is empty"):
        sg.tl.evaluate(adata, basis="geoscvi")


@for_each(
    "kwargs, match",
    [
        ({"regularizer": "curvature"}, "not a function of the decoder.s metric"),
        ({"regularizer": "spam"}, "Expected `regularizer`"),
        ({"strength": "auto"}, r"in sg\.tl\.geoae only"),
        ({"strength": -1}, "Expected `strength`"),
        ({"sampling": "spam"}, "Expected `sampling`"),
        ({"ambient": "spam"}, "Expected `ambient`"),
        ({"library_size": 0}, "Expected `library_size`"),
        ({"ambient": "fisher"}, "gene_likelihood='nb' or 'poisson'"),
        ({"ambient": "fisher", "gene_likelihood": "nb", "dispersion": "gene-cell"}, "constant over the map"),
        ({"gene_likelihood": "normal"}, r"use sg\.tl\.geoae"),
        ({"latent_distribution": "ln"}, "makes latent space a simplex"),
    ],
)
def test_errors(kwargs, match):
    adata = counted(n=30)
    GeoSCVI.setup_anndata(adata, layer="counts")
    with pytest.raises(ValueError, match=match):
        GeoSCVI(adata, **kwargs)


def test_failed_calls_change_nothing(made):
    _, adata = made
    model = trained(counted(), epochs=1)
    before = set(model.adata.uns)
    for name in ("", "a/b", 3):
        with pytest.raises(ValueError, match="Expected `key_added`"):
            model.to_anndata(key_added=name)
    assert set(model.adata.uns) == before
    del adata


@for_each("ambient", ["log1p", "fisher"])
def test_three_thousand_genes_with_extreme_cells(ambient):
    adata = counted(n=150, g=3000)
    counts = adata.layers["counts"]
    counts[3] = 0
    counts[4] *= 1e6
    counts[:, 5] = 0
    trained(adata, ambient=ambient, gene_likelihood="nb").to_anndata()
    slots = [adata.obsm["X_geoscvi"], adata.obsm["geoscvi_metric"], adata.obs["geoscvi_log_area"]]
    slots += [adata.obs["geoscvi_reconstruction_error"], list(sg.get.scores(adata, key="geoscvi").values())]
    for values in slots:
        assert np.isfinite(values).all()


@for_each("lr", [1.0, 1e6])
def test_diverged_training_says_so_and_writes_nothing(lr):
    adata = counted(g=100)
    GeoSCVI.setup_anndata(adata, layer="counts")
    scvi.settings.seed = 0
    model = GeoSCVI(adata)
    try:
        model.train(max_epochs=5, plan_kwargs={"lr": lr}, **RUN)
        model.to_anndata()
    except RuntimeError as error:
        assert "Lower the learning rate" in str(error) or "nothing was written" in str(error)  # noqa: PT017
        assert "X_geoscvi" not in adata.obsm
    else:
        assert np.isfinite(adata.obsm["geoscvi_metric"]).all()
        assert lr < 1e3


@for_each("place", range(3))
def test_counts_that_are_not_finite_are_named(place):
    """Wherever they are met: in training, in validation or when cells are placed."""
    adata = counted(n=60)
    model = trained(adata)
    model.to_anndata()
    # rows of training, of validation, and of cells that the model has not seen
    seen, held_out = model.train_indices, model.validation_indices
    row = [seen[0], held_out[0], 7][place]
    bad = counted(n=60)
    bad.layers["counts"][row, 3] = [np.nan, np.inf, np.nan][place]
    with pytest.raises(ValueError, match=rf"The counts in row {row} of adata are not finite"):
        (model if place == 2 else trained(bad)).to_anndata(bad)
    assert "X_geoscvi" not in bad.obsm


def test_too_few_genes():
    adata = counted(g=1)
    GeoSCVI.setup_anndata(adata, layer="counts")
    with pytest.raises(ValueError, match="adata has 1 genes, too few for a map of n_latent=2 dimensions"):
        GeoSCVI(adata)
