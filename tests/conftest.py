"""The fixture that forces a target, and proves that it ran."""

from __future__ import annotations

import os

import pytest

# Memory is walked alike on every machine, so that the same code is tested; read when the engine is first used.
os.environ.setdefault("DEPTHWISE_CACHES", "32K,1M,32M")

import depthwise
from depthwise import _core
from helpers import COMPILED


@pytest.fixture(params=COMPILED)
def target(request):
    """Force one target; fail unless its kernels, and no others, ran."""
    name = request.param
    if name not in depthwise.targets():
        pytest.skip(f"this CPU cannot run {name}")
    runnable = [i for i, (_, supported) in enumerate(_core.targets()) if supported]
    before = {i: _core.executions(i) for i in runnable}
    with depthwise.use_target(name):
        yield name
    ran = {COMPILED[i] for i in runnable if _core.executions(i) > before[i]}
    assert ran == {name}, f"the test forced {name} but ran {ran or 'nothing'}"
