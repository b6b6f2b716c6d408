from __future__ import annotations

import os

import pytest
import torch

from scgeoae.nn import MapDecoder


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_computes_on_one_thread_and_its_parent_on_as_many_as_before():
    MapDecoder(2)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        child = os.fork()
        if child == 0:
            os._exit(torch.get_num_threads())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
