"""Links that hold parameters and links: names, order, copies, and what Chainer's code calls on them."""

import copy
import pickle

import numpy as np
import pytest

from depthwise import Chain, ChainList, Link, Parameter, Sequential, Variable, initializers
from depthwise import functions as F  # noqa: N812 - Chainer's users call it so
from depthwise import links as L  # noqa: N812 - Chainer's users call it so

X = np.ones((1, 3, 6, 6), np.float32)


class Scale(Link):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.factor = Parameter(2.0, (1, 3, 1, 1))
            self.note = "not a parameter"
        self.outside = Parameter(1.0, (1,))

    def forward(self, x, more=0.0):
        return x * self.factor + more


class Net(Chain):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.z = L.DepthwiseConvolution2D(None, 1, 3, pad=1)
            self.blocks = ChainList(Scale(), Scale())
            self.bias = Parameter(np.zeros((1, 3, 1, 1), np.float32))
            self.a = Sequential(L.DepthwiseConvolution2D(3, 1, 3, nobias=True), F.relu, Scale())

    def forward(self, x):
        x = self.z(x)
        for block in self.blocks:
            x = block(x)
        return self.a(x) + self.bias


PATHS = ["/bias", "/a/0/W", "/a/1/factor", "/blocks/0/factor", "/blocks/1/factor", "/z/W", "/z/b"]


def arrays(link):
    return {path: p.array for path, p in link.namedparams()}


def test_parameters_are_registered_in_init_scope_alone():
    link = Scale()
    assert [path for path, _ in link.namedparams()] == ["/factor"]
    assert link.factor.name == "factor"
    assert not link.within_init_scope
    np.testing.assert_array_equal(link(X, more=1.0).array, X * 2 + 1)
    del link.factor
    assert list(link.params()) == []


def test_paths_are_chainers():
    net = Net()
    assert [path for path, _ in net.namedparams()] == PATHS
    assert [path for path, _ in net.namedparams(include_uninit=False)] == PATHS[:-2]
    assert len(list(net.params(include_uninit=False))) == 5
    assert [path for path, _ in net.namedlinks()] == [
        *("/", "/a", "/a/0", "/a/1", "/blocks", "/blocks/0", "/blocks/1", "/z")
    ]
    assert next(path for path, _ in net.namedlinks(skipself=True)) == "/a"
    assert next(iter(net.links())) is net
    assert len(list(net.links(skipself=True))) == 7
    assert [child.name for child in net.children()] == ["a", "blocks", "z"]
    assert [child.name for child in net.blocks.children()] == ["0", "1"]
    assert (net.name, net["z"], net.xp) == (None, net.z, np)
    assert list(Scale().children()) == []


def test_a_chain_trains():
    net = Net()
    net.z(X)
    F.sum(net(X)).backward()
    assert all(p.grad is not None for p in net.params())
    net.cleargrads()
    assert all(p.grad is None for p in net.params())


def test_repr_shows_what_a_chain_holds():
    assert repr(Chain()) == "Chain()"
    model = Sequential(L.DepthwiseConvolution2D(3, 1, 3), Sequential(Scale()))
    assert repr(model) == (
        "Sequential(\n"
        "  (0): DepthwiseConvolution2D(in_channels=3, channel_multiplier=1, ksize=3, stride=1, pad=0, nobias=False),\n"
        "  (1): Sequential(\n    (0): Scale(),\n  ),\n)"
    )


def test_chain_takes_links_by_keyword_and_add_link():
    chain = Chain(one=Scale())
    chain.add_link("two", Scale())
    assert [path for path, _ in chain.namedlinks()] == ["/", "/one", "/two"]
    with pytest.raises(AttributeError, match="cannot register a new link one: attribute exists"):
        chain.add_link("one", Scale())
    with pytest.raises(AttributeError, match="cannot register a new link two: attribute exists"), chain.init_scope():
        chain.two = Scale()
    with pytest.raises(TypeError, match="three must be a Link, got int"):
        Chain(three=3)
    del chain.one
    assert [path for path, _ in chain.namedlinks()] == ["/", "/two"]
    with pytest.raises(NotImplementedError, match="Chain has no forward"):
        chain(X)


