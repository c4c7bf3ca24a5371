"""depthwise.torch in PyTorch's compiler, exports, scripts, quantisation and counters."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest

from torch_helpers import (
    CASES,
    ONE_OF_EACH,
    DepthwiseConv2d,
    accelerated,
    flop_counter,
    internals,
    nn,
    operators,
    ours,
    problem,
    ran,
    small_network,
    stock,
    torch,
    warnings_of_pytorch,
)

quantization = pytest.importorskip("torch.ao.quantization")
quantize_fx = pytest.importorskip("torch.ao.quantization.quantize_fx")
ENGINE = torch.backends.quantized.engine


@pytest.fixture(autouse=True)
def fresh_compiler():
    """The compiler refuses to compile a function again too often; tests are not to hang on how many there were."""
    torch.compiler.reset()


def one_layer():
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, groups=3))


@warnings_of_pytorch
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("network", [one_layer, pytest.param(small_network, marks=pytest.mark.slow)])
def test_compile(network, dynamic):
    model = accelerated(network())
    expected = [model(torch.full((n, 3, 16, 16), 0.5)).sum() for n in (2, 3)]
    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic)
    for n, e in zip((2, 3), expected, strict=True):
        before = ran()
        loss = compiled(torch.full((n, 3, 16, 16), 0.5)).sum()
        loss.backward()
        assert ran() > before
        torch.testing.assert_close(loss, e)


@warnings_of_pytorch
def test_export():
    model = accelerated(small_network()).eval()
    x = torch.randn(2, 3, 16, 16)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    assert "depthwise.conv" in str(program.graph)
    torch.testing.assert_close(program.module()(x), model(x))
    x = torch.randn(5, 3, 16, 16)
    torch.testing.assert_close(program.module()(x), model(x))


@warnings_of_pytorch
def test_traced_and_symbolic_graphs():
    model = accelerated(small_network()).eval()
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(torch.jit.trace(model, x)(x), model(x))
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(x), model(x))


@warnings_of_pytorch
def test_the_compiler_lays_out_for_its_own_convolutions(monkeypatch, tmp_path):
    """It has them in channels_last; around a planar operator it would transpose every activation."""
    layouts = []

    def run(kind, g, x, weight, bias, y, *activation):
        layouts.extend(operators.result_is_channels_last(a, weight) for a in (x, y) if kind != operators.WEIGHT_GRAD)
        return engine(kind, g, x, weight, bias, y, *activation)

    engine = operators._run
    monkeypatch.setattr(operators, "_run", run)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(), nn.Conv2d(8, 4, 1))
    x = torch.randn(2, 3, 9, 9)
    expected = torch.autograd.grad(model(x).square().sum(), list(model.parameters()))
    # What it compiled for another version of the operators is kept in files.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    loss = torch.compile(accelerated(model), fullgraph=True)(x).square().sum()
    torch.testing.assert_close(torch.autograd.grad(loss, list(model.parameters())), expected)
    assert layouts == [True] * 4


@warnings_of_pytorch
@pytest.mark.parametrize(("dtype", "multiplier", "ours"), [("float32", 1, 0), ("float32", 2, 1), ("float64", 1, 1)])
def test_the_compiler_has_what_it_fuses(dtype, multiplier, ours):
    """Float32 of one filter a channel, without gradients: oneDNN's convolution takes what follows into its own pass."""
    dtype = getattr(torch, dtype)
    model = accelerated(nn.Sequential(nn.Conv2d(4, 4 * multiplier, 3, groups=4))).to(dtype)
    x = torch.randn(1, 4, 6, 6, dtype=dtype)
    expected, compiled = model(x), torch.compile(model, backend="eager", fullgraph=True)
    before = ran()
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), expected)
    assert ran() == before + (ours if torch.backends.mkldnn.is_available() else 1)
    torch.testing.assert_close(compiled(x), expected)  # with gradients
    assert ran() > before


@warnings_of_pytorch
@pytest.mark.parametrize(("case", "runs"), [(CASES[7], 1), (CASES[0], 0), (CASES[11], 1)], ids=str)
def test_in_two_dimensions_alone_the_compiler_is_faster(case, runs):
    inputs, steps = problem(case)
    compiled = torch.compile(lambda *a: ours(*a, *steps), backend="eager", fullgraph=True)
    with torch.no_grad():
        expected, before = ours(*inputs, *steps), ran()
        torch.testing.assert_close(compiled(*inputs), expected)
    assert ran() == before + (runs if torch.backends.mkldnn.is_available() else 1)


@warnings_of_pytorch
def test_an_exported_program_holds_the_operator():
    with torch.no_grad():
        for strict in (False, True) if hasattr(torch.compiler, "is_exporting") else (False,):
            model = accelerated(nn.Sequential(nn.Conv2d(4, 4, 3, groups=4)))
            program = torch.export.export(model, (torch.randn(1, 4, 6, 6),), strict=strict)
            assert "depthwise.conv" in str(program.graph)


