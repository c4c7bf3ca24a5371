"""Language and speech models of the transformers package, stock and with depthwise, interleaved in one process.

    python benchmarks/language_models.py [--threads 2] [--match mamba] [--dtype float32 bfloat16] [--rounds 15]

Weights are random; layers are as wide as in the models named, but few, and so are words, so that the layers' time is
seen. Language models read a prompt (prefill) and then a token at a time (decode) with
``depthwise.torch.install_causal_conv1d()``; layers of speech encoders run forward, in float32, after ``accelerate``.
Each round times stock and ours once; the figures are medians, and the median of the ratios of neighbours.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.table import Table
from transformers.models.wav2vec2_bert.modeling_wav2vec2_bert import Wav2Vec2BertEncoderLayer
from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import Wav2Vec2ConformerEncoderLayer

import pictures
from depthwise import progress
from depthwise.torch import accelerate, install_causal_conv1d, uninstall_causal_conv1d

transformers.utils.logging.set_verbosity_error()

LINEAR, FULL = "linear_attention", "full_attention"
LANGUAGE: dict[str, tuple[str, dict[str, Any]]] = {  # the model whose layers these are: (family, configuration)
    "Mamba 130M": ("Mamba", {"hidden_size": 768, "num_hidden_layers": 4}),
    "Mamba-2 1.3B": (
        "Mamba2",
        {"hidden_size": 2048, "num_hidden_layers": 2, "num_heads": 64, "head_dim": 64, "n_groups": 1},
    ),
    "Qwen3-Next 80B-A3B": (  # 10 of 16 experts in place of 512
        "Qwen3Next",
        {"num_hidden_layers": 4, "layer_types": [LINEAR] * 3 + [FULL], "num_experts": 16},
    ),
    "LFM2 1.2B": (
        "Lfm2",
        {
            "hidden_size": 2048,
            "num_hidden_layers": 3,
            "layer_types": ["conv", "conv", FULL],
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
        },
    ),
}
SPEECH = {  # layers of 600 million parameters' encoders
    "Conformer": (
        Wav2Vec2ConformerEncoderLayer,
        transformers.Wav2Vec2ConformerConfig,
        {"position_embeddings_type": None},
    ),
    "Wav2Vec2-BERT": (Wav2Vec2BertEncoderLayer, transformers.Wav2Vec2BertConfig, {}),
}
WIDE = {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096}

Step = Callable[[], object]


@contextmanager
def installed() -> Iterator[None]:
    install_causal_conv1d()
    yield
    uninstall_causal_conv1d()


def seconds(step: Step) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def interleaved(stock: Callable[[], float], ours: Callable[[], float], rounds: int) -> list[str]:
    """Milliseconds of both, and their ratio, after a round that is not counted."""
    times = [(stock(), ours()) for _ in range(rounds + 1)][1:]
    a, b = (1e3 * statistics.median(t) for t in zip(*times, strict=True))
    return [f"{a:.2f}", f"{b:.2f}", f"{statistics.median(s / o for s, o in times):.2f}"]


def language_rows(name: str, dtype: torch.dtype, prompt: int, rounds: int) -> Iterator[list[str]]:
    family, options = LANGUAGE[name]
    torch.manual_seed(0)
    configuration = getattr(transformers, f"{family}Config")(vocab_size=1000, pad_token_id=0, eos_token_id=0, **options)
    model = getattr(transformers, f"{family}ForCausalLM")(configuration).to(dtype).eval()
    tokens = torch.randint(1, 1000, (1, prompt))
    caches = [read(model, tokens, None) for _ in range(2)]

    def decode(which: int) -> float:
        return seconds(lambda: read(model, tokens[:, :1], caches[which]))

    def prefill() -> float:
        return seconds(lambda: read(model, tokens, None))

    def with_ours(f: Callable[..., float], *args: Any) -> float:
        with installed():
            return f(*args)

    yield ["decode, a token", *interleaved(lambda: decode(0), lambda: with_ours(decode, 1), 2 * rounds)]
    yield [f"prefill, {prompt} tokens", *interleaved(prefill, lambda: with_ours(prefill), rounds // 3)]


def read(model: Any, tokens: torch.Tensor, cache: Any) -> Any:
    """The cache after these tokens."""
    with torch.inference_mode():
        out = model(tokens, past_key_values=cache, cache_params=cache, use_cache=True)
    return getattr(out, "cache_params", None) or out.past_key_values


def speech_rows(name: str, dtype: torch.dtype, frames: int, rounds: int) -> Iterator[list[str]]:
    layer, configuration, options = SPEECH[name]
    torch.manual_seed(0)
    stock = layer(configuration(**WIDE, **options)).to(dtype).eval()
    ours = copy.deepcopy(stock)
    assert accelerate(ours).changed
    x = torch.randn(1, frames, WIDE["hidden_size"]).to(dtype)

    def forward(model: Any) -> float:
        with torch.inference_mode():
            return seconds(lambda: model(x))

    yield [f"forward, {frames} frames", *interleaved(lambda: forward(stock), lambda: forward(ours), rounds)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--match", default="")
    parser.add_argument("--prompt", type=int, default=128, help="tokens of the prompt")
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=15)
    pictures.add_option(parser, "language_models")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    columns = "model", "dtype", "what", "stock ms", "ours ms", "stock / ours"
    title = f"transformers {transformers.__version__}, {args.threads} threads"
    table = Table(*columns, title=title)
    # Where a CPU has no products of bfloat16, the matrices of one layer of an encoder take half a minute.
    names = [(name, dtype) for name in LANGUAGE for dtype in args.dtype] + [(name, "float32") for name in SPEECH]
    jobs = [(name, dtype) for name, dtype in names if args.match.lower() in name.lower()]
    console = Console(width=120)
    panels: dict[str, dict[str, dict[str, float]]] = {}
    with progress.shown(len(jobs)) as begin:
        for name, dtype in jobs:
            begin(f"{name} {dtype}")
            rows, size = (language_rows, args.prompt) if name in LANGUAGE else (speech_rows, args.frames)
            for what, stock, ours, ratio in rows(name, getattr(torch, dtype), size, args.rounds):
                table.add_row(name, dtype, what, stock, ours, ratio)
                panels.setdefault(what, {})[f"{name} {dtype}"] = {"stock": float(stock), "ours": float(ours)}
    console.print(table)
    pictures.write(args.picture, title, panels, "milliseconds", logarithmic=True)


if __name__ == "__main__":
    main()