def test_lists_rename_what_they_hold():
    one, two, three = Scale(), Scale(), Scale()
    chain = ChainList(one, two)
    chain.add_link(three)
    chain.insert(0, chain.pop())
    assert [link.name for link in (three, one, two)] == ["0", "1", "2"]
    assert (len(chain), list(chain), chain[-1], chain.index(one)) == (3, [three, one, two], two, 1)
    del chain[0]
    chain[1:] = [three]
    assert [link.name for link in (one, three)] == ["0", "1"]
    with pytest.raises(TypeError, match="a ChainList holds links, got function"):
        chain.append(F.relu)
    with pytest.raises(TypeError, match="by append or add_link, not as attributes"), chain.init_scope():
        chain.more = Scale()
    assert len(chain) == 2


def test_sequential_calls_one_after_the_other():
    model = Sequential(Scale(), lambda x: (x, 1.0), Scale(), F.relu)
    np.testing.assert_array_equal(model(X).array, X * 4 + 1)
    assert [path for path, _ in model.namedparams()] == ["/0/factor", "/1/factor"]
    longer = model + Sequential(Scale())
    assert (type(longer), len(longer)) == (Sequential, 5)
    assert [path for path, _ in longer.namedlinks()] == ["/", "/0", "/1", "/2"]
    with pytest.raises(RuntimeError, match="this Sequential is empty"):
        Sequential()(X)
    with pytest.raises(TypeError, match="a Sequential holds links and functions, got int"):
        Sequential(3)


@pytest.mark.parametrize("mode", ["share", "copy", "init"])
def test_copies_of_a_chain(mode):
    net = Net()
    net.add_persistent("running", np.zeros(2))
    net.a[0].W.array[...] = 9
    net(X)
    F.sum(net(X)).backward()
    twin = net.copy(mode)
    assert twin.name is None
    assert [path for path, _ in twin.namedlinks()] == [path for path, _ in net.namedlinks()]
    for (path, mine), (_, theirs) in zip(net.namedparams(), twin.namedparams(), strict=True):
        assert mine is not theirs
        assert (mine.array is theirs.array) == (mode == "share"), path
        assert mine.grad is not None
        if mode != "copy":
            assert theirs.grad is None
    assert [path for path, _ in net.namedlinks()][1] == "/a"
    assert [link.name for link in (twin.a, twin.blocks[1], twin.a[2])] == ["a", "1", "1"]
    assert (twin.a[0].W.array == 9).all() == (mode != "init")
    assert twin.a[1] is F.relu
    del twin.bias, twin.z
    assert list(arrays(net)) == PATHS
    assert net.z.copy(mode).name is None
    with pytest.raises(ValueError, match='mode must be "share", "copy" or "init"'):
        net.copy("deep")


def test_what_shares_shares_arrays_that_come_later():
    link = L.DepthwiseConvolution2D(None, 1, 3)
    twin, apart = link.copy("share"), link.copy("copy")
    link(X)
    assert twin.W.array is link.W.array
    assert apart.W.array is None
    twin.W.array = np.zeros((1, 3, 3, 3), np.float32)
    assert (link.W.array == 0).all()
    F.sum(twin(X)).backward()
    assert (link.W.grad, twin.W.grad.shape) == (None, (1, 3, 3, 3))


def test_repeat():
    link = L.DepthwiseConvolution2D(3, 1, 3, pad=1)
    for mode in ("init", "copy", "share"):
        model = link.repeat(3, mode)
        assert (type(model), len(model), [layer.name for layer in model]) == (Sequential, 3, ["0", "1", "2"])
        first, second = (model[i].W.array for i in (0, 1))
        assert (first is second) == (mode == "share")
        assert (first == second).all() == (mode != "init")
        assert model(X).shape == X.shape
    assert (first is link.W.array, link.name) == (True, None)
    assert len(link.repeat(0)) == 0


def test_pickles_and_deep_copies():
    net = Net()
    net(X)
    net.z.W.update_rule = Rule()
    for twin in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        np.testing.assert_array_equal(twin(X).array, net(X).array)
        assert [path for path, _ in twin.namedparams()] == PATHS
        assert twin.z.W.update_rule is not net.z.W.update_rule
        assert twin.update_enabled
        twin.z.W.array[...] = 0
        assert (net.z.W.array != 0).any()


