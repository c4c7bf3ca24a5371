"""The layers of depthwise.torch in one to three dimensions beside torch.nn's, in PyTorch's tools too."""

from __future__ import annotations

import copy
import pickle

import pytest

from torch_helpers import (
    LAYERS,
    STOCK_LAYERS,
    F,
    activate,
    depthwise,
    internals,
    lies,
    memory,
    nn,
    outcome,
    ran,
    stock,
    torch,
    warnings_of_pytorch,
)

SIZES = {1: (11,), 2: (11, 8), 3: (7, 8, 6)}
KERNELS = {1: (5,), 2: (3, 5), 3: (2, 3, 5)}


def layer(axes, *args, activation=None, **keywords):
    """A layer and a stock one of the same weights."""
    torch.manual_seed(1)
    ours = LAYERS[axes](6, 12, KERNELS[axes], *args, activation=activation, **keywords)
    torch.manual_seed(1)
    return ours, STOCK_LAYERS[axes](6, 12, KERNELS[axes], *args, groups=6, **keywords)


def images(axes, n=2, c=6, layout="planar"):
    return memory(torch.randn(n, c, *SIZES[axes]), layout)


@pytest.mark.parametrize("activation", [None, "silu", "gelu_tanh"])
@pytest.mark.parametrize("axes", LAYERS)
def test_a_layer_is_the_stock_layer_and_the_activation(axes, activation):
    ours, theirs = layer(axes, 2, 2, activation=activation)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    x, before = images(axes), ran()
    torch.testing.assert_close(ours(x), activate(theirs(x), activation))
    assert ran() == before + 1
    torch.testing.assert_close(ours(x[0]), activate(theirs(x[0]), activation))
    assert lies(ours(memory(x, "channels_last")), "channels_last")
    assert ("activation='silu'" in repr(ours)) == (activation == "silu")
    message = outcome(theirs, torch.zeros(1, 5, *SIZES[axes]))
    assert message[0] is RuntimeError
    assert outcome(ours, torch.zeros(1, 5, *SIZES[axes])) == message
    with pytest.raises(ValueError, match="groups must be in_channels"):
        LAYERS[axes](6, groups=3)
    assert depthwise.torch.accelerate(ours) == ([], {"": "is fast already"})
    assert depthwise.torch.restore(ours) == []


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("padding", [0, 2, "same", "valid"])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("axes", LAYERS)
def test_padding_modes(axes, mode, padding):
    ours, theirs = layer(axes, padding=padding, padding_mode=mode)
    x, before = images(axes), ran()
    torch.testing.assert_close(ours(x), theirs(x))
    assert ran() == before + 1


def causal(mode="zeros", dilation=1, activation=None):
    torch.manual_seed(1)
    return LAYERS[1](6, 12, 5, 1, "causal", dilation, padding_mode=mode, activation=activation)


@pytest.mark.parametrize("mode", ["zeros", "replicate"])
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_causal_layer(dilation, mode):
    ours, (_, theirs) = causal(mode, dilation), layer(1, dilation=dilation)
    x, before = images(1), 4 * dilation
    expected = theirs(F.pad(x, (before, 0), mode="constant" if mode == "zeros" else mode))
    torch.testing.assert_close(ours(x), expected)
    assert "padding=causal" in repr(ours)
    assert internals.border(ours) == [before, 0]
    del ours._reversed_padding_repeated_twice
    assert internals.border(ours) == [before, 0]
    with pytest.raises(ValueError, match="padding"):
        LAYERS[2](6, padding="causal")


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize("padding", [2, "same", "valid"])
def test_the_border_needs_no_private_name(axes, padding):
    _, theirs = layer(axes, padding=padding, dilation=2, padding_mode="reflect")
    private = list(theirs._reversed_padding_repeated_twice)
    del theirs._reversed_padding_repeated_twice
    assert internals.border(theirs) == private


