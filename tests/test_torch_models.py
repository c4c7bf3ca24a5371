"""Layers and models that depthwise.torch makes fast: what they keep, and what is left."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
import weakref

import pytest

import depthwise
from torch_helpers import DepthwiseConv2d, F, accelerated, internals, nn, ran, small_network, torch


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [0, 2, (1, 2), "same", "valid"])
def test_padding_modes(mode, padding):
    layer = nn.Conv2d(4, 4, 3, padding=padding, padding_mode=mode, groups=4)
    x = torch.randn(2, 4, 9, 8)
    expected = layer(x)
    before = ran()
    torch.testing.assert_close(accelerated(layer)(x), expected)
    assert ran() == before + 1


@pytest.mark.parametrize("dilation", [1, (2, 1)])
@pytest.mark.parametrize("padding", [2, (1, 2), "same", "valid"])
def test_the_border_needs_no_private_name(padding, dilation):
    layer = nn.Conv2d(4, 4, (3, 4), padding=padding, padding_mode="reflect", dilation=dilation, groups=4)
    private = list(layer._reversed_padding_repeated_twice)
    assert internals.border(layer) == private
    del layer._reversed_padding_repeated_twice
    assert internals.border(layer) == private


def test_accelerate_and_restore():
    model = small_network()
    x = torch.randn(2, 3, 16, 16)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    parameters, keys, classes = list(model.parameters()), list(model.state_dict()), [type(m) for m in model]
    expected, before = model(x), ran()
    assert depthwise.torch.accelerate(model) == (["1", "4", "5"], {})
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert list(model.state_dict()) == keys
    y = model(x)
    assert ran() == before + 3
    torch.testing.assert_close(y, expected)
    y.sum().backward()
    weight = model[1].weight.detach().clone()
    optimizer.step()
    assert not torch.equal(weight, model[1].weight)
    changed, left = depthwise.torch.accelerate(model)
    assert (changed, set(left)) == ([], {"1", "4", "5"})
    assert depthwise.torch.restore(model) == ["1", "4", "5"]
    assert [type(m) for m in model] == classes
    assert depthwise.torch.restore(model) == []
    before = ran()
    model(x)
    assert ran() == before


class Named(nn.Conv2d):
    pass


def test_a_layer_keeps_its_class():
    for cls in (nn.Conv2d, Named):
        layer = cls(4, 4, 3, groups=4)
        x = torch.randn(1, 4, 5, 5)
        expected = layer(x)
        accelerated(layer)
        for again in (layer, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert type(again) is cls
            before = ran()
            torch.testing.assert_close(again(x), expected)
            assert ran() == before + 1
            assert depthwise.torch.restore(again) == [""]
            assert again.__dict__.keys() == cls(4, 4, 3, groups=4).__dict__.keys()


def test_a_layer_goes_by_its_own_settings():
    """Those of the moment of the call, and a copy's own."""
    layer = accelerated(nn.Conv2d(4, 4, 3, groups=4))
    again = copy.deepcopy(layer)
    again.padding, again.stride = (1, 1), (2, 2)
    layer.dilation = 2, 2
    x = torch.randn(1, 4, 9, 9)
    torch.testing.assert_close(again(x), F.conv2d(x, layer.weight, layer.bias, 2, 1, 1, 4))
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight, layer.bias, 1, 0, 2, 4))


def test_a_layer_is_not_kept_alive():
    gc.disable()
    try:
        for make in (lambda: accelerated(nn.Conv2d(4, 4, 3, groups=4)), lambda: DepthwiseConv2d(4)):
            layer = make()
            weight = weakref.ref(layer.weight)
            del layer
            assert weight() is None
    finally:
        gc.enable()


def test_a_shallow_copy_can_be_accelerated():
    layer = accelerated(nn.Conv2d(4, 4, 3, groups=4))
    x = torch.randn(1, 4, 9, 9)
    expected, shallow = layer(x), copy.copy(layer)
    torch.testing.assert_close(shallow(x), expected)
    del layer
    with pytest.raises(RuntimeError, match="accelerate it"):
        shallow(x)
    assert depthwise.torch.accelerate(shallow).changed == [""]
    torch.testing.assert_close(shallow(x), expected)


class Described(nn.Module):
    """Says that it is a depthwise convolution, and calls none that is known."""

    def __init__(self):
        super().__init__()
        self.in_channels = self.out_channels = self.groups = 8


@pytest.mark.filterwarnings("ignore:.*Lazy.*:UserWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_every_depthwise_layer_that_is_left_is_named():
    instance = nn.Conv2d(8, 8, 3, groups=8)
    instance.forward = lambda x: x
    left = {
        "described": Described(),
        "lazy": nn.LazyConv2d(8, 3, groups=8),
        "lazy plane": nn.LazyConv1d(8, 3, groups=8),
        "script": torch.jit.script(nn.Conv2d(8, 8, 3, groups=8)),
        "quantised": torch.ao.nn.quantized.Conv2d(8, 8, 3, groups=8),
        "instance": instance,
        "fast": DepthwiseConv2d(8),
    }
    others = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3, groups=2), nn.Conv1d(1, 4, 3), nn.LazyConv2d(8, 3), nn.Linear(8, 8)
    names = nn.ModuleDict(left), nn.ModuleList(others), nn.Conv2d(8, 8, 3, groups=8)
    changed, reasons = depthwise.torch.accelerate(nn.Sequential(*names))
    assert changed == ["2"]
    assert list(reasons) == [f"0.{name}" for name in left]
    assert reasons["0.described"] == "Described calls no convolution of torch.nn.functional"
    assert reasons["0.script"] == "Conv2d is a script"
    assert reasons["0.instance"] == "has a forward of its own"


