"""Writes the pictures of the documentation as small files."""

from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image


def save(figure: Figure, name: str) -> None:
    """Write 256 colors, which these pictures do with, at a third of the size."""
    scratch = BytesIO()
    figure.savefig(scratch, dpi=90, bbox_inches="tight")
    # the default method gives a legend of a few pixels the color of another one
    picture = Image.open(scratch).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
    picture.save(Path(__file__).parent / f"{name}.png", optimize=True)
