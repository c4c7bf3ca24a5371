"""chainer.config: its keys, their scope in blocks and threads, and what is refused."""

import threading

import numpy as np
import pytest

import depthwise.chainer as chainer


def test_using_config_restores_its_own_key():
    assert (chainer.config.train, chainer.config.enable_backprop, chainer.config.dtype) == (True, True, np.float32)
    with chainer.using_config("train", False), chainer.using_config("user_level", 3):
        chainer.config.user_kept = 1
        with chainer.using_config("train", True):
            assert chainer.config.train
        assert (chainer.config.train, chainer.config.user_level) == (False, 3)
    assert chainer.config.train
    assert chainer.config.user_kept == 1
    with pytest.raises(AttributeError, match="user_level"):
        _ = chainer.config.user_level
    with pytest.raises(KeyError), chainer.using_config("train", False):
        raise KeyError
    assert chainer.config.train


def test_enable_backprop_is_the_recording_of_graphs():
    x = chainer.Variable(np.ones(2))
    with chainer.using_config("enable_backprop", False):
        assert (x * 2).creator is None
        with chainer.force_backprop_mode():
            assert (x * 2).creator is not None
    with chainer.no_backprop_mode():
        assert not chainer.config.enable_backprop
    assert (x * 2).creator is not None


def test_threads_have_values_of_their_own():
    seen = []
    with chainer.using_config("train", False):
        thread = threading.Thread(target=lambda: seen.append(chainer.config.train))
        thread.start()
        thread.join()
        chainer.global_config.train = None
        try:
            thread = threading.Thread(target=lambda: seen.append(chainer.config.train))
            thread.start()
            thread.join()
        finally:
            chainer.global_config.train = True
        assert not chainer.config.train
    assert seen == [True, None]


def test_what_has_no_effect_is_taken_and_what_would_have_is_not():
    for name in ("type_check", "use_cudnn", "autotune", "cudnn_deterministic"):
        with chainer.using_config(name, False):
            assert getattr(chainer.config, name) is False
    chainer.config.debug = False
    with pytest.raises(ValueError, match=r"config.debug: results are not searched for NaN"):
        chainer.config.debug = True
    with pytest.raises(ValueError, match=r"config.dtype must be a floating-point type, got int32"):
        chainer.config.dtype = np.int32
    with pytest.raises(AttributeError, match="there is no configuration 'trian'"), chainer.using_config("trian", False):
        pass
    with pytest.raises(AttributeError, match="there is no configuration 'trian'"):
        chainer.global_config.trian = False


def test_mixed16_is_refused():
    with pytest.raises(ValueError, match=r"config\.dtype must be a floating-point type, got 'mixed16'"):
        chainer.config.dtype = "mixed16"
