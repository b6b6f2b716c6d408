"""A map stored in an AnnData, read as one object."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np
import torch

from .._matrix import dense
from ..geometry.distortion_measures import log_area
from ..nn import Autoencoder
from ..nn.arrays import NewerFormatError, from_arrays
from .columns import entry_in_memory, obs_numbers
from .original import check_cells, check_counts, is_unchanged
from .representation import real_graph, real_matrix, stored_representation
from .slots import Slots, embedding_slot, map_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from scipy import sparse
    from torch import Tensor

    from ..nn import MapDecoder
    from ..nn.genes import Expression, Genes
    from .params import Params
    from .representation import Representation
    from .slots import Side

Kind = Literal["autoencoder", "counts", "fitted", "laplacian"]
"""What a map is based on: an autoencoder, a model of counts, a model fitted to an embedding, or an estimated metric."""

# Outside this range, squares of positions do not fit into float32.
SMALLEST, LARGEST = 1e-18, 1e18
# One ruler is honest up to this ratio of the 90% to the 10% quantile of the local scale: at 1.5, lengths at
# these quantiles differ by ± 22% from those in the middle, as much as the most certain ruler measured so far may err.
UNIFORM = 1.5
# Stored parameters that are read, and their valid values.
VALID: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "use_rep": ("a name", lambda value: isinstance(value, str)),
    "layer": ("a name", lambda value: isinstance(value, str)),
    "size_factor_key": ("a name", lambda value: isinstance(value, str)),
    "n_pcs": ("an integer >= 1", lambda value: isinstance(value, Integral) and int(value) >= 1),
    "n_cells": ("an integer >= 1", lambda value: isinstance(value, Integral) and int(value) >= 1),
    "library_size": ("a finite number > 0", lambda value: isinstance(value, Real) and 0 < float(value) < np.inf),
    "refine": ("True or False", lambda value: isinstance(value, bool | np.bool_)),
    "tsne_weight": ("a finite number >= 0", lambda value: isinstance(value, Real) and 0 <= float(value) < np.inf),
    "perplexity": ("a finite number > 1", lambda value: isinstance(value, Real) and 1 < float(value) < np.inf),
    "equal_room": ("a number from 0 to 1", lambda value: isinstance(value, Real) and 0 <= float(value) <= 1),
}


class Unit(NamedTuple):
    """The meaning of a length on the map in the representation."""

    name: str
    """Name in the plural, such as ``units of X_pca``."""
    per_length: float
    """Number of these units per unit of length on the map."""
    is_mean: bool
    """Whether this number is only an average."""
    spread: float | None = None
    """Largest relative error for two thirds of the pairs of cells, if it was measured."""
    local: tuple[float, float, float] | None = None
    """The 10% quantile, the median and the 90% quantile over the cells of the local scale, if one ruler would mislead.

    The local scale is the length in the representation of a small step on the map, averaged over all directions. Here
    it is relative to `per_length`.
    """

    def words(self, number: float) -> str:
        """Return a number of units, such as ``1 unit of X_pca``."""
        return f"{number:g} {self.name if number != 1 else self.name.replace('units', 'unit', 1)}"


@dataclass(frozen=True)
class Map:
    """A map in an AnnData. Each part is read and checked only once, when it is first used.

    `read_map` creates it. Errors say what is missing or damaged, and which call creates it again.
    """

    adata: AnnData
    key: str
    """Name of the map, without ``X_``."""
    kind: Kind | None
    """None if the embedding was not measured yet."""
    slot: str | None
    """Key of the positions in `obsm`."""
    entry: str
    """Key of the record in `uns`."""

    @property
    def slots(self) -> Slots:
        """Names of the slots. For metric tensors, those of the decoder."""
        return Slots(self.key)

    @property
    def _stored(self) -> Mapping[str, Any]:
        """The record in `uns`, empty if there is something else, since other packages write there, too."""
        stored = self.adata.uns.get(self.entry)
        return stored if isinstance(stored, Mapping) else {}

    @property
    def has_model(self) -> bool:
        """Whether a model is stored."""
        return "model" in self._stored

    @property
    def is_own(self) -> bool:
        """Whether the positions were computed by scgeoae, together with a decoder."""
        return self.has_model and self.entry == self.key

    @cached_property
    def positions(self) -> NDArray[Any]:
        """Copy of the (n, d) positions, float32 or float64."""
        if self.slot is None:
            raise self._not_found(f"adata.obsm[{self.slots.embedding!r}]")
        z = real_matrix(self.adata.obsm[self.slot], f"adata.obsm[{self.slot!r}]")
        if not len(z):
            msg = f"There are no cells in adata, so that adata.obsm[{self.slot!r}] shows nothing."
            raise ValueError(msg)
        good = (np.abs(z) < LARGEST).all(1)
        joined = " To join cells that are not on the map, place them first, with sg.tl.transform(new_cells, adata)."
        hint = joined if np.isnan(z[~good]).all(1).any() else ""
        self._require(self.slot, good, "positions", "not finite or beyond 1e18", hint=hint)
        if 0 < np.ptp(z, axis=0).max(initial=0) < SMALLEST:
            self._require(self.slot, np.zeros(len(z), dtype=bool), "positions", "within 1e-18")
        return z

    @property
    def n_components(self) -> int:
        """Number of dimensions."""
        return self.positions.shape[1]

    def metric(self, side: Side = "decoder") -> NDArray[Any]:
        """Return the (n, d, d) metric tensors at the cells."""
        if side not in self._metrics:
            self._metrics[side] = self._read_metric(side)
        return self._metrics[side]

    @cached_property
    def _metrics(self) -> dict[Side, NDArray[Any]]:
        return {}

    def _read_metric(self, side: Side) -> NDArray[Any]:
        return self._tensors(Slots(self.key, side).metric, "tensors")

    @cached_property
    def ellipses(self) -> NDArray[Any]:
        """(n, d, d) matrices S of the ellipses {v : vᵀ S⁻¹ v ≤ 1} that hold the positions on other maps."""
        given = "" if self.key == "geoae" else f", key={self.key!r}"
        return self._tensors(self.slots.stability, "ellipses", f"sg.tl.stability(adata{given})")

    def _tensors(self, slot: str, what: str, call: str | None = None) -> NDArray[Any]:
        """Return (n, d, d) symmetric matrices from their upper triangles. `call` writes them."""
        if slot not in self.adata.obsm:
            raise self._not_found(f"adata.obsm[{slot!r}]", call)
        triangle = real_matrix(self.adata.obsm[slot], f"adata.obsm[{slot!r}]")
        d = int((np.sqrt(8 * triangle.shape[1] + 1) - 1) / 2)
        if d * (d + 1) // 2 != triangle.shape[1]:
            msg = (
                f"adata.obsm[{slot!r}] has {triangle.shape[1]} columns, which do not form the upper triangle of a "
                f"square matrix: it was changed after it was written; run {call or self.call} again."
            )
            raise ValueError(msg)
        tensors = from_triangles(triangle)
        is_finite = (np.abs(triangle) <= np.finfo(np.float32).max).all(1)
        is_positive = np.trace(tensors, axis1=1, axis2=2) > 0
        self._require(slot, is_finite & is_positive, what, "zero or not finite", call)
        return tensors

    def relative_log_area(self, side: Side = "decoder") -> Callable[[Tensor], Tensor]:
        """Return a function from (m, d, d) tensors to their log area relative to the mean over the whole run."""
        # the mean is over all cells of the run, and `adata` may have only some of them
        column = self.column(Slots(self.key, side).log_area)
        shift = float(np.median(column - log_area(torch.from_numpy(self.metric(side))).numpy()))
        return lambda metric: (log_area(metric) + shift).to(metric.dtype)

    @cached_property
    def graph(self) -> sparse.csr_matrix:
        """(n, n) Riemannian edge lengths of the metric graph."""
        graph = self._graph(self.slots.distances)
        if not (np.isfinite(graph.data) & (graph.data >= 0)).all():
            msg = (
                f"adata.obsp[{self.slots.distances!r}] has lengths that are negative or not finite, although all were "
                f"valid when they were written: run {self.call} again."
            )
            raise ValueError(msg)
        return graph

    @cached_property
    def torn(self) -> sparse.csr_matrix:
        """(n, n) torn edges of the neighbor graph of the representation."""
        return self._graph(self.slots.torn, f"sg.tl.distortion(adata, basis={self.key!r})")

    def _needs_sample(self, given: str) -> str:
        return (
            f"adata has {self.adata.n_obs} cells, and the map in adata.obsm[{self.slot!r}] was made of a sample of "
            f"{self.n_cells}. This call needs the sample: give {given}."
        )

    @property
    def _call_of_sample(self) -> str:
        return f"adata[np.asarray(adata.uns[{self.entry!r}]['sample'])].to_memory()"

    def _graph(self, slot: str, call: str | None = None) -> sparse.csr_matrix:
        if slot not in self.adata.obsp:
            raise self._no_graph(slot, call)
        if call is None and self._is_taken_out:
            msg = (
                f"Of the graph of all cells, adata.obsp[{slot!r}] has only the edges between cells of the sample. Give "
                "all cells, or the sample that sg.tl.atlas returned, which has its own graph."
            )
            raise ValueError(msg)
        return real_graph(self.adata.obsp[slot], f"adata.obsp[{slot!r}]")

    def _no_graph(self, slot: str, call: str | None) -> KeyError:
        is_own = call is None
        if is_own and self.sample is not None:
            return KeyError(
                self._needs_sample("the one that sg.tl.atlas returned, which has its graph")
                + " Or call sg.tl.atlas with graph=True, which writes the graph of all cells."
            )
        written = {} if self.kind is None else self._stored
        if is_own and written and "distances_key" not in written:
            msg = (
                f"Did not find adata.obsp[{slot!r}]: cells that sg.tl.transform or sg.tl.atlas placed have no graph. "
                "Give the AnnData in which the map was made."
            )
            return KeyError(msg)
        lost = ""
        if ("distances_key" if is_own else "torn") in written:
            lost = " It was there: anndata.concat drops obsp, unless pairwise=True tells it not to."
        return self._not_found(f"adata.obsp[{slot!r}]", call, lost)

    def column(self, name: str, call: str | None = None) -> NDArray[np.float64]:
        """Return a column of finite numbers of `obs`. `call` writes it, by default the call that makes the map."""
        if name not in self.adata.obs:
            raise self._not_found(f"adata.obs[{name!r}]", call)
        values = obs_numbers(self.adata, name)
        if bad := np.count_nonzero(~np.isfinite(values)):
            msg = (
                f"{bad} of {self.adata.n_obs} cells have no finite number in adata.obs[{name!r}], although all had "
                f"one when it was written: drop these cells or run {call or self.call} again."
            )
            raise ValueError(msg)
        return values

    @cached_property
    def params(self) -> Params:
        """Parameters of the run."""
        stored = self.record("params")
        if not isinstance(stored, Mapping):
            raise self._damaged(f"'params' is not a dictionary: {reprlib.repr(stored)}")
        for name, (kind, is_valid) in VALID.items():
            if (name in stored and not is_valid(stored[name])) or (name == "use_rep" and name not in stored):
                raise self._damaged(f"in 'params', {name!r} is not {kind}: {reprlib.repr(stored.get(name))}")
        return cast("Params", dict(stored))

    @cached_property
    def scores(self) -> dict[str, float]:
        """Scores of the run."""
        stored = self.record("scores")
        if not isinstance(stored, Mapping):
            raise self._damaged(f"'scores' is not a dictionary: {reprlib.repr(stored)}")
        for name, value in stored.items():
            if not isinstance(value, Real):
                raise self._damaged(f"in 'scores', {name!r} is not a number: {reprlib.repr(value)}")
        return {name: float(value) for name, value in stored.items()}

    @cached_property
    def model(self) -> MapDecoder:
        """The trained model, on the CPU."""
        arrays = self.record("model")
        try:
            model = from_arrays(arrays)
        except NewerFormatError as error:
            msg = f"The model in adata.uns[{self.entry!r}] cannot be read: {error}."
            raise ValueError(msg) from None
        except ValueError as error:
            raise self._damaged(f"in 'model', {error}") from None
        shape = (0, model.n_components) if self.slot is None else self.adata.obsm[self.slot].shape
        if shape[1:] != (model.n_components,):
            problem = f"'model' is of {model.n_components} dimensions, and adata.obsm[{self.slot!r}] of shape {shape}"
            raise self._damaged(problem)
        return model

    @property
    def autoencoder(self) -> Autoencoder:
        """The model, or an error if it has no encoder."""
        if isinstance(self.model, Autoencoder):
            return self.model
        msg = (
            f"The encoder of adata.obsm[{self.slots.embedding!r}] takes counts, and stays with its model: place cells "
            "by GeoSCVI.to_anndata(adata_new), after GeoSCVI.load_query_data where their batches are new."
        )
        raise ValueError(msg)

    @cached_property
    def representation(self) -> Representation:
        """The representation that the map was made from, with genes in the order of the model.

        A digest shows whether it is unchanged. Otherwise cells or genes may have been removed or reordered, and each
        cell is checked against its stored reconstruction error.
        """
        model, n_cells, use_rep = self.model, self.n_cells, self.params["use_rep"]
        if self.lacks_components:
            msg = (
                f"Did not find {use_rep!r} in adata.obsm: the components are those of the sample that the map was made "
                "of, and the store does not have them. Give the one that sg.tl.atlas returned, or name another "
                "representation with `use_rep` where the function takes it."
            )
            raise KeyError(msg)
        names = None if model.genes is None else model.genes.names
        found = stored_representation(self.adata, self.params, names, model.n_features)
        if isinstance(model, Autoencoder):
            if not (self.adata.n_obs == n_cells and is_unchanged(found, self.params)):
                stored = self.slots.reconstruction_error
                check_cells(
                    found,
                    model,
                    torch.from_numpy(self.positions).float(),
                    error=obs_numbers(self.adata, stored) if stored in self.adata.obs else None,
                    is_approximate=bool(self.params.get("refine", False)) or not self.is_own,
                    cells=self.adata.obs_names,
                    name=f"the map in adata.obsm[{self.slot!r}]",
                )
        elif model.genes is not None:
            check_counts(found, model.genes, f"the map in adata.obsm[{self.slot!r}]", whole=self.adata.n_obs == n_cells)
        return found

    @property
    def n_cells(self) -> int:
        """Number of cells that the map was made from."""
        return int(self.params.get("n_cells", self.adata.n_obs))

    @cached_property
    def sample(self) -> NDArray[np.intp] | None:
        """Rows of the cells that the map was made from, if `adata` has all cells of `scgeoae.tl.atlas`."""
        rows = self._rows_of_sample
        return rows if rows is not None and self.adata.n_obs != self.n_cells else None

    @property
    def _rows_of_sample(self) -> NDArray[np.intp] | None:
        return dense(self._stored["sample"]) if "sample" in self._stored else None

    @property
    def _is_taken_out(self) -> bool:
        """Whether `adata` is the sample of an atlas, taken out of all cells."""
        rows, n = self._rows_of_sample, self.adata.n_obs
        return rows is not None and n == self.n_cells and bool(rows.max(initial=-1) >= n)

    @property
    def lacks_components(self) -> bool:
        """Whether the components of the sample of an atlas were computed for its map, and its store lacks them."""
        return "sample" in self._stored and self.params["use_rep"] not in ("X", *self.adata.obsm)

    def check_whole(self) -> None:
        """Raise if `adata` does not have just the cells that the map was made from."""
        if self.sample is not None:
            raise ValueError(
                self._needs_sample("the one that sg.tl.atlas returned, or sample = " + self._call_of_sample)
            )
        if self.adata.n_obs != self.n_cells:
            msg = (
                f"adata has {self.adata.n_obs} cells, and the map in adata.obsm[{self.slot!r}] was made of "
                f"{self.n_cells}. This call needs all of them: give the AnnData in which it was made (sg.tl.transform "
                "takes allow_subset=True)."
            )
            raise ValueError(msg)

    @property
    def genes(self) -> Genes:
        """The genes that the map knows."""
        if self.model.genes is None:
            msg = (
                "The map knows no genes, because adata.X had no real numbers when it was made. Make it again "
                "on an AnnData that has them."
            )
            raise ValueError(msg)
        return self.model.genes

    @property
    def source_of_genes(self) -> str:
        """Where the genes were when the map was made, for error messages."""
        return "adata.X" if self.genes.layer is None else f"adata.layers[{self.genes.layer!r}]"

    def expression(self, genes: Sequence[str] | None) -> Expression:
        """Return how to read `genes` off the representation, by default all genes that it is computed from."""
        if genes is not None and not genes:
            msg = "Expected `genes` to name a gene, found an empty list."
            raise KeyError(msg)
        try:
            return self.genes.choose(genes)
        except KeyError as error:
            missing = ", ".join(repr(str(gene)) for gene in error.args[0][:5])
            msg = (
                f"Did not find {missing} among the {len(self.genes.names)} genes of the map, which are those that "
                f"{self.source_of_genes} or adata.raw had, with finite values, when it was made."
            )
            raise KeyError(msg) from None

    @cached_property
    def unit(self) -> Unit:
        """The length in the representation of one unit of length on the map.

        It is the median, over pairs of cells, of the distance between the decoded points relative to the distance on
        the map. If that was not measured, a map of scgeoae has the unit of its representation; on any other map, a step
        of 1 has the length √(mean of tr G/d over the cells).
        """
        name, scores = self._unit_name, self.scores
        if 0 < scores.get("chord", 0) < np.inf:
            error = scores.get("chord_spread", np.nan)
            spread = error if np.isfinite(error) else None
            unit = Unit(name, 1 / scores["chord"], is_mean=True, spread=spread)
        elif self.is_own:
            unit = Unit(name, 1.0, is_mean=False)
        else:
            metric = self.metric()
            mean = np.trace(metric, axis1=1, axis2=2).mean(dtype=np.float64) / metric.shape[-1]
            unit = Unit(name, float(np.sqrt(mean)), is_mean=True)
        return unit._replace(local=self._local_scale(unit.per_length))

    def _local_scale(self, per_length: float) -> tuple[float, float, float] | None:
        # without them, or with two columns, there is one bar
        has_column = list(self.adata.obs.columns).count(self.slots.log_area) == 1
        if not has_column or self.slots.metric not in self.adata.obsm:
            return None
        column = obs_numbers(self.adata, self.slots.log_area)
        column = column[np.isfinite(column)]
        if not len(column):
            return None
        # logarithms of areas, relative to the mean of the whole map, of which there may be only a part. They tell most
        # maps apart without reading their tensors
        low, high = np.quantile(column, [0.1, 0.9]) / self.n_components
        if max(high, 0) - min(low, 0) <= np.log10(UNIFORM):
            return None
        area = log_area(torch.from_numpy(self.metric())).numpy()
        low, middle, high = np.quantile(area, [0.1, 0.5, 0.9]) / self.n_components
        # those of damaged tensors may be far apart
        low, high = np.clip([low, high], middle - 9, middle + 9)
        return float(10**low / per_length), float(10**middle / per_length), float(10**high / per_length)

    @property
    def _unit_name(self) -> str:
        ambient = self.params.get("ambient")
        if self.kind == "counts":
            return "units of the Fisher metric" if str(ambient) == "fisher" else "units of log1p expression"
        representation = self.params.get("layer", self.params["use_rep"])
        if ambient is None:
            return f"units of {representation}"
        if isinstance(ambient, str) and ambient == "mahalanobis":
            return f"standard deviations of {representation}"
        return f"units of the ambient metric on {representation}"

    def record(self, name: str) -> Any:
        """Return an entry of the record in `uns`."""
        if self.kind is None:
            lost = ""
            if self.slots.metric in self.adata.obsm:
                lost = " Its tensors are there: anndata.concat drops uns, unless uns_merge='first' tells it not to."
            raise self._not_found(f"adata.uns[{self.entry!r}]", hint=lost)
        if name in self._stored:
            return entry_in_memory(self._stored[name])
        if name == "model" and self.kind == "laplacian":
            msg = (
                f"The tensors of adata.obsm[{self.slot!r}] were estimated by the graph Laplacian, which has no model: "
                f"they are there at the cells and nowhere else. Run sg.tl.distortion(adata, basis={self.key!r}, "
                "method='decoder') for a model."
            )
            raise ValueError(msg)
        raise self._damaged(f"the entry {name!r} is missing")

    @property
    def call(self) -> str:
        """The call that makes or measures the map."""
        if self.kind == "counts" or self.key == "geoscvi":
            return "the method to_anndata() of a trained sg.model.GeoSCVI"
        is_foreign = (
            self.kind is None
            and self.slot is not None
            and (self.key in self.adata.uns or self.slots.metric not in self.adata.obsm)
        )
        if self.kind in ("fitted", "laplacian") or is_foreign:
            return f"sg.tl.distortion(adata, basis={self.key!r})"
        return "sg.tl.geoae(adata)" if self.key == "geoae" else f"sg.tl.geoae(adata, key_added={self.key!r})"

    def _not_found(self, slot: str, call: str | None = None, hint: str = "") -> KeyError:
        return KeyError(f"Did not find {slot}; run {call or self.call} first.{hint}")

    def _damaged(self, problem: str) -> ValueError:
        return ValueError(f"adata.uns[{self.entry!r}] is damaged: {problem}. Run {self.call} again.")

    def _require(
        self, slot: str, good: NDArray[np.bool_], what: str, problem: str, call: str | None = None, *, hint: str = ""
    ) -> None:
        if bad := np.count_nonzero(~good):
            msg = (
                f"{bad} of {len(good)} {what} in adata.obsm[{slot!r}] are {problem}, although all were valid when "
                f"they were written: drop these cells or run {call or self.call} again.{hint}"
            )
            raise ValueError(msg)


def from_triangles(triangles: NDArray[Any]) -> NDArray[Any]:
    """Return (n, d, d) symmetric matrices, given their upper triangles row by row, (n, d(d+1)/2)."""
    d = int((np.sqrt(8 * triangles.shape[1] + 1) - 1) / 2)
    matrices = np.empty((len(triangles), d, d), dtype=triangles.dtype)
    rows, columns = np.triu_indices(d)
    matrices[:, rows, columns] = matrices[:, columns, rows] = triangles
    return matrices


def read_map(adata: AnnData, key: str, argument: str = "key") -> Map:
    """Return a map by its name or its key of `obsm`. Errors call the name `argument`."""
    key = map_key(adata, key, argument)
    entry = f"{key}_distortion" if f"{key}_distortion" in adata.uns else key
    return Map(adata, key, _kind(adata.uns, key, entry), embedding_slot(adata, key), entry)


def _kind(uns: Mapping[str, Any], key: str, entry: str) -> Kind | None:
    stored = uns.get(entry)
    record: Mapping[str, Any] = stored if isinstance(stored, Mapping) else {}
    params = record.get("params")
    if entry != key:
        is_estimate = isinstance(params, Mapping) and str(params.get("method")) == "laplacian"
        return "laplacian" if is_estimate else "fitted"
    # another package may have left its own parameters there, as sc.tl.umap does
    if stored is None or (record and not {"history", "scores", "model"} & set(record)):
        return None
    return "counts" if isinstance(params, Mapping) and "library_size" in params else "autoencoder"
