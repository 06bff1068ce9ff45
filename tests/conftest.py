import matplotlib
import torch

matplotlib.use("Agg")
torch.set_num_threads(1)  # tests run side by side, one core each
