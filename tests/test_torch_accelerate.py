"""What depthwise.torch.accelerate makes fast: layers of every kind, modules that convolve by themselves, and calls."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle
import threading
import weakref

import pytest

import depthwise
from torch_helpers import F, accelerated, internals, nn, outcome, ran, torch

warnings_of_pytorch = pytest.mark.filterwarnings("ignore")  # what its tools say of themselves
SIZES = {1: (13,), 2: (9, 8), 3: (5, 7, 6)}
CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
AXES = [1, 2, 3]


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(0)


@pytest.fixture
def fresh_compiler():
    """It refuses to compile a function again too often; tests are not to hang on how many there were."""
    torch.compiler.reset()


def pad_to_same(x, kernel, stride):
    """So that there is an output for each `stride` inputs; an odd one at the end, however large the image."""
    totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
    return F.pad(x, [side for t in reversed(totals) for side in (t // 2, t - t // 2)])


class SamePadded(nn.Conv2d):
    """As TensorFlow pads, and with it all networks that came from there."""

    def forward(self, x):
        x = pad_to_same(x, self.kernel_size, self.stride)
        return F.conv2d(x, self.weight, self.bias, self.stride, (0, 0), self.dilation, self.groups)


class Standardised(nn.Conv2d):
    """Convolves with weights of mean zero and variance one."""

    def forward(self, x):
        var, mean = torch.var_mean(self.weight, dim=[1, 2, 3], keepdim=True, unbiased=False)
        weight = (self.weight - mean) / torch.sqrt(var + 1e-6)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, groups=self.groups)


class Causal(nn.Conv1d):
    """No output sees what comes after it; the layer's own forward does the rest."""

    def forward(self, x):
        return super().forward(F.pad(x, ((self.kernel_size[0] - 1) * self.dilation[0], 0)))


class Blur(nn.Module):
    """One filter, which is nobody's parameter, for all channels."""

    def __init__(self):
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("filter", (row[:, None] * row)[None, None])

    def forward(self, x):
        channels = x.shape[1]
        weight = self.filter.expand(channels, -1, -1, -1)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), weight, stride=2, groups=channels)


class Upsample(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("filter", torch.rand(1, 1, 4))

    def forward(self, x):
        channels = x.shape[1]
        x = F.pad(x, (1, 1), mode="replicate")
        return 2 * nn.functional.conv_transpose1d(x, self.filter.expand(channels, -1, -1), stride=2, groups=channels)


def of_each_image(x, weight, channels):
    batch = x.shape[0]
    y = F.conv2d(x.reshape(1, batch * channels, *x.shape[2:]), weight, None, 1, 1, 1, batch * channels)
    return y.reshape(batch, channels, *y.shape[2:])


class Conditional(nn.Module):
    """A mixture of filters for each image, folded into the channels; the convolution is called by a function."""

    def __init__(self):
        super().__init__()
        self.in_channels = self.groups = 4
        self.weight = nn.Parameter(torch.randn(3, 4 * 9))

    def forward(self, x):
        routes = torch.sigmoid(x.mean((2, 3))[:, :3])
        return of_each_image(x, (routes @ self.weight).reshape(-1, 1, 3, 3), self.in_channels)


class Named(nn.Conv2d):
    pass


MODULES = {
    "Conv1d": (lambda: nn.Conv1d(4, 8, 3, 2, padding=1, groups=4), (4, 13)),
    "Conv1d reflect": (lambda: nn.Conv1d(4, 4, 3, padding=2, padding_mode="reflect", groups=4), (4, 13)),
    "Conv2d": (lambda: nn.Conv2d(4, 4, 3, groups=4), (4, 9, 8)),
    "Conv2d, named": (lambda: Named(4, 4, 3, groups=4), (4, 9, 8)),
    "Conv3d": (lambda: nn.Conv3d(4, 4, 3, padding=1, groups=4), (4, 5, 7, 6)),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(4, 4, 4, 2, 1, groups=4), (4, 9)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 8, 3, 2, 1, 1, groups=4), (4, 6, 5)),
    "ConvTranspose3d": (lambda: nn.ConvTranspose3d(4, 4, 2, 2, groups=4), (4, 3, 4, 2)),
    "same padding": (lambda: SamePadded(4, 4, 3, 2, groups=4), (4, 9, 8)),
    "standardised": (lambda: Standardised(4, 8, 3, padding=1, groups=4), (4, 9, 8)),
    "causal": (lambda: Causal(4, 4, 3, dilation=2, groups=4), (4, 13)),
    "blur": (Blur, (4, 9, 8)),
    "upsample": (Upsample, (4, 9)),
    "conditional": (Conditional, (4, 9, 8)),
}
every_module = pytest.mark.parametrize("kind", MODULES)
SCRIPTED = [*[kind for kind in MODULES if "Conv" in kind], "standardised"]  # of the others PyTorch makes no script


