"""A kernel of Jupyter makes a view, and answers it."""

from __future__ import annotations

import time

import numpy as np
import pytest

import scgeoae as sg

MAKE = """
import anndata, scgeoae as sg
adata = anndata.read_h5ad({path!r})
view = sg.pl.interactive(adata, color="bulk_labels")
view
"""
SECONDS = 60


@pytest.fixture
def kernel():
    """A client of a running kernel."""
    manager = pytest.importorskip("jupyter_client.manager")
    pytest.importorskip("ipykernel")
    running, client = manager.start_new_kernel(kernel_name="python3", startup_timeout=SECONDS)
    yield client
    client.stop_channels()
    running.shutdown_kernel(now=True)


def message(client, kind):
    """Return the next message of a kind that the kernel publishes; show what it says instead of it."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        found = client.get_iopub_msg(timeout=SECONDS)
        assert found["msg_type"] != "error", "\n".join(found["content"]["traceback"])
        if kind(found):
            return found
    pytest.fail("the kernel did not say it")


@pytest.mark.slow
def test_a_view_in_a_kernel(kernel, fitted, tmp_path):
    path = tmp_path / "map.h5ad"
    fitted.write_h5ad(path)
    kernel.execute(MAKE.format(path=str(path)))
    opened = message(kernel, lambda m: "_manifest" in str(m["content"].get("data", {}).get("state", {}).keys()))
    shown = message(kernel, lambda m: m["msg_type"] in ("display_data", "execute_result"))
    comm = opened["content"]["comm_id"]
    assert shown["content"]["data"]["application/vnd.jupyter.widget-view+json"]["model_id"] == comm
    state = opened["content"]["data"]
    assert state["state"]["_manifest"]["n_cells"] == 700
    assert "export" in state["state"]["_esm"]
    buffers = dict(zip((path[0] for path in state["buffer_paths"]), opened["buffers"], strict=True))
    z = np.frombuffer(buffers["_buffer"], "<f4", 1400).reshape(-1, 2)
    np.testing.assert_array_equal(z, fitted.obsm["X_geoae"])

    start, end = z[3].tolist(), z[500].tolist()
    question = {"id": 1, "ask": "geodesic", "from": start, "to": end}
    send(kernel, comm, {"method": "custom", "content": question})
    answer = message(kernel, lambda m: m["content"].get("data", {}).get("method") == "custom")
    expected = sg.tl.geodesic(fitted, start, end, genes=[])
    assert answer["content"]["data"]["content"]["length"] == pytest.approx(expected.length)
    points = np.frombuffer(answer["buffers"][0], "<f4").reshape(-1, 2)
    np.testing.assert_allclose(points, expected.coordinates, atol=1e-4)

    rows = np.array([4, 2], dtype="<u4").tobytes()
    update = {"method": "update", "state": {}, "buffer_paths": [["selection"]]}
    send(kernel, comm, update, buffers=[rows])
    kernel.execute("print(view.selection.tolist())")
    assert message(kernel, lambda m: m["msg_type"] == "stream")["content"]["text"] == "[2, 4]\n"


def send(client, comm, data, buffers=()):
    sent = client.session.msg("comm_msg", {"comm_id": comm, "data": data})
    client.session.send(client.shell_channel.socket, sent, buffers=list(buffers))
