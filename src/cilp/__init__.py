"""Fusion of camera images and LiDAR range images, and contrastive image-LiDAR pretraining (CILP)."""