@pytest.mark.parametrize("axes", LAYERS)
def test_copies_and_pickles(axes):
    ours, _ = layer(axes, activation="silu")
    x = images(axes)
    for again in (copy.copy(ours), copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert type(again) is LAYERS[axes]
        before = ran()
        assert torch.equal(again(x), ours(x))
        assert ran() == before + 2


@pytest.mark.parametrize("axes", LAYERS)
def test_methods_of_a_subclass_are_called(axes):
    class Louder(LAYERS[axes]):
        def forward(self, input):
            return super().forward(input) * 2

    class Doubled(LAYERS[axes]):
        def _conv_forward(self, input, weight, bias):
            return super()._conv_forward(input, weight, bias) * 2

    x = images(axes)
    for cls in (Louder, Doubled):
        ours, before = cls(6), ran()
        torch.testing.assert_close(ours(x), stock(x, ours.weight, ours.bias) * 2)
        assert ran() == before + 1


def small(axes):
    """One layer with an activation and one without, between others."""
    torch.manual_seed(2)
    ours, _ = layer(axes, 1, 2, activation="silu")
    return nn.Sequential(STOCK_LAYERS[axes](3, 6, 1), ours, nn.ReLU(), LAYERS[axes](12, 24))


def reference(model):
    """The same by PyTorch alone."""

    def forward(x):
        y = model[0](x)
        y = F.silu(stock(y, model[1].weight, model[1].bias, 1, model[1].padding))
        return stock(F.relu(y), model[3].weight, model[3].bias)

    return forward


@warnings_of_pytorch
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.parametrize("axes", LAYERS)
def test_compile(axes, backend):
    torch.compiler.reset()
    model = small(axes).double()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=backend)
    for n in (2, 3):
        x = images(axes, n, 3).double()
        before = ran()
        grads = [torch.autograd.grad(f(x).sin().sum(), list(model.parameters())) for f in (compiled, reference(model))]
        assert ran() > before + 3
        torch.testing.assert_close(*grads)


@warnings_of_pytorch
@pytest.mark.parametrize("axes", LAYERS)
def test_export_saved_and_loaded(axes, tmp_path):
    model, x = small(axes).eval(), images(axes, 2, 3)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    assert str(program.graph).count("depthwise.conv.default") == 2
    torch.export.save(program, str(tmp_path / "program.pt2"))
    again, x = torch.export.load(str(tmp_path / "program.pt2")).module(), images(axes, 5, 3)
    torch.testing.assert_close(again(x), reference(model)(x))


@warnings_of_pytorch
@pytest.mark.parametrize("axes", LAYERS)
def test_traced_symbolic_and_scripted_graphs_are_pytorchs(axes):
    model, x = small(axes).eval(), images(axes, 2, 3)
    expected = reference(model)(x)
    graphs = [torch.jit.trace(model, x)]
    if internals.HOOK != "forward":  # else PyTorch's layers lack what they call
        graphs.append(torch.jit.script(model))
    for module in (model[1], layer(axes, padding=1, padding_mode="circular", activation="silu")[0]):
        graph, y = torch.fx.symbolic_trace(module), images(axes)
        before = ran()
        actual = graph(y)
        assert ran() == before
        torch.testing.assert_close(actual, module(y))
    for graph in graphs:
        before = ran()
        torch.testing.assert_close(graph(x), expected)
        assert ran() == before


@warnings_of_pytorch
@pytest.mark.parametrize("mode", ["zeros", "replicate"])
def test_graphs_of_a_causal_layer(mode):
    ours, x = causal(mode, activation="silu"), images(1)
    for graph in (torch.jit.trace(ours, x), torch.fx.symbolic_trace(ours)):
        torch.testing.assert_close(graph(x), ours(x))
    script = torch.jit.script(ours)
    torch.testing.assert_close(script(x), ours(x))
    torch.testing.assert_close(script(x[0]), ours(x[0]))