@pytest.mark.filterwarnings("ignore:.*Lazy.*:UserWarning")
def test_a_lazy_layer_becomes_fast_after_its_first_input():
    model = nn.Sequential(nn.LazyConv2d(8, 3, groups=8))
    assert depthwise.torch.accelerate(model) == ([], {"0": "LazyConv2d has no channels before its first input"})
    x = torch.randn(1, 8, 6, 6)
    expected, before = model(x), ran()
    assert depthwise.torch.accelerate(model) == (["0"], {})
    torch.testing.assert_close(model(x), expected)
    assert ran() == before + 1


def test_hooks_and_parametrizations_are_kept():
    layer = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3, groups=4))
    seen = []
    layer.register_forward_hook(lambda *_: seen.append("forward"))
    x = torch.randn(2, 4, 6, 6)
    expected = layer(x)
    accelerated(layer)
    torch.testing.assert_close(layer(x), expected)
    layer(x).sum().backward()
    assert seen == ["forward"] * 3
    assert layer.parametrizations.weight.original0.grad is not None
    depthwise.torch.restore(layer)
    nn.utils.parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Conv2d
    torch.testing.assert_close(layer(x), expected)


def test_copies_pickles_and_files(tmp_path):
    model = accelerated(small_network()).eval()
    x = torch.randn(1, 3, 16, 16)
    torch.save(model, tmp_path / "model.pt")
    for again in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        torch.load(tmp_path / "model.pt", weights_only=False),
    ):
        assert torch.equal(again(x), model(x))
        assert depthwise.torch.restore(again) == ["1", "4", "5"]
    small_network().load_state_dict(model.state_dict())


class Images(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, i):
        return depthwise.torch.conv2d(torch.full((1, 16, 64, 64), float(i)), torch.ones(16, 1, 3, 3))[0]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_of_a_data_loader_after_fork():
    here = [Images()[i] for i in range(8)]  # the pools of both have run before the fork
    loader = torch.utils.data.DataLoader(Images(), num_workers=2, multiprocessing_context="fork", timeout=60)
    for a, b in zip(loader, here, strict=True):
        assert torch.equal(a[0], b)


def test_distributed_data_parallel_on_gloo(tmp_path):
    code = """
import gc, sys, torch, depthwise.torch
from torch import distributed, nn
rank, place = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method="file://" + place, rank=rank, world_size=2)
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8)).double()
whole = [torch.randn(2, 3, 9, 9).double() for _ in range(2)]
model(torch.cat(whole)).square().mean().backward()
expected = [p.grad.clone() for p in model.parameters()]
model.zero_grad()
assert depthwise.torch.accelerate(model).changed == ["1"]
parallel = nn.parallel.DistributedDataParallel(model)
parallel(whole[rank]).square().mean().backward()
for p, e in zip(model.parameters(), expected):
    torch.testing.assert_close(p.grad, e)
for axes in 1, 2, 3:
    layer = getattr(depthwise.torch, f"DepthwiseConv{axes}d")(8, activation="silu")
    model = nn.Sequential(getattr(nn, f"Conv{axes}d")(3, 8, 1), layer).double()
    whole = [torch.randn(2, 3, *[9] * axes).double() for _ in range(2)]
    model(torch.cat(whole)).square().mean().backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    parallel = nn.parallel.DistributedDataParallel(model)
    parallel(whole[rank]).square().mean().backward()
    for p, e in zip(model.parameters(), expected):
        torch.testing.assert_close(p.grad, e)
distributed.barrier()
del parallel  # it holds the group, whose threads must end before the interpreter does
gc.collect()
distributed.destroy_process_group()
"""
    commands = [[sys.executable, "-c", code, str(rank), str(tmp_path / "meeting")] for rank in range(2)]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    processes = [subprocess.Popen(c, stderr=subprocess.PIPE, text=True, env=environment) for c in commands]
    errors = [p.communicate(timeout=120)[1] for p in processes]
    assert [p.returncode for p in processes] == [0, 0], errors


def test_training_matches_stock():
    """In float64, where a different order of summation does not grow into another path."""
    x, labels, losses = torch.randn(8, 3, 16, 16).double(), torch.arange(8) % 4, []
    for prepare in (lambda m: m, accelerated):
        model = prepare(small_network().double())
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        losses.append([])
        for _ in range(10):
            loss = F.cross_entropy(model(x), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    assert losses[0][0] != losses[0][-1]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-12, atol=0)