def made(kind, dtype=torch.float32):
    make, shape = MODULES[kind]
    return make().to(dtype), torch.randn(2, *shape, dtype=dtype, requires_grad=True)


def check(module, x, expected, runs=1):
    before = ran()
    torch.testing.assert_close(module(x), expected)
    assert ran() == before + runs


@every_module
def test_values_and_gradients_are_those_of_the_stock_module(kind):
    module, x = made(kind, torch.float64)
    inputs = [x, *module.parameters()]
    expected = module(x)
    gradients = torch.autograd.grad(expected.sin().sum(), inputs)
    keys, kept = list(module.state_dict()), list(module.parameters())
    assert depthwise.torch.accelerate(module) == ([""], {})
    check(module, x, expected)
    before = ran()
    torch.testing.assert_close(torch.autograd.grad(module(x).sin().sum(), inputs), gradients)
    assert ran() > before + 1
    assert list(module.state_dict()) == keys
    assert all(a is b for a, b in zip(module.parameters(), kept, strict=True))


@every_module
def test_a_module_without_a_batch(kind):
    module, x = made(kind)
    stock = outcome(module, x[0])
    if isinstance(stock, tuple):  # it needs one
        assert outcome(accelerated(module), x[0])[0] is stock[0]
    else:
        check(accelerated(module), x[0], stock)


@every_module
def test_wrong_inputs_get_pytorchs_words(kind):
    module, x = made(kind)
    for bad in (x[:, :3], x.unsqueeze(0), x[..., :0], x.long(), "x"):
        stock = outcome(module, bad)
        ours = outcome(accelerated(copy.deepcopy(module)), bad)
        assert type(ours) is type(stock)
        if isinstance(stock, tuple):
            assert ours == stock


def test_the_hook_takes_arguments_by_name():
    """Wrappers that exchange weights call it so."""
    layer, x = torch.nn.Conv1d(8, 8, 4, groups=8), torch.randn(2, 8, 9)
    expected = layer(x)
    depthwise.torch.accelerate(layer)
    torch.testing.assert_close(layer._conv_forward(input=x, weight=layer.weight, bias=layer.bias), expected)


@every_module
def test_modules_are_restored(kind):
    module, x = made(kind)
    before = dict(vars(module))
    expected = module(x)
    depthwise.torch.accelerate(module)
    assert depthwise.torch.accelerate(module) == ([], {"": "is fast already"})
    assert depthwise.torch.restore(module) == [""]
    assert depthwise.torch.restore(module) == []
    assert vars(module).keys() == before.keys()
    check(module, x, expected, runs=0)


@every_module
def test_copies_pickles_and_files_are_fast_by_their_own_weights(kind, tmp_path):
    module, x = made(kind)
    cls = type(module)
    accelerated(module)
    torch.save(module, tmp_path / "module.pt")
    loaded = torch.load(tmp_path / "module.pt", weights_only=False)
    for again in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), loaded):
        assert type(again) is cls
        check(again, x, module(x))
        for tensor in again.state_dict().values():
            tensor.zero_()
        assert not torch.equal(again(x), module(x))
        assert not again(x).any()
        assert depthwise.torch.restore(again) == [""]
        assert vars(again).keys() == vars(MODULES[kind][0]()).keys()


@every_module
def test_a_module_is_not_kept_alive(kind):
    gc.disable()
    try:
        module = accelerated(made(kind)[0])
        seen = weakref.ref(next(iter(module.state_dict(keep_vars=True).values())))
        del module
        assert seen() is None
    finally:
        gc.enable()


@every_module
def test_a_shallow_copy_is_fast_as_long_as_its_module(kind):
    module, x = made(kind)
    expected = module(x)
    shallow = copy.copy(accelerated(module))
    check(shallow, x, expected)
    del module
    with pytest.raises(RuntimeError, match="accelerate it"):
        shallow(x)
    assert depthwise.torch.accelerate(shallow).changed == [""]
    check(shallow, x, expected)


