import pytest
import torch
from synthetic import make_packed

from cilp.classifiers.modality_dropout import ModalityDropout
from cilp.evaluation.failures import beams_dropped, exposure
from cilp.training.inputs import load_split

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def split():
    return load_split(make_packed(), "train", CPU)


def missing(inputs):
    """Which samples show no image, and which no return."""
    rgb, xyza = inputs
    return ~rgb[:, :3].flatten(1).any(dim=1), ~xyza[:, 3].flatten(1).any(dim=1)


def many(split, rate, batches=400):
    """What is missing, (batches * 8,) each, in batches drawn at random."""
    dropping = ModalityDropout.of(split, rate, 0)
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randperm(len(split), generator=generator)[:8] for _ in range(batches)]
    image, lidar = zip(*(missing(dropping.inputs(part)) for part in rows), strict=True)
    return torch.cat(image), torch.cat(lidar)


def test_half_of_the_rate_lacks_the_image_and_half_the_lidar_and_none_lacks_both(split):
    image, lidar = many(split, 0.4)
    assert not (image & lidar).any()
    assert image.double().mean() == pytest.approx(0.2, abs=0.04)
    assert lidar.double().mean() == pytest.approx(0.2, abs=0.04)


def test_a_sample_is_not_without_the_same_sensor_for_ever(split):
    dropping = ModalityDropout.of(split, 0.5, 0)
    generator = torch.Generator().manual_seed(2)
    orders = [torch.randperm(len(split), generator=generator) for _ in range(40)]
    found = torch.stack([torch.stack(missing(dropping.inputs(rows)))[:, rows.argsort()] for rows in orders])
    shares = found.double().mean(dim=0)  # (2, N): how often each sample lacked the image, and the LiDAR
    assert (shares > 0).all() and (shares < 0.75).all()


def test_the_same_batch_is_the_same_again_and_another_seed_drops_others(split):
    rows = torch.arange(16)
    first, again, other = (ModalityDropout.of(split, 0.5, seed).inputs(rows) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_what_is_left_is_as_it_was_and_what_is_missing_is_a_sensor_that_failed(split):
    rows = torch.arange(len(split))
    rgb, xyza = ModalityDropout.of(split, 1.0, 0).inputs(rows)
    image, lidar = missing((rgb, xyza))
    assert (image ^ lidar).all()
    whole_rgb, whole_xyza = split.inputs(rows)
    assert torch.equal(rgb[lidar], whole_rgb[lidar]) and torch.equal(xyza[image], whole_xyza[image])
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(xyza[lidar], beams_dropped(split, 1.0, generator).inputs(rows)[1][lidar])
    assert torch.equal(rgb[image], exposure(split, 0.0, generator).inputs(rows)[0][image])
