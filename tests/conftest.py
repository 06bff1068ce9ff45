import sys
from pathlib import Path

import matplotlib
import torch

sys.path.insert(0, str(Path(__file__).parent))  # helpers beside the tests: ``from stand_in_gpu import stand_in_gpu``
matplotlib.use("Agg")
torch.set_num_threads(1)  # tests run side by side, one core each
