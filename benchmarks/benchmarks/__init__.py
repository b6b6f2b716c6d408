"""Benchmarks for airspeed velocity (asv): import, a step of training, and whole calls (benchmarks/README.md)."""

import sys
from pathlib import Path

# the scripts beside this folder, which draw the cells and set up a step
sys.path.insert(0, str(Path(__file__).parents[1]))
