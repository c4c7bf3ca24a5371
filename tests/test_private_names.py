"""The adapters without their frameworks' private names; every test of theirs passes so.

DEPTHWISE_TEST_WITHOUT_PRIVATE_NAMES=1 python -m pytest tests/test_torch*.py tests/test_jax*.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import WITHOUT_PRIVATE_NAMES

A_FEW = {
    "torch": "private or functional_transforms or double_backward or inference_mode or keeps_its_class or padding_modes"
    " or optimization or traced or flops or results_lie or hooks or (odd_tensors and W) or vmap_and_jvp",
    "jax": "private or test_transformations or (test_vmap and 2-last) or (third_order and 1-second) or shard_map"
    " or shards_that or shards_without"
    " or (shards_stay and NHWC-2-AxisType.Explicit)",
}


@pytest.mark.skipif(WITHOUT_PRIVATE_NAMES, reason="this is within it")
@pytest.mark.parametrize("framework", A_FEW)
def test_without_private_names(framework):
    pytest.importorskip(f"depthwise.{framework}", exc_type=ImportError)
    files = sorted(map(str, Path(__file__).parent.glob(f"test_{framework}*.py")))
    files = [f for f in files if "language_models" not in f]  # it is skipped as a whole where transformers is missing
    suite = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", A_FEW[framework], *files]
    environment = {**os.environ, "DEPTHWISE_TEST_WITHOUT_PRIVATE_NAMES": "1"}
    run = subprocess.run(suite, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:]
    assert " passed" in run.stdout
    assert "skipped" not in run.stdout