def test_copyparams():
    net, other = Net(), Net()
    other(X)
    other.add_persistent("running", np.ones(2))
    net.add_persistent("running", np.zeros(2))
    net.copyparams(other, copy_persistent=False)
    assert (net.running == 0).all()
    net.copyparams(other)
    assert (net.running == 1).all()
    assert net.running is not other.running
    for path, array in arrays(net).items():
        assert array is not arrays(other)[path]
        np.testing.assert_array_equal(array, arrays(other)[path])
    with pytest.raises(ValueError, match=r"Scale\(\) has no parameter /bias"):
        net.copyparams(Scale())
    with pytest.raises(ValueError, match=r"shape \(1, 3, 3, 3\) cannot take .* of shape \(1, 3, 1, 1\)"):
        L.DepthwiseConvolution2D(3, 1, 3).copyparams(L.DepthwiseConvolution2D(3, 1, 1))


def test_gradients_are_added_and_zeroed():
    one, two = (L.DepthwiseConvolution2D(3, 1, 3) for _ in range(2))
    for link in (one, two):
        F.sum(link(X)).backward()
    one.addgrads(two)
    np.testing.assert_array_equal(one.W.grad, 2 * two.W.grad)
    with pytest.warns(DeprecationWarning, match="use cleargrads"):
        one.zerograds()
    assert (one.b.grad == 0).all()
    two.addgrads(L.DepthwiseConvolution2D(3, 1, 3))
    assert (two.W.grad == 16).all()


class Rule:
    enabled = True

    def update(self, parameter):
        parameter.array -= 0.5 * parameter.grad


def test_update_rules_are_switched():
    net = Net()
    net.disable_update()
    assert not net.update_enabled
    net.bias.update_rule = Rule()
    assert net.update_enabled
    net.disable_update()
    assert not net.update_enabled
    net.enable_update()
    assert net.bias.update_rule.enabled
    net.bias.grad = np.ones_like(net.bias.array)
    for parameter in net.params():
        parameter.update()
    assert (net.bias.array == -0.5).all()


def test_add_param_and_persistent_values():
    link = Link()
    link.add_param("W", (2, 3), initializer=initializers.One(np.float64))
    link.add_param("later", dtype=np.float16)
    link.add_persistent("steps", 3)
    link.running = np.zeros(2)
    link.register_persistent("running")
    assert [(path, p.dtype) for path, p in link.namedparams()] == [("/W", np.float64), ("/later", np.float16)]
    link.later.initialize((2,))
    assert np.isnan(link.later.array).all()
    assert link.later.array.dtype == np.float16
    with pytest.raises(AttributeError, match="cannot register a new parameter steps: attribute exists"):
        link.add_param("steps", (2,))
    with pytest.raises(AttributeError, match="cannot register a new persistent value W: attribute exists"):
        link.add_persistent("W", 3)
    with pytest.raises(AttributeError, match="cannot register non-existent attribute nothing"):
        link.register_persistent("nothing")
    link.register_persistent("W")
    assert [path for path, _ in link.namedparams()] == ["/later"]


def test_a_forgotten_init_is_said():
    class Forgetful(Chain):
        def __init__(self):
            with self.init_scope():
                self.dw = L.DepthwiseConvolution2D(3, 1, 3)

    with pytest.raises(RuntimeError, match=r"begin Forgetful.__init__ with super\(\).__init__\(\)"):
        Forgetful()


def test_parameters():
    given = np.arange(3.0)
    assert Parameter(given).array is given
    broadcast = Parameter(given, (2, 3))
    assert (broadcast.shape, broadcast.dtype, broadcast.requires_grad) == ((2, 3), np.float32, True)
    waiting = Parameter(initializers.Normal(1, np.float64), name="w")
    assert (waiting.is_initialized, waiting.dtype, waiting.array, waiting.grad) == (False, np.float64, None, None)
    with pytest.raises(AttributeError, match="no array yet, and its initializer no dtype"):
        _ = Parameter().dtype
    waiting.copydata(Variable(np.ones(2)))
    np.testing.assert_array_equal(waiting.array, [1, 1])
    y = waiting * 2
    assert type(y) is Variable
    F.sum(y).backward()
    np.testing.assert_array_equal(waiting.grad, [2, 2])


def test_a_forgotten_init_is_named():
    class Forgetful(ChainList):
        def __init__(self):
            self.append(L.DepthwiseConvolution2D(1, 1, 1))

    with pytest.raises(RuntimeError, match=r"begin Forgetful.__init__ with super\(\).__init__\(\)"):
        Forgetful()

    class Empty(Chain):
        def __init__(self):
            pass

    assert repr(Empty()) == "Empty()"
