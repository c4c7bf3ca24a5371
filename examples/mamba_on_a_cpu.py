"""
Mamba on a CPU
==============

A small Mamba with random weights generates text: stock transformers, and with depthwise's functions::

    pip install '.[torch]' 'transformers>=5.14' && python examples/mamba_on_a_cpu.py

In place of random weights, ``--model state-spaces/mamba-130m-hf`` takes a trained model's. Prints the tokens a second
of both, in turn, and whether they are the same tokens: in float32 they are, in bfloat16 (``--dtype bfloat16``) rounding
may pick another one of two that are nearly as likely.
"""

import argparse
import statistics
import sys
import time
import warnings

import torch

import depthwise.torch

try:
    from transformers import AutoTokenizer, MambaConfig, MambaForCausalLM
    from transformers.utils import logging
except ImportError as e:
    sys.exit(f"this example needs transformers ({e}): pip install 'transformers>=5.14'")

logging.set_verbosity_error()
warnings.filterwarnings("ignore", module="transformers")


def random_model(layers: int) -> MambaForCausalLM:
    """The layers of the model of 130 million parameters, fewer of them, and few words."""
    return MambaForCausalLM(MambaConfig(vocab_size=1000, hidden_size=768, num_hidden_layers=layers))


def generate(model: MambaForCausalLM, prompt: torch.Tensor, tokens: int) -> tuple[torch.Tensor, float]:
    """The new tokens, and how many of them a second; the first waits for the prompt and is left out."""
    marks = []

    class Clock:
        """Is handed every token as it comes."""

        def put(self, value: torch.Tensor) -> None:
            marks.append(time.perf_counter())

        def end(self) -> None:
            pass

    options = {"do_sample": False, "min_new_tokens": tokens, "max_new_tokens": tokens, "streamer": Clock()}
    with torch.inference_mode():
        text = model.generate(prompt, attention_mask=torch.ones_like(prompt), pad_token_id=0, **options)
    return text[0, prompt.shape[1] :], (len(marks) - 2) / (marks[-1] - marks[1])  # marks[0] is the prompt's


def main() -> bool:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a Mamba of the hub, or a folder; needs the network, or the folder")
    parser.add_argument("--prompt", default="The depthwise convolution of a language model", help="with --model")
    parser.add_argument("--layers", type=int, default=4, help="of the model with random weights")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()

    torch.manual_seed(0)
    model = MambaForCausalLM.from_pretrained(args.model) if args.model else random_model(args.layers)
    model = model.to(getattr(torch, args.dtype)).eval()
    tokenizer = AutoTokenizer.from_pretrained(args.model) if args.model else None
    prompt = tokenizer(args.prompt, return_tensors="pt").input_ids if tokenizer else torch.randint(1, 1000, (1, 32))
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.0f} million parameters, {args.dtype}", flush=True)

    generate(model, prompt, 3)
    rates = []
    for i in range(args.rounds):
        theirs, stock = generate(model, prompt, args.tokens)
        depthwise.torch.install_causal_conv1d()  # the one line
        mine, ours = generate(model, prompt, args.tokens)
        depthwise.torch.uninstall_causal_conv1d()
        rates.append((stock, ours))
        print(f"round {i + 1}: {stock:6.1f} tokens a second stock, {ours:6.1f} with depthwise", flush=True)
    stock, ours = (statistics.median(r) for r in zip(*rates, strict=True))
    same = torch.equal(theirs, mine)
    print(f"medians: {stock:.1f} and {ours:.1f}, {ours / stock:.2f} times; the same tokens: {'yes' if same else 'no'}")
    print(tokenizer.decode(mine) if tokenizer else f"it says {mine[:12].tolist()} ...")
    return same or args.dtype != "float32"


if __name__ == "__main__":
    assert main()
