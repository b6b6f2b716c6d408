"""Damage done to a stored model: edits of the tree of its entries, and of the bytes of its file."""

from __future__ import annotations

import json
import struct
import warnings
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from safetensors.numpy import save
from scipy import sparse

DROP = "DROP"


class Edit(NamedTuple):
    """One change of a tree of dictionaries."""

    path: tuple[str, ...]
    change: Any
    """`DROP`, the name of one of `TURNS`, or a list of the new value."""


def _spoiled(array: Any, value: float) -> Any:
    array = np.array(array, dtype=np.float32)
    array.reshape(-1)[array.size // 2 : array.size // 2 + 1] = value
    return array


def _held(value: Any) -> Any:
    held = np.empty((), dtype=object)
    held[()] = value
    return held


TURNS = {
    "transposed": lambda a: np.array(np.transpose(a), order="C"),
    "flat": np.ravel,
    "cut": lambda a: np.atleast_1d(a)[:-1],
    "deeper": lambda a: np.asarray(a)[None],
    "twice": lambda a: np.concatenate([np.atleast_1d(a)] * 2),
    "empty": lambda a: np.atleast_1d(a)[:0],
    "huge": lambda a: np.broadcast_to(np.asarray(a).reshape(-1)[:1], (10**6, 10**6)),
    "NaN": lambda a: _spoiled(a, np.nan),
    "infinite": lambda a: _spoiled(a, -np.inf),
    "large": lambda a: _spoiled(a, 1e38),
    "zero": np.zeros_like,
    "negative": lambda a: -np.asarray(a),
    "float16": lambda a: np.asarray(a).astype(np.float16),
    "float64": lambda a: np.asarray(a).astype(np.float64) * 1e300,
    "int64": lambda a: np.asarray(a).astype(np.int64),
    "bool": lambda a: np.asarray(a).astype(bool),
    "complex": lambda a: np.asarray(a) * (1 + 1j),
    "text": lambda a: np.asarray(a).astype(str),
    "objects": lambda a: np.asarray(a).astype(object),
    "list": lambda a: np.asarray(a).tolist(),
    "0-d": lambda a: np.asarray(a).reshape(-1)[0],
    "in an object": _held,
    "in a list": lambda a: [a],
    "in a dict": lambda a: {"a": a},
    "sparse": lambda a: sparse.csr_matrix(np.atleast_2d(a)),
    "frame": lambda a: pd.DataFrame(np.atleast_2d(a)),
    "masked": lambda a: np.ma.masked_array(a, mask=np.ones(np.shape(a), dtype=bool)),
    "bytes": lambda a: np.asarray(a).tobytes(),
}

# what stands somewhere in a good file, so that it may come to stand elsewhere
WORDS = [
    *("X", "X_pca", "X_umap", "X_geoae", "umap", "counts", "silu", "relu", "linear", "softmax", "layer_norm"),
    *("mahalanobis", "fisher", "linear relu linear softmax", "encoder.linear", "ambient", "weights", "spam", "", "/"),
]
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 2, 3, 4, 6, 10**6, 10**9, 2**31, 2**63, 10**30]),
    st.sampled_from([0.5, -1.0, 1e-45, 1e300, float("nan"), float("inf"), float("-inf")]),
    st.sampled_from(WORDS),
    st.text(max_size=8),
)
JSON = st.recursive(
    PLAIN,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(WORDS), inner, max_size=3)),
    max_leaves=5,
)
OBJECTS = st.one_of(
    JSON,
    st.binary(max_size=8),
    st.sampled_from(
        [
            *(
                np.float32(2),
                np.int64(3),
                np.str_("X"),
                np.bool_(True),
                np.array(2),
                np.array("X"),
                np.array(None),
                np.array([]),
            ),
            *(np.zeros((0, 2)), np.eye(6), np.zeros((3, 3)), np.ones(6), np.array(["a", None], dtype=object)),
            *(
                np.array([(1, 2.0)], dtype=[("a", int), ("b", float)]),
                np.datetime64("2020-01-01"),
                1j,
                pd.NA,
                (),
                {1: 2},
            ),
            *(pd.Series([1.0, 2.0]), set(), object(), len, range(3)),
        ]
    ),
)