@every_module
def test_hooks_are_called(kind):
    module, x = made(kind)
    seen = []
    module.register_forward_pre_hook(lambda *_: seen.append("before"))
    module.register_forward_hook(lambda *_: seen.append("after"))
    accelerated(module)(x)
    assert seen == ["before", "after"]


@every_module
def test_the_forward_has_its_signature(kind):
    module = made(kind)[0]
    signature = inspect.signature(module.forward)
    accelerated(module)
    assert inspect.signature(module.forward) == signature
    assert module.forward.__self__ is module


@every_module
@warnings_of_pytorch
def test_compile(kind, fresh_compiler):
    module, x = made(kind, torch.float64)
    inputs = [x, *module.parameters()]
    expected = torch.autograd.grad(module(x).sin().sum(), inputs)
    compiled = torch.compile(accelerated(module), fullgraph=True, backend="eager")
    before = ran()
    torch.testing.assert_close(torch.autograd.grad(compiled(x).sin().sum(), inputs), expected)
    assert ran() > before


@every_module
@warnings_of_pytorch
def test_export(kind, fresh_compiler):
    module, x = made(kind)
    expected = module(x)
    for strict in (False, True) if hasattr(torch.compiler, "is_exporting") else (False,):
        program = torch.export.export(accelerated(module), (x.detach(),), strict=strict)
        assert "depthwise.conv" in str(program.graph)
        torch.testing.assert_close(program.module()(x), expected)


@every_module
@warnings_of_pytorch
def test_traced_and_symbolic_graphs_hold_pytorchs_convolution(kind):
    module, x = made(kind)
    expected = module(x)
    traced = torch.jit.trace(accelerated(module), x)
    check(traced, x, expected, runs=0)
    if kind not in ("same padding", "blur", "upsample", "conditional"):  # which ask for sizes
        symbolic = torch.fx.symbolic_trace(nn.Sequential(module))
        assert "depthwise" not in symbolic.code
        torch.testing.assert_close(symbolic(x), expected)


@pytest.mark.parametrize("kind", SCRIPTED)
@warnings_of_pytorch
def test_scripts(kind):
    module, x = made(kind)
    check(torch.jit.script(accelerated(module)), x, module(x), runs=0)


@pytest.mark.parametrize("kind", [kind for kind in MODULES if kind not in ("blur", "upsample")])  # parameters
def test_functional_call_and_vmap(kind):
    module, x = made(kind)
    several = [{name: torch.randn_like(p) for name, p in module.named_parameters()} for _ in range(3)]
    expected = torch.stack([torch.func.functional_call(module, one, (x,)) for one in several])
    accelerated(module)
    stacked = {name: torch.stack([one[name] for one in several]) for name in several[0]}
    before = ran()
    y = torch.func.vmap(lambda one: torch.func.functional_call(module, one, (x,)))(stacked)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    assert ran() == before + 1


@every_module
def test_autocast(kind):
    module, x = made(kind)
    with torch.autocast("cpu", torch.bfloat16):
        expected = module(x)
        before = ran()
        y = accelerated(module)(x)
    assert ran() == before + 1
    assert y.dtype is expected.dtype
    torch.testing.assert_close(y, expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [0, 2, "each", "same", "valid"])
def test_padding_modes(axes, mode, padding):
    padding = (1, 2, 0)[-axes:] if padding == "each" else padding
    layer = CONV[axes](4, 8, 3, padding=padding, dilation=1, padding_mode=mode, groups=4)
    x = torch.randn(2, 4, *SIZES[axes])
    check(accelerated(copy.deepcopy(layer)), x, layer(x))


@pytest.mark.parametrize("axes", AXES)
def test_a_transposed_layer_takes_an_output_size(axes):
    layer = TRANSPOSED[axes](4, 4, 3, 2, 1, groups=4)
    x = torch.randn(2, 4, *SIZES[axes])
    size = [2 * n for n in SIZES[axes]]
    expected = layer(x, output_size=size)
    assert list(expected.shape[2:]) == size
    before = ran()
    torch.testing.assert_close(accelerated(layer)(x, output_size=size), expected)
    assert ran() == before + 1
    with pytest.raises(ValueError, match="output size"):
        layer(x, output_size=[9 * n for n in SIZES[axes]])


