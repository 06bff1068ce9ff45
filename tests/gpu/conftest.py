"""Tests of the path that only a GPU takes; without one they are skipped."""

from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        for item in items:
            if item.path.parent == HERE:
                item.add_marker(pytest.mark.skip(reason="no GPU that CUDA finds"))
