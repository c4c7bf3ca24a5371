"""The engine's enums Pass and DType, by number, as its functions take them."""

PASSES = {"forward": 0, "input_grad": 1, "weight_grad": 2}
FORWARD, INPUT_GRAD, WEIGHT_GRAD = PASSES.values()

DTYPES = {"float16": 0, "bfloat16": 1, "float32": 2, "float64": 3}