@pytest.mark.skipif(internals.HOOK == "forward", reason="the forward of a clone does not know whose it is")
def test_a_clone_has_its_own_weights():
    """As replicas and libraries of meta-learning make them: the same attributes, other parameters."""
    layer = accelerated(nn.Conv2d(4, 4, 3, groups=4))
    clone = copy.copy(layer)
    clone._parameters = {"weight": torch.zeros(4, 1, 3, 3), "bias": torch.ones(4)}
    x = torch.randn(1, 4, 5, 5)
    torch.testing.assert_close(clone(x), torch.ones(1, 4, 3, 3))


# Calls


CALLS = {
    f.__name__: (f, axes, "transpose" in f.__name__)
    for axes, both in enumerate(
        ((F.conv1d, F.conv_transpose1d), (F.conv2d, F.conv_transpose2d), (F.conv3d, F.conv_transpose3d)), 1
    )
    for f in both
}


def call(name, channels=4, groups=4, **options):
    f, axes, _ = CALLS[name]
    torch.manual_seed(0)
    x, weight = torch.randn(2, channels, *SIZES[axes]), torch.randn(channels, channels // groups, *[2] * axes)
    return f(x, weight, torch.randn(channels), groups=groups, **options)


@pytest.mark.parametrize("name", CALLS)
def test_depthwise_calls_are_rerouted(name):
    options = [{}, {"stride": 2}, {"padding": 1, "dilation": 2}]
    stock = [call(name, **o) for o in options]
    before = ran()
    with depthwise.torch.accelerated():
        ours = [call(name, **o) for o in options]
    assert ran() == before + len(options)
    torch.testing.assert_close(ours, stock)
    call(name)
    assert ran() == before + len(options)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(("channels", "groups"), [(4, 1), (4, 2), (1, 1)])
def test_other_calls_are_pytorchs(name, channels, groups):
    stock, before = call(name, channels, groups), ran()
    with depthwise.torch.accelerated():
        assert torch.equal(call(name, channels, groups), stock)
    assert ran() == before


@pytest.mark.parametrize("name", CALLS)
def test_arguments_by_position_and_by_name(name):
    f, axes, transposed = CALLS[name]
    x, weight, bias = torch.randn(1, 4, *SIZES[axes]), torch.randn(4, 1, *[3] * axes), torch.randn(4)
    steps = (2, 1, 1, 4, 1) if transposed else (2, 1, 1, 4)
    names = ("stride", "padding", "output_padding", "groups", "dilation")
    names = names if transposed else ("stride", "padding", "dilation", "groups")
    stock, before = f(x, weight, bias, *steps), ran()
    with depthwise.torch.accelerated():
        torch.testing.assert_close(f(x, weight, bias, *steps), stock)
        named = dict(zip(names, steps, strict=True))
        torch.testing.assert_close(f(weight=weight, input=x, bias=bias, **named), stock)
    assert ran() == before + 2


WRONG = [
    lambda f, x, w: f(x, w, groups=3),
    lambda f, x, w: f(x, w, stride=0, groups=4),
    lambda f, x, w: f(x, w, padding="causal", groups=4),
    lambda f, x, w: f(x, w, padding=(1, 1, 1, 1), groups=4),
    lambda f, x, w: f(x, w.double(), groups=4),
    lambda f, x, w: f(x, w[..., None], groups=4),
    lambda f, x, w: f(x[..., None], w[..., None], groups=4),
    lambda f, x, w: f(x, w, torch.zeros(3), groups=4),
    lambda f, x, w: f(x, w, groups="4"),
    lambda f, x, w: f(x),
    lambda f, x, w: f(x, w, groups=4, steps=1),
    lambda f, x, w: f(x, None, groups=4),
    lambda f, x, w: f(x, w, None, 1, 0, 1, 4, 4, 4),
]


@pytest.mark.parametrize("wrong", range(len(WRONG)))
@pytest.mark.parametrize("name", CALLS)
def test_wrong_calls_get_pytorchs_words(name, wrong):
    f, axes, _ = CALLS[name]
    x, weight = torch.randn(1, 4, *SIZES[axes]), torch.randn(4, 1, *[2] * axes)
    stock = outcome(WRONG[wrong], f, x, weight)
    with depthwise.torch.accelerated():
        ours = outcome(WRONG[wrong], f, x, weight)
    if isinstance(stock, tuple):
        assert ours == stock
    else:  # one of the six takes it
        torch.testing.assert_close(ours, stock)


def test_subclasses_of_tensor_see_the_call_that_was_made():
    seen = []

    class Seeing(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            seen.append(func)
            return super().__torch_function__(func, types, args, kwargs or {})

    x, weight = torch.randn(1, 4, 5, 5).as_subclass(Seeing), torch.randn(4, 1, 3, 3)
    with depthwise.torch.accelerated():
        F.conv2d(x, weight, groups=4)
    assert seen == [F.conv2d]


def test_beside_another_mode():
    x, weight = torch.randn(1, 4, 5, 5), torch.randn(4, 1, 3, 3)
    expected, before = F.conv2d(x, weight, groups=4), ran()
    with torch.device("cpu"), depthwise.torch.accelerated(), torch.device("cpu"), depthwise.torch.accelerated():
        torch.testing.assert_close(F.conv2d(x, weight, groups=4), expected)
    assert ran() == before + 1


def test_other_threads_are_not_rerouted():
    before = ran()
    with depthwise.torch.accelerated():
        thread = threading.Thread(target=call, args=("conv2d",))
        thread.start()
        thread.join()
    assert ran() == before


def test_an_error_ends_the_rerouting():
    with pytest.raises(ZeroDivisionError), depthwise.torch.accelerated():
        1 / 0  # noqa: B018 - the error is what is wanted
    blur = accelerated(Blur())
    with pytest.raises(RuntimeError):
        blur(torch.randn(1, 1, 1, 1))  # too small for its padding
    before = ran()
    call("conv2d")
    assert ran() == before
    blur(torch.randn(1, 2, 5, 5))
    assert ran() == before + 1


@warnings_of_pytorch
def test_a_compiled_function_may_reroute(fresh_compiler):
    def f(x, weight):
        with depthwise.torch.accelerated():
            return F.conv1d(x, weight, groups=4).relu()

    x, weight = torch.randn(2, 4, 9, dtype=torch.float64), torch.randn(4, 1, 3, dtype=torch.float64)
    expected, before = F.conv1d(x, weight, groups=4).relu(), ran()
    torch.testing.assert_close(torch.compile(f, fullgraph=True, backend="eager")(x, weight), expected)
    assert ran() == before + 1


# Models


class Mixer(nn.Module):
    """A block that convolves by itself, with the weight of a layer that it never calls, as state-space models do."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.conv = nn.Conv1d(4, 4, 3, groups=4)

    def forward(self, x):
        return self.mix(self.inner(x).transpose(1, 2)).transpose(1, 2)

    def mix(self, x):
        return F.conv1d(x, self.conv.weight, self.conv.bias, padding=2, groups=x.shape[1])[..., : x.shape[2]]


def smooth(x, filters={2: F.conv1d}):  # noqa: B006 - no code names what this calls
    return filters[2](x, x.new_ones(x.shape[1], 1, 3) / 3, padding=1, groups=x.shape[1])


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(Mixer(), nn.GELU(), Mixer())

    def forward(self, x, scale: float = 1.0):
        return smooth(self.blocks(x)) * scale


def test_what_is_more_than_a_layer_is_named():
    model, x = Model(), torch.randn(2, 7, 4)
    expected = model(x)
    changed, left = depthwise.torch.accelerate(model)
    assert changed == ["blocks.0.conv", "blocks.2.conv"]
    assert left == {f"blocks.{i}": "Mixer is more than a layer: accelerate(model, functional=True)" for i in (0, 2)}
    check(model, x, expected, runs=0)


def test_functional_calls_of_a_model():
    model, x = Model(), torch.randn(2, 7, 4)
    expected, signature = model(x, scale=2.0), inspect.signature(model.forward)
    names = ["", "blocks.0", "blocks.0.conv", "blocks.2", "blocks.2.conv"]
    assert depthwise.torch.accelerate(model, functional=True) == (names, {})
    assert inspect.signature(model.forward) == signature
    for again in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        before = ran()
        torch.testing.assert_close(again(x, scale=2.0), expected)
        assert ran() == before + 3
        assert depthwise.torch.restore(again) == names
        before = ran()
        torch.testing.assert_close(again(x, scale=2.0), expected)
        assert ran() == before


@warnings_of_pytorch
def test_tools_take_a_model_whose_calls_are_rerouted(fresh_compiler):
    model, x = Model().double(), torch.randn(2, 7, 4, dtype=torch.float64)
    expected = model(x)
    depthwise.torch.accelerate(model, functional=True)
    before = ran()
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="eager")(x), expected)
    assert ran() == before + 3
    program = torch.export.export(model, (x,))
    assert str(program.graph).count("torch.ops.depthwise.conv") == 3
    torch.testing.assert_close(program.module()(x), expected)
    torch.testing.assert_close(torch.jit.trace(model, x)(x), expected)


@pytest.mark.parametrize("reentrant", [False, True])
def test_blocks_are_computed_again_from_a_checkpoint(reentrant):
    model, x = Model(), torch.randn(2, 7, 4, requires_grad=True)
    depthwise.torch.accelerate(model, functional=True)
    expected = torch.autograd.grad(model.blocks[0](x).sin().sum(), x)
    y = torch.utils.checkpoint.checkpoint(model.blocks[0], x, use_reentrant=reentrant)
    before = ran()
    y.sin().sum().backward()
    torch.testing.assert_close(x.grad, expected[0])
    assert ran() > before + 1  # the convolution again, and its gradients


def test_the_gradient_of_a_frozen_filter_is_computed_again_from_a_checkpoint():
    blur, x = accelerated(Blur()), torch.randn(2, 4, 9, 9, requires_grad=True)
    expected = torch.autograd.grad(blur(x).sin().sum(), x)
    torch.utils.checkpoint.checkpoint(blur, x, use_reentrant=False).sin().sum().backward()
    torch.testing.assert_close(x.grad, expected[0])


def test_a_graph_is_left_and_its_calls_can_be_rerouted():
    graph, x = torch.fx.symbolic_trace(Mixer()), torch.randn(2, 7, 4)
    expected = graph(x)
    why = "Mixer is a graph: run it in depthwise.torch.accelerated()"
    assert depthwise.torch.accelerate(graph, functional=True) == ([], {"": why})
    torch.testing.assert_close(copy.deepcopy(graph)(x), expected)
    before = ran()
    with depthwise.torch.accelerated():
        torch.testing.assert_close(graph(x), expected)
    assert ran() == before + 1


class Dense(nn.Module):
    """Calls a convolution and has a layer of the same name, and groups of something else: neither is depthwise."""

    def __init__(self):
        super().__init__()
        self.conv1d = nn.Conv1d(4, 4, 3)
        self.parts = 2

    def forward(self, x):
        groups = x.unflatten(1, (self.parts, -1))
        return F.relu(self.conv1d(groups.flatten(1, 2)))


class Recursive(nn.Module):
    def forward(self, x):
        return self.forward(x) if x.dim() > 9 else F.conv1d(x, torch.ones(4, 4, 1))


def test_modules_that_call_no_depthwise_convolution_are_left():
    model = nn.Sequential(nn.Conv1d(4, 4, 1), Dense(), Recursive(), nn.ReLU(), nn.MultiheadAttention(4, 2))
    assert depthwise.torch.accelerate(model) == ([], {})


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_an_instances_own_forward_is_kept():
    layer = nn.ConvTranspose1d(4, 4, 3, groups=4)
    layer.forward = lambda x: x
    assert depthwise.torch.accelerate(layer) == ([], {"": "has a forward of its own"})
    x = torch.ones(1)
    assert layer(x) is x


def test_the_layers_of_timm():
    reason = "timm is not installed, with what it needs"
    layers = pytest.importorskip("timm.layers", reason=reason, exc_type=Exception)
    x, routes = torch.randn(2, 8, 9, 9), torch.rand(2, 4)
    for module, *inputs in (
        (layers.Conv2dSame(8, 8, 3, 2, groups=8), x),
        (layers.StdConv2d(8, 16, 3, padding=1, groups=8), x),
        (layers.StdConv2dSame(8, 8, 3, 2, groups=8), x),
        (layers.ScaledStdConv2dSame(8, 8, 3, 2, groups=8), x),
        (layers.BlurPool2d(8), x),
        (layers.CondConv2d(8, 8, 3, groups=8), x, routes),
    ):
        expected, before = module(*inputs), ran()
        assert depthwise.torch.accelerate(module) == ([""], {})
        torch.testing.assert_close(module(*inputs), expected)
        assert ran() == before + 1, type(module)
