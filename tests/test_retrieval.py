"""The contrastive loss, and what retrieval is measured by."""

import math

import pytest
import torch
from synthetic import unit
from torch.nn.functional import log_softmax

from cilp.contrastive.loss import contrastive_loss, unscaled_loss
from cilp.contrastive.retrieval import ceilings, match_ranks, retrieval, twin_accuracy


def naive_loss(rgb, lidar, log_scale):
    """Sample by sample: which of all LiDAR embeddings belongs to this image, and the other way round."""
    total = 0.0
    for i in range(len(rgb)):
        to_lidar = torch.stack([(rgb[i] * other).sum() * torch.exp(log_scale) for other in lidar])
        to_rgb = torch.stack([(lidar[i] * other).sum() * torch.exp(log_scale) for other in rgb])
        total = total - log_softmax(to_lidar, dim=0)[i] - log_softmax(to_rgb, dim=0)[i]
    return total / (2 * len(rgb))


def test_the_loss_and_its_gradients_are_those_of_a_naive_one():
    results = []
    for loss in (contrastive_loss, naive_loss):
        inputs = [unit(9, 5, 1), unit(9, 5, 2), torch.tensor(2.3, dtype=torch.float64)]
        inputs = [tensor.requires_grad_() for tensor in inputs]
        value = loss(*inputs)
        results.append([value.detach(), *torch.autograd.grad(value, inputs)])
    for fast, naive in zip(*results, strict=True):
        torch.testing.assert_close(fast, naive, rtol=1e-12, atol=1e-12)


def test_equal_embeddings_for_everything_are_at_chance():
    same = torch.ones(8, 4) / 2
    assert contrastive_loss(same, same, torch.tensor(3.0)).item() == pytest.approx(math.log(8), rel=1e-6)


def test_the_unscaled_loss_is_over_batches_of_32_at_temperature_one():
    rgb, lidar_ = unit(100, 5, 3), unit(100, 5, 4)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    expected = [naive_loss(rgb[rows], lidar_[rows], torch.tensor(0.0)).item() for rows in order[:96].split(32)]
    assert unscaled_loss(rgb, lidar_) == pytest.approx(sum(expected) / 3, rel=1e-9)
    few = unscaled_loss(rgb[:10], lidar_[:10])
    assert few == pytest.approx(naive_loss(rgb[:10], lidar_[:10], torch.tensor(0.0)).item(), rel=1e-9)


def test_ranks_count_what_is_at_least_as_similar():
    similarity = torch.tensor([[0.9, 0.1, 0.2], [0.5, 0.4, 0.4], [0.3, 0.2, 0.1]])
    assert match_ranks(similarity).tolist() == [1, 3, 3]  # the tie in the second row counts against the match
    assert match_ranks(torch.ones(4, 4)).tolist() == [4] * 4


def test_recall_and_median_rank_in_both_directions():
    similarity = torch.eye(12)
    figures = retrieval(similarity)
    assert {value for key, value in figures.items() if "recall" in key} == {1.0}
    similarity[:, 0] = 2.0  # every image is closest to the first LiDAR view
    figures = retrieval(similarity)
    assert figures["image_to_lidar_recall_at_1"] == pytest.approx(1 / 12)
    assert figures["image_to_lidar_recall_at_5"] == 1.0
    assert figures["image_to_lidar_median_rank"] == 2.0
    assert figures["lidar_to_image_recall_at_1"] == pytest.approx(11 / 12)


def test_the_twin_test_compares_with_the_other_shape_of_the_scene_alone():
    scene = torch.tensor([7, 7, 3, 3, 9])
    similarity = torch.full((5, 5), 0.9).fill_diagonal_(0.5)  # strangers do not count
    for row, twin, value in ((0, 1, 0.4), (1, 0, 0.6), (2, 3, 0.4), (3, 2, 0.5)):  # nor does a tie
        similarity[row, twin] = value
    assert twin_accuracy(similarity, scene) == 0.5
    assert twin_accuracy(similarity, torch.arange(5)) is None


def test_equal_images_bound_recall():
    """Three black images and a bright one: one of the three at most is first, all of them are among the first five."""
    rgb = torch.zeros(4, 8, 8, 4, dtype=torch.uint8)
    rgb[3] = 255
    best = ceilings(rgb)
    assert best["image_to_lidar_recall_at_1_ceiling"] == pytest.approx((3 * (1 / 3) + 1) / 4)
    assert best["image_to_lidar_recall_at_5_ceiling"] == 1.0
    perfect = torch.zeros(4, 4)
    perfect[:3] = torch.tensor([0.9, 0.8, 0.7, 0.0])  # black images rank the views alike
    perfect[3, 3] = 1.0
    assert retrieval(perfect)["image_to_lidar_recall_at_1"] == pytest.approx(0.5)
