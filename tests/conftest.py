import os
import signal
import sys
from pathlib import Path

# Tests run side by side, one core each, and so do the processes that they start. Before numpy comes: where cores are
# busy, the threads of its linear algebra wait for each other, and a fit to sixty runs takes ten times as long.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import matplotlib
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # helpers beside the tests: ``from stand_in_gpu import stand_in_gpu``
matplotlib.use("Agg")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def rules_are_built_anew():
    """A process keeps the rules that it has built; a test may change one, or ask what has not been built yet."""
    rules = sys.modules.get("twoclocks.theory.rules")
    if rules is not None:
        rules._built.cache_clear()


@pytest.fixture
def ctrl_c_interrupts():
    """Tests that a shell starts in the background would ignore it, and so would the processes that they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
