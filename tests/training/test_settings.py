from __future__ import annotations

import numpy as np
import pytest

from scgeoae.geometry.regularizers import REGULARIZERS
from scgeoae.training import Settings

from ..for_each import for_each


@for_each(
    "given, message",
    [
        ({"n_components": 0}, "`n_components` to be an integer >= 1, found 0"),
        ({"n_components": 2.5}, "`n_components` to be an integer >= 1, found 2.5"),
        ({"n_components": True}, "`n_components` to be an integer >= 1, found True"),
        ({"batch_size": 1}, "`batch_size` to be an integer >= 2, found 1"),
        ({"n_steps": 0}, "`n_steps` to be an integer >= 1, found 0"),
        ({"hidden": (64, 0)}, "`hidden` to be an integer >= 1, found 0"),
        ({"activation": "relu"}, "`activation` to be one of .*found 'relu'"),
        ({"strength": -0.1}, "`strength` to be a finite number >= 0 or .auto., found -0.1"),
        ({"strength": float("nan")}, "`strength` to be a finite number >= 0 or .auto., found nan"),
        ({"strength": "most"}, "`strength` to be a finite number >= 0 or .auto., found .most."),
        ({"learning_rate": 0}, "`learning_rate` to be a finite number > 0, found 0"),
        ({"learning_rate": float("inf")}, "`learning_rate` to be a finite number >= 0, found inf"),
        ({"regularizer": "isometry"}, "`regularizer` to be None, one of .*found 'isometry'"),
        ({"sampling": "grid"}, "`sampling` to be one of .*'mixup'.*found 'grid'"),
        ({"regularizer": {"isometric": -1}}, r"`regularizer\['isometric'\]` to be a finite number >= 0, found -1"),
        ({"regularizer": {"isometry": 1}}, "`regularizer` to be None, one of .*found 'isometry'"),
        ({"regularizer": {"irae": 1, "isometric": 1}}, r"Two of the regularizers \['irae', 'isometric'\] are the same"),
        ({"regularizer": {"irae": 1}, "strength": 0.1}, "A mapping of regularizers contains their weights"),
        ({"side": "left"}, "`side` to be None or one of .*found 'left'"),
        ({"regularizer": "curvature", "side": "encoder"}, "'curvature' acts on the decoder"),
        ({"regularizer": "mecae", "side": "both"}, "'curvature' acts on the decoder, so side='both'"),
        ({"regularizer": "cae", "side": "decoder"}, "'contractive' acts on the encoder"),
        ({"regularizer": "nrae", "side": "decoder"}, "'neighborhood' acts on both networks together"),
        ({"regularizer": {"irae": 1, "mcae": 1}, "side": "encoder"}, "'curvature' acts on the decoder"),
        ({"on_interrupt": "stop"}, r"`on_interrupt` to be one of \('raise', 'keep'\), found 'stop'"),
        ({"tolerance": 1}, "`tolerance` to be a finite number > 1, found 1"),
        ({"regularizer": None, "strength": "auto"}, "'auto' balances a penalty .* regularizer=None is not a penalty"),
        ({"regularizer": "dae", "strength": "auto"}, "regularizer='denoising' is not a penalty"),
        ({"neighbors_weight": -1}, "`neighbors_weight` to be a finite number >= 0, found -1"),
        ({"neighbors_scale": 0}, "`neighbors_scale` to be a finite number > 0, found 0"),
        ({"noise": float("inf")}, "`noise` to be a finite number >= 0, found inf"),
        (
            {"regularizer": "dae", "noise": 0.1},
            "strength of the regularizer 'denoising' is its noise; leave out noise=0.1",
        ),
        ({"n_neighbors": 0}, "`n_neighbors` to be an integer >= 1, found 0"),
        ({"regularizer": None, "strength": 0.1}, "strength=0.1 without a regularizer has no effect"),
        ({"equal_room": 1.1}, "`equal_room` to be a number from 0 to 1, found 1.1"),
        ({"equal_room": None}, "`equal_room` to be a number from 0 to 1, found None"),
        ({"equal_room": 1, "regularizer": "volume"}, "'volume' keeps areas, and equal_room=1 changes them"),
        ({"equal_room": 1, "regularizer": "iae", "refine": True}, "'unit_isometric' keeps areas"),
        ({"equal_room": 0.5, "refine": False}, "equal_room=0.5 acts in the refinement.*give refine=True"),
        ({"equal_room": 0.5, "neighbors_weight": 0}, "equal_room=0.5 acts in the refinement.*give refine=True"),
        ({"equal_room": 0.5, "side": "encoder"}, "equal_room=0.5 acts in the refinement.*give refine=True"),
        ({"equal_room": 0.5, "regularizer": None}, "equal_room=0.5 acts in the refinement.*give refine=True"),
        ({"equal_room": 1, "tsne_weight": 0}, "equal_room=1 has no effect without t-SNE's divergence"),
    ],
)
def test_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Settings(**given)


