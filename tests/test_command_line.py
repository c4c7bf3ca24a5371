"""``python -m depthwise``: what it says, and that nothing is drawn over in what is not a terminal."""

import numbers
import os
import subprocess
import sys
from itertools import product

import numpy as np
import pytest

import depthwise
from depthwise import bench, disturbance, info, picture, progress, roofline
from depthwise.__main__ import main
from depthwise.disturbance import Probe, doubts
from depthwise.runtime import active_target

FEW = [bench.Layer("a layer", 1, 8, 14, 3, 1), bench.Layer("another", 1, 4, 9, 5, 2)]
QUIET = [Probe(1e9, 1.0)] * 3


def run(*arguments, **variables):
    done = subprocess.run(
        [sys.executable, "-m", "depthwise", *arguments], capture_output=True, env={**os.environ, **variables}
    )
    assert b"\r" not in done.stdout + done.stderr
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_alone_it_says_what_it_can_do():
    status, out, err = run()
    assert (status, err) == (0, "")
    for command in "info", "demo", "bench":
        assert f"  python -m depthwise {command}" in out


def test_version():
    assert run("--version") == (0, f"depthwise {depthwise.__version__}\n", "")


def test_unknown_commands_are_refused():
    status, out, err = run("benhc")
    assert (status, out) == (2, "")
    assert "benhc" in err


def test_info():
    status, out, err = run("info")
    assert (status, err) == (0, "")
    told = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert told["depthwise"] == depthwise.__version__
    assert told["numpy"] == np.__version__
    assert "source" in told["build"] or told["build"].startswith("wheel ")
    assert {"compiler", "CUDA", "NVRTC"} <= set(told)


WHEEL = "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {}\n"
PUBLISHED, LOCAL = "cp312-abi3-manylinux_2_28_x86_64", "cp311-cp311-linux_x86_64"


@pytest.mark.parametrize(
    ("wheel", "origin", "is_here", "told"),
    [
        (WHEEL.format(PUBLISHED), None, True, f"wheel {PUBLISHED}"),
        (WHEEL.format(PUBLISHED), '{"url": "file:///a.whl", "archive_info": {}}', True, f"wheel {PUBLISHED}"),
        (WHEEL.format(LOCAL), None, True, f"built from source, {LOCAL}"),
        (WHEEL.format(LOCAL), '{"url": "file:///a", "dir_info": {}}', True, f"built from source, {LOCAL}"),
        (WHEEL.format(LOCAL), '{"dir_info": {"editable": true}}', False, "from a source tree, installed to be edited"),
        (WHEEL.format(PUBLISHED), None, False, "from a source tree, not the package that is installed"),
        (None, None, True, "wheel of no known tag"),
    ],
)
def test_the_build_is_named(wheel, origin, is_here, told):
    assert info.build_of(wheel, origin, is_here) == told


def test_versions_of_cuda():
    def fails():
        msg = "there is no driver"
        raise RuntimeError(msg)

    assert info.version_of(lambda: 12090) == "12.9"
    assert info.version_of(lambda: 13000) == "13.0"
    assert info.version_of(fails) == "there is no driver"


def test_demo(tmp_path):
    pytest.importorskip("PIL")
    pytest.importorskip("matplotlib")
    output = tmp_path / "new" / "edges.png"
    status, out, err = run("demo", "--output", str(output), FORCE_COLOR="1")
    assert status == 0
    assert output.read_bytes().startswith(b"\x89PNG")
    assert f"picture: {output}" in out
    assert "3 of 3: drawing\n" in err


def bench_of(monkeypatch, capsys, tmp_path, probes=QUIET, times=lambda call: [1e-3] * 7):
    """What `bench` prints of a few layers, of times and of a machine that are made up."""
    probes = iter([*probes, *[probes[-1]] * 99])
    monkeypatch.setattr(bench, "LAYERS", FEW)
    monkeypatch.setattr(bench, "seconds", times)
    monkeypatch.setattr(disturbance, "probe", lambda target, threads: next(probes))
    monkeypatch.setattr(roofline, "multiply_add_rate", lambda target, float64, threads: 1e9)
    monkeypatch.setattr(roofline, "copy_rate", lambda n_bytes, threads: 1e9)
    main(["bench", "--output", str(tmp_path / "bench.png")])
    told = capsys.readouterr()
    assert "\r" not in told.out + told.err
    assert "4 of 4: another, channels last\n" in told.err
    return told.out