@warnings_of_pytorch
def test_an_exported_program_is_saved_and_loaded(tmp_path):
    path, x = str(tmp_path / "program.pt2"), torch.randn(1, 3, 6, 6)
    model = accelerated(one_layer())
    torch.export.save(torch.export.export(model, (x,)), path)
    torch.testing.assert_close(torch.export.load(path).module()(x), model(x))


@pytest.mark.slow
@warnings_of_pytorch
def test_an_exported_program_says_what_it_needs(tmp_path):
    path, x = str(tmp_path / "program.pt2"), torch.ones(1, 4, 6, 6)
    torch.export.save(torch.export.export(accelerated(nn.Sequential(nn.Conv2d(4, 4, 3, groups=4))), (x,)), path)
    load = f"program = torch.export.load({path!r}).module()(torch.ones(1, 4, 6, 6))"
    bare = subprocess.run([sys.executable, "-c", f"import torch; {load}"], capture_output=True, text=True)
    assert bare.returncode
    assert "torch.ops.depthwise.conv" in bare.stderr
    assert "import the custom op" in bare.stderr
    subprocess.run([sys.executable, "-c", f"import torch, depthwise.torch; {load}"], check=True)


@warnings_of_pytorch
@pytest.mark.skipif(internals.HOOK == "forward", reason="PyTorch scripts no forward that is not a function")
def test_scripts():
    x = torch.randn(2, 3, 16, 16)
    model = accelerated(small_network().eval())
    torch.testing.assert_close(torch.jit.script(model)(x), model(x))
    layer, x = DepthwiseConv2d(3, 6, padding=1, padding_mode="reflect"), x[:, :, :5]
    torch.testing.assert_close(torch.jit.script(layer)(x), layer(x))


def quantised(model, x, prepare, convert):
    model = prepare(model)
    model(x)
    return convert(model.eval())


def stubs(model):
    return nn.Sequential(quantization.QuantStub(), *model, quantization.DeQuantStub())


def eager(model, x):
    model = quantization.fuse_modules(stubs(model).eval(), [["2", "3", "4"]])
    model.qconfig = quantization.get_default_qconfig(ENGINE)
    return quantised(model, x, quantization.prepare, quantization.convert)


def eager_while_trained(model, x):
    model = quantization.fuse_modules_qat(stubs(model).train(), [["2", "3", "4"]])
    model.qconfig = quantization.get_default_qat_qconfig(ENGINE)
    return quantised(model, x, quantization.prepare_qat, quantization.convert)


def graph(model, x):
    mapping = quantization.get_default_qconfig_mapping(ENGINE)
    return quantised(model, x, lambda m: quantize_fx.prepare_fx(m, mapping, (x,)), quantize_fx.convert_fx)


def graph_while_trained(model, x):
    mapping = quantization.get_default_qat_qconfig_mapping(ENGINE)
    prepare = quantize_fx.prepare_qat_fx
    return quantised(model.train(), x, lambda m: prepare(m, mapping, (x,)), quantize_fx.convert_fx)


def fused_graph(model, x):
    from torch.fx.experimental.optimization import fuse  # it warns of PyTorch's own way to define it

    return fuse(model)


WAYS = {
    "fuse_modules": lambda model, x: quantization.fuse_modules(model, [["1", "2", "3"]]),
    "optimization.fuse": fused_graph,
    "fuse_fx": lambda model, x: quantize_fx.fuse_fx(model),
    "convert": eager,
    "prepare_qat": eager_while_trained,
    "convert_fx": graph,
    "prepare_qat_fx": graph_while_trained,
}


@warnings_of_pytorch
@pytest.mark.parametrize("way", WAYS)
def test_layers_are_fused_and_quantised_as_stock_ones(way):
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, groups=8)
    ).eval()
    x = torch.randn(2, 3, 9, 9)
    expected, actual = (WAYS[way](m, x) for m in (copy.deepcopy(model), accelerated(model)))
    assert [type(m) for m in actual.children()] == [type(m) for m in expected.children()]
    assert [type(m) for m in actual.modules()] != [type(m) for m in model.modules()]
    step = 0.1 if "fuse" not in way else 1e-5  # another order of summation may change the last digit of a scale
    torch.testing.assert_close(actual(x), expected(x), rtol=0, atol=step)


@warnings_of_pytorch
def test_a_graph_of_the_layer_is_quantised():
    converted = graph(nn.Sequential(DepthwiseConv2d(8)).eval(), torch.randn(1, 8, 9, 9))
    assert "quantized.conv2d" in converted.code


@pytest.mark.parametrize("wanted", [(), (0,), (1,), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("case", ONE_OF_EACH, ids=str)
def test_flops_are_those_of_pytorch(case, wanted):
    counts = []
    for f in (ours, stock):
        inputs, steps = problem(case)
        inputs = [a.requires_grad_(i in wanted) for i, a in enumerate(inputs)]
        with flop_counter.FlopCounterMode(display=False) as counter:
            y = f(*inputs, *steps)
            if wanted:
                y.sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0