def paths_of(tree: Any, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the paths to all entries of a tree of dictionaries."""
    found = []
    for name, value in tree.items():
        found.append((*at, name))
        if isinstance(value, dict):
            found += paths_of(value, (*at, name))
    return found


@st.composite
def edits(draw: Any, paths: list[tuple[str, ...]], values: Any, *, most: int = 3, least: int = 0) -> list[Edit]:
    """Draw edits of the entries at `paths`, or beside them."""
    new = st.one_of(PLAIN, values).map(lambda value: [value])
    changes = st.one_of(st.just(DROP), st.sampled_from(sorted(TURNS)), new)
    beside = st.tuples(st.sampled_from(paths), st.sampled_from(WORDS)).map(lambda found: (*found[0][:-1], found[1]))
    # weights are many, and the descriptions above them few
    levels = [[path for path in paths if len(path) == depth] for depth in sorted(set(map(len, paths)))]
    where = st.one_of(*map(st.sampled_from, levels), beside)
    return draw(st.lists(st.builds(Edit, where, changes), min_size=least, max_size=most))


def edited(tree: Any, changes: list[Edit]) -> Any:
    """Return a copy of a tree with edits, as far as they mean something."""
    tree = deepcopy(tree)
    for (*way, name), change in changes:
        parent = tree
        for step in way:
            parent = parent.get(step) if isinstance(parent, dict) else None
        if not isinstance(parent, dict):
            continue
        if isinstance(change, list):
            parent[name] = change[0]
        elif name in parent and change == DROP:
            del parent[name]
        elif name in parent:
            try:
                with warnings.catch_warnings(action="ignore"):
                    parent[name] = TURNS[change](parent[name])
            except (ValueError, TypeError, IndexError, AttributeError, OverflowError, MemoryError):
                continue  # as there is no sign to change of a text
    return tree


def file_of(arrays: Any) -> bytes:
    """Return the bytes of the file of a model, as far as the format can hold them."""
    arrays = dict(arrays)
    weights = arrays.pop("weights", {})
    tensors = {str(name): a for name, a in weights.items() if _is_storable(a)} if isinstance(weights, dict) else {}
    if _is_storable(arrays.get("ambient")):
        tensors["ambient"] = arrays.pop("ambient")
    # what is huge is so by strides of 0, which a file does not have
    small = {name: a for name, a in arrays.items() if not hasattr(a, "shape") or np.size(a) < 10**5}
    description = {name: a.tolist() if hasattr(a, "tolist") else a for name, a in small.items()}
    # safetensors 0.4 does not write the metadata of no tensors at all
    return save(tensors or {"spam": np.zeros(1)}, metadata={"scgeoae": json.dumps(description, default=repr)})


def _is_storable(a: Any) -> bool:
    return (
        isinstance(a, np.ndarray) and a.dtype.kind in "fiub" and a.size < 10**5 and not isinstance(a, np.ma.MaskedArray)
    )


def header_of(content: bytes) -> tuple[Any, bytes]:
    """Return the header of a safetensors file and what follows it."""
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def with_header(header: Any, rest: bytes) -> bytes:
    """Return a file with a header, whatever that says."""
    text = json.dumps(header, default=repr).encode()
    return struct.pack("<Q", len(text)) + text + rest


class Splice(NamedTuple):
    """One change of some bytes."""

    start: int
    length: int
    new: bytes


SPLICES = st.lists(
    st.builds(Splice, st.integers(0, 2**14), st.sampled_from([0, 1, 2, 4, 8, 64, 2**14]), st.binary(max_size=16)),
    max_size=3,
)


def spliced(content: bytes, splices: list[Splice]) -> bytes:
    """Return bytes with changes."""
    for start, length, new in splices:
        at = start % (len(content) + 1)
        content = content[:at] + new + content[at + length :]
    return content
