"""Models in files of their own: what comes back, and what is refused."""

from __future__ import annotations

import json
import pickle
import struct

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import scgeoae as sg
from scgeoae.geometry import Ambient
from scgeoae.geometry.chart import fit_chart
from scgeoae.nn import Autoencoder

from ..for_each import for_each


def made(d=2, hidden=(16, 8), activation="silu", n_features=6):
    g = torch.Generator().manual_seed(0)
    model = Autoencoder(n_features, d, hidden=hidden, activation=activation, generator=g)
    model.start_at(center=torch.randn(n_features, generator=g), scale=torch.tensor(3.0), axes=torch.eye(n_features)[:d])
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=g) / 4)
    z = torch.randn(30, d, generator=g)
    return model.set_chart(fit_chart(z, model.metric(z).detach(), z))


@for_each("d, hidden, activation", [(2, (16, 8), "silu"), (1, (), "tanh"), (5, (4,), "elu")])
@for_each("ambient", [None, "diagonal", "matrix"])
def test_a_model_that_loads_is_the_same(tmp_path, d, hidden, activation, ambient):
    model = made(d, hidden, activation)
    if ambient is not None:
        model.ambient = Ambient(torch.full((6,), 2.0) if ambient == "diagonal" else 2 * torch.eye(6))
    path = tmp_path / "map.safetensors"
    model.save(path)
    loaded = sg.load(path)
    x, z = torch.randn(20, 6), torch.randn(20, d)
    assert torch.equal(loaded.encode(x), model.encode(x))
    assert torch.equal(loaded.decode(z), model.decode(z))
    assert torch.equal(loaded.metric(z), model.metric(z))
    assert not any(p.requires_grad for p in loaded.parameters())
    model.save(path)  # over itself
    assert torch.equal(sg.load(str(path)).encode(x), model.encode(x))


def test_a_file_has_weights_and_no_cells(fitted, tmp_path):
    path = tmp_path / "map.safetensors"
    sg.get.model(fitted).save(path)
    assert path.stat().st_size < 5e6
    sizes = {name: array.shape for name, array in load_file(path).items()}
    assert not any(fitted.n_obs in shape for shape in sizes.values())
    x = torch.from_numpy(np.asarray(fitted.obsm["X_pca"], dtype=np.float32))
    loaded = sg.load(path)
    torch.testing.assert_close(loaded.encode(x), sg.get.model(fitted).encode(x))
    # which is where a cell starts, near to where it lies
    away = np.linalg.norm(loaded.encode(x).numpy() - fitted.obsm["X_geoae"], axis=1)
    assert np.median(away) < 0.05 * np.ptp(fitted.obsm["X_geoae"], axis=0).max()


def test_an_ambient_function_is_asked_for(tmp_path):
    model = made()
    model.ambient = Ambient(lambda x: x**2 + 1)
    model.save(tmp_path / "map.safetensors")
    with pytest.raises(ValueError, match="a function, which is not stored"):
        sg.load(tmp_path / "map.safetensors").metric(torch.zeros(1, 2))


class _Trap:
    def __reduce__(self):
        return (pytest.fail, ("something in the file was executed",))


def test_foreign_and_damaged_files_are_refused(tmp_path):
    path = tmp_path / "map.safetensors"
    with pytest.raises(FileNotFoundError, match=r"Did not find the file '.*map.safetensors'"):
        sg.load(path)
    made().save(path)
    good = path.read_bytes()

    cut = [b"", good[:100], good[:-100]]
    foreign = [
        pickle.dumps(_Trap()),
        b"hello, this is no model at all",
        bytes(1000),
        struct.pack("<Q", 2**60) + good[8:],
    ]
    for content in cut + foreign:
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a complete safetensors file"):
            sg.load(path)
    torch.save({"weights": _Trap()}, path)
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        sg.load(path)
    save_file({"a": np.zeros(3)}, path)
    with pytest.raises(ValueError, match="not of scgeoae"):
        sg.load(path)


