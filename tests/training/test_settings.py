from __future__ import annotations

import numpy as np
import pytest

from scgeoae.training import STRENGTHS, Settings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_components": 0}, "`n_components` to be an integer >= 1, found 0"),
        ({"n_components": 2.5}, "`n_components` to be an integer >= 1, found 2.5"),
        ({"n_components": True}, "`n_components` to be an integer >= 1, found True"),
        ({"batch_size": 1}, "`batch_size` to be an integer >= 2, found 1"),
        ({"n_steps": 0}, "`n_steps` to be an integer >= 1, found 0"),
        ({"hidden": (64, 0)}, "`hidden` to be an integer >= 1, found 0"),
        ({"activation": "relu"}, "`activation` to be one of .*found 'relu'"),
        ({"strength": -0.1}, "`strength` to be a finite number >= 0, found -0.1"),
        ({"strength": float("nan")}, "`strength` to be a finite number >= 0, found nan"),
        ({"strength": "auto"}, "`strength` to be a finite number >= 0, found 'auto'"),
        ({"learning_rate": 0}, "`learning_rate` to be a finite number > 0, found 0"),
        ({"learning_rate": float("inf")}, "`learning_rate` to be a finite number >= 0, found inf"),
        ({"regularizer": "isometry"}, "`regularizer` to be None, one of .*found 'isometry'"),
        ({"sampling": "grid"}, "`sampling` to be one of .*'mixup'.*found 'grid'"),
        ({"regularizer": {"isometric": -1}}, r"`regularizer\['isometric'\]` to be a finite number >= 0, found -1"),
        ({"regularizer": {"isometry": 1}}, "`regularizer` to be None, one of .*found 'isometry'"),
        ({"regularizer": {"irae": 1, "isometric": 1}}, r"Two of the regularizers \['irae', 'isometric'\] are the same"),
        ({"regularizer": {"irae": 1}, "strength": 0.1}, "A mapping of regularizers has its weights in itself"),
        ({"regularizer": None, "strength": 0.1}, "strength=0.1 without a regularizer has no effect"),
    ],
)
def test_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Settings(**given)


def test_settled():
    assert Settings().strength == STRENGTHS["isometric"]
    assert Settings(regularizer="geomae").regularizer == "volume"
    assert Settings(regularizer="geomae").strength == STRENGTHS["volume"]
    assert Settings(regularizer=None).strength == 0
    assert Settings(hidden=64).hidden == (64,)
    assert Settings(hidden=[]).hidden == ()
    numpy = Settings(n_components=np.int64(3), strength=np.float32(0.5))
    assert type(numpy.n_components) is int
    assert type(numpy.strength) is float


def test_weights():
    assert Settings(regularizer="irae", strength=0.5).weights == {"isometric": 0.5}
    assert Settings(regularizer="irae", strength=0).weights == {}
    assert Settings(regularizer=None).weights == {}
    several = Settings(regularizer={"irae": 0.5, "mecae": 0.1, "volume": 0})
    assert several.weights == {"isometric": 0.5, "curvature": 0.1}
    assert several.strength is None
