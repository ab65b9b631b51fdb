import pytest
import torch
from torch import nn

from lt_fabric.cpu import CPUAccelerator
from lt_interfaces import MisconfigurationException
from lt_strategies.layer_sync import refuse_on_cpu, synced_layers, with_synced_batchnorm, without_synced_batchnorm


def network() -> nn.Module:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, eps=0.1, momentum=0.3))
    return nn.Sequential(inner, nn.BatchNorm1d(4, affine=False, track_running_stats=False))


def test_conversion_and_back_leaves_state_parameters_and_results() -> None:
    module, plain = network(), network()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    parameters = list(module.parameters())
    converted = with_synced_batchnorm(module)
    assert converted is module
    assert sum(isinstance(one, nn.SyncBatchNorm) for one in module.modules()) == 2
    assert list(module.state_dict()) == list(before)
    without_synced_batchnorm(module)
    assert not any(isinstance(one, nn.SyncBatchNorm) for one in module.modules())
    assert [id(one) for one in module.parameters()] == [id(one) for one in parameters]
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name])
    rows = torch.randn(8, 3)
    assert torch.equal(module(rows), plain(rows))
    assert torch.equal(module.eval()(rows), plain.eval()(rows))


def test_mode_of_a_layer_survives() -> None:
    module = with_synced_batchnorm(network()).eval()
    without_synced_batchnorm(module)
    assert not any(one.training for one in module.modules())


def test_cpu_is_refused_with_the_way_out() -> None:
    with pytest.raises(MisconfigurationException, match="Leave it out"):
        refuse_on_cpu(CPUAccelerator())


def test_layers_that_were_synced_by_the_user_stay_so() -> None:
    module = nn.Sequential(nn.SyncBatchNorm(3), nn.Sequential(nn.BatchNorm1d(3)))
    own = synced_layers(module)
    module = with_synced_batchnorm(module)
    without_synced_batchnorm(module, keep=own)
    assert synced_layers(module) == own == {"0"}


@pytest.mark.gpu
def test_a_batch_in_one_layer_is_normalised_as_torch_does() -> None:
    rows = torch.randn(8, 3, device="cuda")
    synced, plain = with_synced_batchnorm(nn.Sequential(nn.BatchNorm1d(3))).cuda(), nn.BatchNorm1d(3).cuda()
    torch.testing.assert_close(synced(rows), plain(rows))