@for_each(
    "changes, message",
    [
        ({"format": 99}, "format 99 was written by a newer version of scgeoae"),
        ({"hidden": [16, 10**9]}, "too few weights for layers"),
        ({"hidden": [16, 9]}, r"has shape|too few"),
        ({"hidden": "os.system"}, "."),
        ({"activation": "__import__('os')"}, "Expected `activation` to be one of"),
        ({"hidden": [[16, 8]]}, "'hidden' is not sizes of layers"),
        ({"hidden": [1] * 1000}, "too few weights for layers"),
        ({"n_features": None}, "'n_features' is not an integer >= 1: None"),
        ({"n_features": 6.5}, "'n_features' is not an integer >= 1: 6.5"),
        ({"n_components": -1}, "."),
        ({"ambient": "os.system('spam')"}, "not the name of a function"),
        ({"ambient": "a\x1b[2J"}, r"not the name of a function: 'a\\x1b\[2J'"),
        ({"ambient": [1e300] * 6}, "'ambient' has values that are not finite"),
        ({"ambient": [-1.0] * 6}, "'ambient' is not a positive definite metric"),
        ({"ambient": [1.0] * 5}, r"'ambient' has shape \(5,\), not \(6,\) or \(6, 6\)"),
        ({"activation": "\x1b[2J" * 10_000}, r"x1b.*…"),
    ],
)
def test_descriptions_that_are_wrong(tmp_path, changes, message):
    path = tmp_path / "map.safetensors"
    made().save(path)
    tensors = load_file(path)
    description = {"format": 1, "n_features": 6, "n_components": 2, "hidden": [16, 8], "activation": "silu"} | changes
    save_file(tensors, path, metadata={"scgeoae": json.dumps(description)})
    with pytest.raises(ValueError, match=message):
        sg.load(path)


def test_a_small_file_does_not_ask_for_much_memory(tmp_path):
    path = tmp_path / "map.safetensors"
    # a chart of 10⁵ × 10⁵ beside 10⁵ weights
    description = {"format": 1, "n_features": 1, "n_components": 10**5, "hidden": [], "activation": "silu"}
    save_file({"a": np.zeros(3 * 10**5, dtype=np.float32)}, path, metadata={"scgeoae": json.dumps(description)})
    with pytest.raises(ValueError, match="too few weights for layers"):
        sg.load(path)
    description = {
        "format": 2,
        "layers": "linear" + " relu" * 10**5,
        "sizes": [[1, 1]],
        "library_size": 1.0,
        "fisher": True,
    }
    save_file({"a": np.zeros(30, dtype=np.float32)}, path, metadata={"scgeoae": json.dumps(description)})
    with pytest.raises(ValueError, match=r"100001 layers .* do not fit the sizes"):
        sg.load(path)


def test_names_in_a_file_do_not_act_on_the_terminal(tmp_path):
    path = tmp_path / "map.safetensors"
    made().save(path)
    description = {"format": 1, "n_features": 6, "n_components": 2, "hidden": [16, 8], "activation": "silu"}
    save_file(load_file(path) | {"\x1b[2J": np.zeros(1)}, path, metadata={"scgeoae": json.dumps(description)})
    with pytest.raises(ValueError, match=r"unknown weights \\x1b\[2J"):
        sg.load(path)


@for_each("header", ["[]", "{", "null", '{"format": 1}', "[" * 100_000])
def test_headers_that_are_wrong(tmp_path, header):
    path = tmp_path / "map.safetensors"
    made().save(path)
    tensors = load_file(path)
    save_file(tensors, path, metadata={"scgeoae": header})
    with pytest.raises(ValueError, match="cannot be read"):
        sg.load(path)
    weights = dict(list(tensors.items())[1:])
    save_file(
        weights,
        path,
        metadata={
            "scgeoae": json.dumps(
                {"format": 1, "n_features": 6, "n_components": 2, "hidden": [16, 8], "activation": "silu"}
            )
        },
    )
    with pytest.raises(ValueError, match="missing or unknown weights"):
        sg.load(path)