@for_each(
    "given, contrasted, noise",
    [
        ({}, True, None),
        ({"regularizer": "volume"}, True, None),
        ({"regularizer": {"curvature": 0.1, "irae": 0.1}}, True, None),
        ({"neighbors_weight": 0}, False, 0),
        ({"neighbors_weight": 0, "noise": 0.1}, False, 0.1),
        ({"noise": 0}, True, 0),
        ({"regularizer": None}, False, 0),
        ({"regularizer": None, "neighbors_weight": 0.1}, True, None),
        ({"regularizer": "iae"}, False, 0),
        ({"regularizer": "dae", "strength": 0.3}, False, 0.3),
        ({"regularizer": {"dae": 0.3, "irae": 0.1}}, True, 0.3),
    ],
)
def test_geometric_regularizers_come_with_the_contrastive_loss(given, contrasted, noise):
    settings = Settings(**given)
    assert (settings.contrastive is not None) == contrasted
    assert settings.noise == noise


def test_defaults_are_filled_in():
    assert Settings().strength == REGULARIZERS["isometric"].strength
    assert Settings(regularizer="geomae").regularizer == "volume"
    assert Settings(regularizer="geomae").strength == REGULARIZERS["volume"].strength
    assert Settings(regularizer=None).strength == 0
    assert Settings(hidden=64).hidden == (64,)
    assert Settings(hidden=[]).hidden == ()
    numpy = Settings(n_components=np.int64(3), strength=np.float32(0.5))
    assert type(numpy.n_components) is int
    assert type(numpy.strength) is float


def labels(**given):
    return {term.label: term.weight for term in Settings(**given).terms}


def test_terms():
    assert labels(regularizer="irae", strength=0.5) == {"isometric": 0.5}
    assert labels(regularizer="irae", strength=0) == {}
    assert labels(regularizer=None) == {}
    assert labels(regularizer={"irae": 0.5, "mecae": 0.1, "volume": 0}) == {"isometric": 0.5, "curvature": 0.1}
    assert Settings(regularizer={"irae": 0.5, "mecae": 0.1}).strength is None


@for_each(
    "given, expected",
    [
        ({}, {"conformal": 0.0375, "isometric": 0.15}),
        ({"strength": 0.4}, {"conformal": 0.075, "isometric": 0.3}),
        ({"regularizer": {"irae": 0.4, "curvature": 0.1}}, {"curvature": 0.1, "conformal": 0.075, "isometric": 0.3}),
        ({"regularizer": {"irae": 0.4, "confae": 0.5}}, {"conformal": 0.575, "isometric": 0.3}),
        ({"regularizer": "conformal"}, {"conformal": 0.5}),
        ({"regularizer": {"irae": 0.4, "volume": 0}}, {"conformal": 0.075, "isometric": 0.3}),
        ({"regularizer": None, "refine": True}, {}),
        (
            {"side": "both", "refine": True, "strength": 4},
            {"conformal": 0.75, "conformal_encoder": 0.75, "isometric": 3, "isometric_encoder": 3},
        ),
    ],
)
def test_equal_room_takes_from_the_isometric_penalty(given, expected):
    assert labels(**given, equal_room=0.25) == pytest.approx(expected)
    assert "isometric" not in labels(**given, equal_room=1)


def test_sides():
    assert labels(strength=1, side="encoder") == {"isometric_encoder": 1}
    assert labels(strength=1, side="both") == {"isometric": 1, "isometric_encoder": 1}
    # by default where their papers have them
    assert labels(regularizer="iae", strength=1) == {"unit_isometric": 1, "unit_isometric_encoder": 1}
    assert labels(regularizer="cae", strength=1) == {"contractive": 1}
    assert labels(regularizer="nrae", strength=1) == {"neighborhood": 1}


def test_sampling():
    assert Settings().sampling == "data"
    assert Settings(regularizer="iae").sampling == "gaussian"
    assert Settings(regularizer="iae", sampling="uniform").sampling == "uniform"
    assert Settings(regularizer={"iae": 1, "irae": 1}).sampling == "data"


def test_every_regularizer_has_a_default_strength():
    for name in REGULARIZERS:
        settings = Settings(regularizer=name)
        assert (settings.terms[0].weight if settings.terms else settings.noise) == REGULARIZERS[name].strength


def test_auto():
    settings = Settings(regularizer="geomae", strength="auto")
    assert settings.is_auto
    assert settings.terms[0].weight == REGULARIZERS["volume"].strength
    assert Settings(regularizer={"irae": 2}, strength="auto").terms[0].weight == 2
    assert not Settings().is_auto


@for_each(
    "given, n_steps, expected",
    [
        ({}, 1000, 2),
        ({}, 999, 1),
        ({"regularizer": "volume", "side": "encoder"}, 1000, 2),
        ({"regularizer": "conformal", "side": "both"}, 1000, 2),
        ({"regularizer": {"irae": 0.1, "volume": 0.1}}, 1000, 2),
        ({"sampling": "mixup"}, 1000, 2),
        ({"strength": "auto"}, 1000, 1),
        ({"regularizer": {"irae": 0.1, "curvature": 0.1}}, 1000, 1),
        ({"regularizer": "gradient_penalty"}, 1000, 1),
        ({"regularizer": "curvature"}, 1000, 1),
    ],
)
def test_which_penalties_are_lazy(given, n_steps, expected):
    assert Settings(**given).penalty_interval(n_steps) == expected
