"""The pictures of docs/indicatrices.md: ``python docs/images/indicatrices.py``."""

import matplotlib.pyplot as plt
import numpy as np
import scanpy as sc
import torch
from matplotlib.patches import Ellipse
from small_png import save

import scgeoae as sg


def ellipses() -> None:
    """Draw the indicatrix of five metric tensors, on squares of one unit of the map."""
    tensors = {
        "G = I\nas in the data": np.diag([1.0, 1.0]),
        "G = 4 I\nmap too small": np.diag([4.0, 4.0]),
        "G = I/2\nmap too large": np.diag([0.5, 0.5]),
        "G = diag(1/2, 2)\narea kept, shape not": np.diag([0.5, 2.0]),
        "G = diag(1/4, 4), turned\nthe same, more of it": np.array([[17.0, -15.0], [-15.0, 17.0]]) / 8,
    }
    figure, panels = plt.subplots(1, len(tensors), figsize=(11, 2.5), layout="constrained")
    for ax, (title, metric) in zip(panels, tensors.items(), strict=True):
        long, short = sg.geometry.indicatrix_axes(torch.from_numpy(metric)[None])[0].numpy().T
        angle = np.degrees(np.arctan2(long[1], long[0]))
        width, height = 2 * np.hypot(*long), 2 * np.hypot(*short)
        ax.add_patch(Ellipse((0, 0), 2, 2, fill=False, color="0.6", linestyle=":"))
        ax.add_patch(Ellipse((0, 0), width, height, angle=angle, facecolor="#dbe9f6", edgecolor="black"))
        ax.set(xlim=(-2.1, 2.1), ylim=(-2.1, 2.1), xticks=[], yticks=[], aspect="equal")
        ax.set_title(title, fontsize=10)
    save(figure, "indicatrices_tensors")


def sphere() -> None:
    """Draw three maps of the same patch of a sphere: Mercator's, Lambert's and ours."""
    adata = sg.datasets.sphere_patch(n_obs=700)
    x, y, z = adata.X.astype(float).T
    # its centre on the equator, as the middle of an atlas
    latitude, longitude = np.arcsin(y), np.arctan2(x, z)
    adata.obs["latitude"] = np.degrees(latitude)
    adata.obsm["X_mercator"] = np.stack([longitude, np.arctanh(np.sin(latitude))], axis=1)
    adata.obsm["X_lambert"] = np.stack([longitude, np.sin(latitude)], axis=1)
    titles = {"mercator": "Mercator: angles kept", "lambert": "Lambert: areas kept", "geoae": "sg.tl.geoae"}
    for basis in ("mercator", "lambert"):
        sg.tl.distortion(adata, basis=basis, use_rep="X", progress_bar=False)
    sg.tl.geoae(adata, use_rep="X", progress_bar=False)
    maps = {"basis": list(titles), "title": list(titles.values()), "ruler": False, "size": 14, "return_fig": True}
    with plt.rc_context({"figure.figsize": (3.7, 3.3), "axes.labelsize": "small"}):
        # with a number of tiles, outlines are drawn even if all are circles of one size
        outlines = sg.pl.indicatrices(adata, color="latitude", cmap="Blues", colorbar_loc=None, n_tiles=8, **maps)
        save(outlines, "indicatrices_sphere")
        save(sg.pl.jacobian_heatmap(adata, vmax=2, **maps), "indicatrices_sphere_areas")


def pair() -> None:
    """Draw a UMAP and a map of the same blood cells side by side: indicatrices and areas."""
    adata = sc.datasets.pbmc68k_reduced()
    sg.tl.geoae(adata, progress_bar=False)
    sg.tl.distortion(adata, basis="umap", progress_bar=False)
    maps = {"basis": ["umap", "geoae"], "title": ["UMAP", "sg.tl.geoae"], "return_fig": True}
    with plt.rc_context({"figure.figsize": (4.2, 3.6)}):
        save(sg.pl.indicatrices(adata, color="bulk_labels", legend_fontsize="small", **maps), "indicatrices_pair")
        save(sg.pl.jacobian_heatmap(adata, **maps), "indicatrices_heat")


ellipses()
pair()
sphere()
