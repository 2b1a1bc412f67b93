"""Fusion of camera images and LiDAR range images, and contrastive image-LiDAR pretraining (CILP)."""

import gc
import os

from cilp import cores  # noqa: F401 - has PyTorch round as the study does, if it comes before PyTorch counts anything

# PyTorch's memory in huge pages, where Linux has them: the same numbers, sooner (docs/performance.md)
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

# Imports make 300,000 objects that stay: looking among them for garbage takes a fifth of the time. Later there is
# little of it, a training step makes none (tests/test_training.py).
gc.set_threshold(1_000_000, 50, 50)
