"""Coverage-guided fuzzing of what reads a stored model, by atheris.

    python -m tests.fuzz file -max_total_time=1800 -rss_limit_mb=4096 -timeout=60
    python -m tests.fuzz uns -max_total_time=1800 -rss_limit_mb=4096 -timeout=60

What follows the first word is libFuzzer's, a folder for its corpus among it. It needs ``pip install -e ".[test,fuzz]"``.
The bytes that it draws are those that Hypothesis makes its choices of, so that it edits entries, shapes and types, and
not only bytes. A finding ends it with the edits that were made: they go into tests/fuzz/test_damage.py with the mending.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")

import atheris
import matplotlib as mpl

with atheris.instrument_imports(include=["scgeoae", "safetensors"]):
    from hypothesis import settings

    settings.register_profile("fuzz", database=None, deadline=None)
    settings.load_profile("fuzz")
    from .test_damage import CALLS, check_call, maps, test_damaged_files, test_damaged_uns

if TYPE_CHECKING:
    from collections.abc import Callable

# what nothing that reads a file has to do
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.", "pickle.find_class")


def refuse(event: str, arguments: tuple) -> None:
    """End the process if something is about to be executed."""
    if event.startswith(FORBIDDEN):
        sys.stderr.write(f"{event} {arguments}\n")
        os.abort()


def run(target: Callable, content: bytes) -> None:
    """Run a test with the choices that some bytes stand for, and print what failed with its edits."""
    try:
        target.hypothesis.fuzz_one_input(content)
    except Exception:
        traceback.print_exc()
        raise


def write_seeds(folder: Path) -> None:
    """Write inputs long enough to stand for edits: from an empty corpus the fuzzer does not come to any."""
    chance = random.Random(0)
    for at in range(200):
        (folder / f"seed_{at}").write_bytes(chance.randbytes(chance.choice([100, 300, 1000])))


def main() -> None:
    """Fuzz until a finding, or until the time is over."""
    target = {"file": test_damaged_files, "uns": test_damaged_uns}[sys.argv.pop(1)]
    mpl.use("Agg")
    for adata, key in maps().values():
        for call in CALLS:
            check_call(call, adata.copy(), key)  # what is imported late is imported now
    warnings.simplefilter("error")
    for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.simplefilter("ignore", category)
    sys.addaudithook(refuse)
    with tempfile.TemporaryDirectory() as seeds:
        write_seeds(Path(seeds))
        # what the fuzzer finds goes to the first folder that it is given
        # and long inputs, which are more edits, stay as long as they are
        options = [sys.argv[0], "-len_control=0", "-max_len=2048", "-reduce_inputs=0", *sys.argv[1:], seeds]
        atheris.Setup(options, lambda content: run(target, content))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
