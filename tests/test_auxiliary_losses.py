"""With a loss for each sensor a fusion is the same network, of which each encoder learns from its own loss as well."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from synthetic import make_packed
from torch.nn.functional import binary_cross_entropy_with_logits

from cilp import params
from cilp.classifiers.auxiliary_losses import AuxiliaryLosses, OneLabelEach, with_losses, without_losses
from cilp.classifiers.fusion import FusionProtocol, network, train_fusion
from cilp.classifiers.modality_dropout import ModalityDropout
from cilp.errors import UserError
from cilp.models import fusion as fusions
from cilp.models import normalised_fusion
from cilp.models.layers import sparse
from cilp.training import unfinished
from cilp.training.inputs import load_split
from cilp.training.loop import Run

CPU = torch.device("cpu")
PROTOCOL = FusionProtocol(
    epochs=2, batch_size=8, lr=1e-3, lr_min=1e-6, xyz_scale=50.0, modality_dropout=0.0, auxiliary_losses=True
)
BUILDERS = {
    "as in the study": partial(fusions.build, xyz_scale=50.0),
    "normalised": partial(normalised_fusion.build, xyz_centre=[0.0, 25.0, 0.0], xyz_scale=5.0),
}


@pytest.fixture(scope="module")
def splits():
    data = make_packed()
    return tuple(load_split(data, split, CPU) for split in ("train", "val", "test"))


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
@pytest.mark.parametrize("downsampling", ["maxpool", "strided"])
@pytest.mark.parametrize("fusion", fusions.with_two_encoders())
@pytest.mark.parametrize("layers", ["near objects", "whole"])
def test_it_begins_as_the_same_fusion_and_each_head_sees_one_sensor(
    build, fusion, downsampling, layers, splits, monkeypatch
):
    if layers == "whole":  # as on a GPU
        monkeypatch.setattr(sparse, "usable", lambda x, blocks: False)
    rgb, lidar = splits[-1].inputs(slice(None))
    torch.manual_seed(51)
    plain = build(fusion=fusion, downsampling=downsampling)
    torch.manual_seed(51)
    supervised = with_losses(build)(fusion=fusion, downsampling=downsampling)
    whole, *apart = supervised.train()(rgb, lidar).T
    assert torch.allclose(whole, plain(rgb, lidar), atol=1e-6)
    assert torch.equal(supervised.eval()(rgb, lidar), plain(rgb, lidar))
    others = supervised.train()(rgb.flip(0), lidar).T
    assert not torch.allclose(others[0], whole, atol=1e-6)
    assert not torch.allclose(others[1], apart[0], atol=1e-6) and torch.allclose(others[2], apart[1], atol=1e-6)
    alone = without_losses(supervised)
    assert alone.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(alone(rgb, lidar), plain(rgb, lidar))


def test_the_loss_is_the_mean_of_the_three(splits):
    test = splits[-1]
    model = with_losses(fusions.build)(**network("late", "strided", PROTOCOL)).train()
    several = OneLabelEach.of(test)
    rows = torch.arange(len(test))
    logits = model(*several.inputs(rows))
    together = binary_cross_entropy_with_logits(logits, several.label[rows])
    each = [binary_cross_entropy_with_logits(column, test.label) for column in logits.T]
    assert together.item() == pytest.approx(sum(map(torch.Tensor.item, each)) / 3, rel=1e-6)


@pytest.mark.parametrize("fusion", ["late", "concat"])
def test_what_is_trained_is_the_fusion_alone_and_another_than_from_one_loss(fusion, splits):
    train, valid, test = splits
    arguments = network(fusion, "strided", PROTOCOL)
    plain = replace(PROTOCOL, auxiliary_losses=False)
    supervised, single = (train_fusion(arguments, train, valid, it, Run(51, "test")) for it in (PROTOCOL, plain))
    assert isinstance(supervised.model, fusions.Fusion)
    assert supervised.model.state_dict().keys() == single.model.state_dict().keys()
    inputs = test.inputs(slice(None))
    with torch.inference_mode():
        assert not torch.allclose(supervised.model.eval()(*inputs), single.model.eval()(*inputs), atol=1e-4)


def test_interrupted_it_goes_on_heads_and_all(splits, tmp_path, monkeypatch):
    monkeypatch.setattr(unfinished, "SECONDS_BETWEEN_SAVES", 0.0)
    arguments, protocol = network("late", "strided", PROTOCOL), replace(PROTOCOL, epochs=3)
    state = unfinished.Unfinished(tmp_path / "state.pt", "mine")

    def stopped(epoch):
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_fusion(arguments, *splits[:2], protocol, Run(51, "test", stopped, state))
    resumed = train_fusion(arguments, *splits[:2], protocol, Run(51, "test", unfinished=state))
    whole = train_fusion(arguments, *splits[:2], protocol, Run(51, "test"))
    assert resumed.history == whole.history and len(whole.history) == 3
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor), name


def test_an_encoder_that_the_fusion_does_not_heed_learns_all_the_same(splits):
    """The cure for modality competition: here the fusion's own loss teaches the LiDAR's encoder nothing at all."""
    late = with_losses(fusions.build)(**network("late", "strided", PROTOCOL)).train()
    with torch.no_grad():
        late.fusion.head[0].weight[:, 100:] = 0
    rgb, lidar = splits[0].inputs(slice(None))
    label = OneLabelEach.of(splits[0]).label
    learned = []
    for logits in (1, 3):
        late.zero_grad()
        binary_cross_entropy_with_logits(late(rgb, lidar)[:, :logits], label[:, :logits]).backward()
        learned.append(late.fusion.lidar[0].convolution.weight.grad.abs().sum().item())
    assert learned[0] == 0 < learned[1]


def test_it_goes_along_with_modality_dropout(splits):
    dropping = ModalityDropout.of(splits[0], 1.0, seed=0)
    several = OneLabelEach.of(dropping)
    rows = torch.arange(len(dropping))
    assert all(map(torch.equal, several.inputs(rows), dropping.inputs(rows)))
    assert several.label.shape == (len(dropping), 3) and several.names(rows[:2]) == dropping.names(rows[:2])


def test_a_fusion_of_one_encoder_has_no_loss_for_each_sensor():
    assert set(fusions.with_two_encoders()) == {"late", "concat", "add", "hadamard"}
    with pytest.raises(TypeError, match="EarlyFusion has no encoder for each sensor"):
        with_losses(BUILDERS["normalised"])(fusion="early", downsampling="maxpool")
    assert AuxiliaryLosses(fusions.build("late", "maxpool", 50.0)).training


def test_a_loss_that_is_no_number_is_said_of_several_losses_too(splits):
    protocol = replace(PROTOCOL, lr=1e30)
    with pytest.raises(UserError, match=r"in a batch of cubes .* and spheres .*; lower fusion\.late\.lr\."):
        train_fusion(network("late", "strided", protocol), *splits[:2], protocol, Run(51, "test"))


def test_by_default_fusions_learn_from_one_loss():
    settings = params.load()
    assert not any(params.lookup(settings, f"fusion.{name}.auxiliary_losses") for name in fusions.FUSIONS)
