"""What every plot does last."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import scanpy as sc

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_EXTENSIONS = (".svg", ".pdf", ".png")


def finish(
    axes: list[Axes],
    name: str,
    *,
    show: bool | None,
    save: bool | str | Path | None,
    return_fig: bool | None,
) -> Axes | list[Axes] | Figure | None:
    """Save and show as Scanpy does; return the axes unless they were shown, or the figure, which is then not shown.

    A string is appended to ``{figdir}/{name}``; a `Path` is taken as it is.
    """
    figure = axes[0].figure
    save = sc.settings.autosave if save is None else save
    if save:
        if isinstance(save, Path):
            path = save
        else:
            suffix = save if isinstance(save, str) else ""
            extension = "" if suffix.endswith(_EXTENSIONS) else f".{sc.settings.file_format_figs}"
            path = Path(sc.settings.figdir) / f"{name}{suffix}{extension}"
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, bbox_inches="tight")
    if return_fig:
        return figure
    if sc.settings.autoshow if show is None else show:
        plt.show()
        return None
    return axes[0] if len(axes) == 1 else axes
