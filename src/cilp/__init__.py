"""Fusion of camera images and LiDAR range images, and contrastive image-LiDAR pretraining (CILP)."""

import os

# PyTorch's memory in huge pages, where Linux has them: the same numbers, sooner (docs/performance.md)
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
