#!/usr/bin/env bash
# threadpoolctl 3.6.0 and 3.8.0: two threads whose limits overlap in time leave matrix products on one thread for good.
#
# `with threadpool_limits(1)` notes how many threads NumPy's matrix products use, sets one, and restores the number it noted.
# The number belongs to the process. A second thread that enters while the first one is inside therefore notes "one", and
# restores "one" when it leaves last: from then on, every matrix product of the process uses one core, and nothing says so. The
# first thread, when it leaves, also takes the limit away from the second one, which is still inside. Since 3.8, only one thread
# at a time may set the number, but the outcome is the same. Libraries enter such limits on their own (scikit-learn in KMeans,
# for example), so two analyses in two threads of a notebook or a Dask worker are enough. After such work, look at
# `threadpoolctl.threadpool_info()`, and set the number again with `threadpool_limits(n)`.
#
# Installs into a temporary folder. Exit status 0: as described.
set -euo pipefail
export PIP_DISABLE_PIP_VERSION_CHECK=1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > run.py <<'PYTHON'
from threading import Event, Thread

import numpy as np
import threadpoolctl
from threadpoolctl import threadpool_info, threadpool_limits

np.ones((2, 2)) @ np.ones((2, 2))


def n_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


first_in, second_in, first_out = Event(), Event(), Event()


def first():
    with threadpool_limits(1, user_api="blas"):
        first_in.set()
        second_in.wait()
    first_out.set()


def second():
    first_in.wait()
    with threadpool_limits(1, user_api="blas"):
        second_in.set()
        first_out.wait()
        found.append(n_threads())


found = [n_threads()]
threads = [Thread(target=first), Thread(target=second)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
found.append(n_threads())
print(threadpoolctl.__version__, "before, within the second limit, after both:", *found)
PYTHON

python3 -m venv venv
venv/bin/pip install --quiet numpy==2.3.5
for version in 3.6.0 3.8.0; do
    venv/bin/pip install --quiet "threadpoolctl==$version"
    OPENBLAS_NUM_THREADS=2 OMP_NUM_THREADS=2 venv/bin/python run.py
done | tee output
for version in 3.6.0 3.8.0; do
    grep -q "^$version before, within the second limit, after both: \[2\] \[2\] \[1\]$" output
done
echo "as described"
