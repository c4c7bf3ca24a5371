"""State-space language models of transformers, small and with random weights: stock, and with our functions."""

import copy
import importlib.util

import pytest

import depthwise
from torch_helpers import ran, torch

transformers = pytest.importorskip("transformers", minversion="5.14", reason="before, few models call the functions")

if importlib.util.find_spec("torchvision"):  # which transformers imports, also where it does not fit this PyTorch
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

pytestmark = pytest.mark.filterwarnings("ignore")  # what transformers says of its own
SMALL = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "pad_token_id": 0, "eos_token_id": 1}
ATTENTION = {"intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
CONFIGURATIONS = {
    "Mamba": {"state_size": 8},
    "Mamba2": {"state_size": 8, "num_heads": 4, "head_dim": 16, "n_groups": 2, "chunk_size": 8},
    "Qwen3Next": {
        "head_dim": 16,
        "layer_types": ["linear_attention", "full_attention"],
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
        **ATTENTION,
    },
    "FalconH1": {
        "mamba_d_ssm": 64,
        "mamba_n_heads": 4,
        "mamba_d_head": 16,
        "mamba_d_state": 8,
        "mamba_chunk_size": 8,
        **ATTENTION,
    },
    "Lfm2": {"layer_types": ["conv", "full_attention"], **ATTENTION},
}
PROMPTS = torch.tensor([[5, 17, 33, 80, 2, 9, 61], [44, 3, 3, 12, 70, 21, 8]])


@pytest.fixture(params=CONFIGURATIONS)
def model(request):
    name = request.param
    torch.manual_seed(0)
    configuration = getattr(transformers, f"{name}Config")(**SMALL | CONFIGURATIONS[name])
    return getattr(transformers, f"{name}ForCausalLM")(configuration).eval()


@pytest.fixture
def ours():
    """Calls a function with our functions in the model's place, and says how many problems the engine did."""

    def call(f, *args):
        depthwise.torch.install_causal_conv1d()
        before = ran()
        try:
            return f(*args), ran() - before
        finally:
            depthwise.torch.uninstall_causal_conv1d()

    yield call
    depthwise.torch.uninstall_causal_conv1d()


def generate(model, prompts=PROMPTS, mask=None):
    with torch.no_grad():
        options = {"attention_mask": torch.ones_like(prompts) if mask is None else mask, "do_sample": False}
        return model.generate(prompts, max_new_tokens=24, min_new_tokens=24, **options)


def logits(model, tokens):
    """Those after every token: some at once, more of them on what is cached, the rest one by one."""
    cache, found = None, []
    with torch.no_grad():
        for piece in tokens.tensor_split([7, 12, *range(13, tokens.shape[1])], 1):
            out = model(piece, past_key_values=cache, cache_params=cache, use_cache=True)
            cache = getattr(out, "cache_params", None) or out.past_key_values
            found.append(out.logits.float())
    return torch.cat(found, 1)


def test_the_same_tokens_as_stock(model, ours):
    stock = generate(model)
    tokens, problems = ours(generate, model)
    assert torch.equal(tokens, stock)
    assert len(set(stock[0].tolist())) > 5
    layers = sum(type(m).__name__ == "Conv1d" for m in model.modules())
    assert problems >= layers * 24


def test_the_same_tokens_as_stock_behind_padding(model, ours):
    mask = torch.ones_like(PROMPTS)
    mask[1, :3] = 0
    assert torch.equal(ours(generate, model, PROMPTS * mask, mask)[0], generate(model, PROMPTS * mask, mask))


def test_a_model_made_after_installing(model, ours):
    stock = generate(model)
    assert torch.equal(ours(lambda: generate(copy.deepcopy(model)))[0], stock)


def test_logits_in_float32(model, ours):
    tokens = generate(model)
    torch.testing.assert_close(ours(logits, model, tokens)[0], logits(model, tokens), rtol=1e-4, atol=1e-5)


def test_bfloat16_is_as_near_to_float32_as_stock_bfloat16_is(model, ours):
    """Its own tokens need not be: of two that are nearly as likely rounding picks one."""
    tokens = generate(model)
    rounded = copy.deepcopy(model).bfloat16()
    exact = logits(rounded.float(), tokens)
    rounded = rounded.bfloat16()
    stock = logits(rounded, tokens)
    mine, problems = ours(logits, rounded, tokens)
    assert problems
    errors = [(a - exact).square().mean().sqrt() for a in (mine, stock)]
    assert errors[0] <= 1.25 * errors[1]
    two = exact.topk(2).values
    clear = two[..., 0] - two[..., 1] > 2 * max((a - exact).abs().max() for a in (mine, stock))
    assert clear.float().mean() > 0.2
    assert torch.equal(mine.argmax(-1)[clear], stock.argmax(-1)[clear])


def test_gradients_of_a_training_step(model, ours):
    def gradients():
        model.zero_grad()
        model.train()
        model(PROMPTS, labels=PROMPTS, use_cache=False).loss.backward()
        model.eval()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    stock = gradients()
    mine, problems = ours(gradients)
    assert problems
    torch.testing.assert_close(mine, stock, rtol=1e-3, atol=1e-6)