def test_bench(monkeypatch, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    out = bench_of(monkeypatch, capsys, tmp_path)
    rows = [line for line in out.splitlines() if line.startswith(("  a layer", "  another"))]
    assert len(rows) == 4
    assert all(row.count("%") == 3 and row.count(" 1000.0 ") == 3 for row in rows)
    assert "?" not in out
    assert "believed" not in out
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_bench_without_matplotlib(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "pip install 'depthwise[demo]'" in bench_of(monkeypatch, capsys, tmp_path)


def test_bench_measures_for_itself(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(bench, "LAYERS", FEW[:1])
    main(["bench", "--output", str(tmp_path / "bench.png")])
    assert "multiply-adds: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("disturbed", "reason"),
    [
        ({"probes": [Probe(1e9, 0.5)] * 3}, "had a processor for only 50% of the time"),
        ({"probes": [Probe(2e9, 1.0), Probe(1e9, 1.0)]}, "multiplied at 50% of its first speed"),
        ({"probes": [Probe(1e9, 1.0), Probe(2e9, 1.0)]}, "multiplied at 200% of its first speed"),
        ({"times": lambda call: [1e-3] * 3 + [2e-3] * 4}, "rounds of 12 of 12 figures differ"),
        ({"times": lambda call: [1e-7] * 7}, "% of the limit cannot be"),
    ],
)
def test_bench_says_that_it_was_disturbed(monkeypatch, capsys, tmp_path, disturbed, reason):
    told = bench_of(monkeypatch, capsys, tmp_path, **disturbed).splitlines()[-1]
    assert told.startswith("These figures cannot be believed: ")
    assert reason in told


def test_copies_of_whole_pages_are_as_fast_as_others():
    """By a factor that no other process of the machine explains: it was twenty on a CPU whose memcpy dislikes them."""
    pages, others = (
        max(roofline.copy_rate.__wrapped__(2 * n, 1) for _ in range(3)) for n in (98 << 12, (98 << 12) + 640)
    )
    assert pages > others / 4


def test_doubtful_figures_are_marked():
    sure, apart, impossible = (bench.Figure(1e-3, *rest) for rest in ((1.1, 1e-3), (1.3, 1e-4), (1.0, 1.1e-3)))
    assert bench.line("x", {"forward": sure}).endswith(" 100%")
    assert bench.line("x", {"forward": apart}).endswith(" 10%?")
    assert bench.line("x", {"forward": impossible}).endswith(" 110%?")


def test_what_is_still_believed():
    sure, apart = (1.0, 0.9), (1.3, 0.5)
    assert doubts([Probe(1e9, 0.9), Probe(0.85e9, 0.86)], [sure] * 9 + [apart]) == []
    assert doubts(QUIET, [(1.0, 1.04)]) == []
    assert len(doubts(QUIET, [sure] * 8 + [apart])) == 1
    strict = disturbance.Bounds(processor=1.01, drift=0.99, spread=1.0, limit=0.5, marked=0)
    assert len(doubts(QUIET, [(1.01, 0.6)], strict)) == 4


def test_a_probe_sees_processes_that_take_the_processors():
    busy = [sys.executable, "-c", "while True: pass"]
    threads = depthwise.get_num_threads()
    if threads != os.cpu_count():
        pytest.skip("needs a processor for each thread: fewer or more hide what the probe looks for")
    quiet = max(disturbance.probe(active_target(), threads).processor for _ in range(20))
    if quiet < 0.95:
        pytest.skip("needs a quiet machine to begin with, or what disturbs it is not the test's own")
    others = [subprocess.Popen(busy) for _ in range(2 * threads)]
    try:
        disturbed = np.median([disturbance.probe(active_target(), threads).processor for _ in range(20)])
    finally:
        for process in others:
            process.kill()
            process.wait()
    assert disturbed < disturbance.BOUNDS.processor


def on_a_terminal(code):
    """What a program writes to a terminal, and what of it goes to stdout, a pipe."""
    ours, theirs = pytest.importorskip("pty").openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    out, _ = process.communicate()
    seen = b""
    try:
        while part := os.read(ours, 4096):
            seen += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.returncode == 0
    return seen, out


STEPS = """
from depthwise import progress
with progress.shown(2) as begin:
    for name in "first [b]", "second":
        begin(name)
        print("done:", name)
"""


def test_progress_is_a_bar_on_a_terminal():
    pytest.importorskip("rich")
    seen, out = on_a_terminal(STEPS)
    assert out == b"done: first [b]\ndone: second\n"
    assert b"\r" in seen
    assert b"done" not in seen


def test_progress_without_rich(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress.shown(2) as begin:
        begin("first")
        begin("second")
    assert capsys.readouterr().err == "1 of 2: first\n2 of 2: second\n"


def test_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    output = tmp_path / "new" / "dots.png"
    panels = {"one": {"a": {"x": 1.0, "y": 2.0}, "b": {"y": 3.0}}, "two": {"c": {"z": 0.1}}}
    assert picture.write(output, "title", panels, "seconds", logarithmic=True, line=1) == f"picture: {output}"
    assert output.read_bytes().startswith(b"\x89PNG")


def is_number(text):
    try:
        [float(part) for part in text.replace("x", " ").split()]
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("kind", ["forward", "input_grad", "weight_grad"])
def test_numbers_of_explain_are_numbers(kind):
    words = {"target", "kernel", "candidate", "sums", "input", "output", "x", "gy", "lanes", "bound by"}
    told = set()
    for dtype, last, c, size, k, method in product(
        "efd", (False, True), (1, 64), (1, 14, 90), (3, 13), ("direct", "fft")
    ):
        x = np.empty((1, size, size, c) if last else (1, c, size, size), dtype)
        x = x.transpose(0, 3, 1, 2) if last else x
        plan = depthwise.explain(x, np.empty((1, c, k, k), dtype), pad=k // 2, kind=kind, method=method)
        told |= set(plan)
        for name, value in plan.items():
            if name in ("transforms", "tiles"):
                assert len(value) == 2
                assert all(type(n) is int and n > 0 for n in value)
            elif name == "others":
                assert not any(isinstance(v, str) and is_number(v) for v in value.values())
            elif name in words:
                assert isinstance(value, str)
                assert not is_number(value)
            else:
                assert isinstance(value, numbers.Real), (name, value)
    assert {"transforms", "columns at a time", "candidate"} <= told
    described = depthwise.explain.__doc__
    assert all(f'"{name}"' in described for name in told)
