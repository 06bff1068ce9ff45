"""Makes the helpers beside the tests importable: ``from enumeration import Enumeration``."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)  # the operations are small: threads that wait for each other on busy cores cost tenfold
