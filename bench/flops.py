"""Floating-point operations that a training step needs, whoever computes it: padding and recomputation do not count.

A product of [m, k] and [k, n] is 2 m k n; forward and the gradient of the input each cost that, the gradient of a trained weight once
more. Attention is causal and exact: S (S + 1) / 2 pairs of a query and a key, two products forward and five backward.
"""


def linear_parameters(c):
    """Weights of the seven linears of all layers."""
    head_dim = c["hidden_size"] // c["num_attention_heads"]
    q, kv = c["num_attention_heads"] * head_dim, c["num_key_value_heads"] * head_dim
    return c["num_hidden_layers"] * c["hidden_size"] * (2 * q + 2 * kv + 3 * c["intermediate_size"])


def lora_parameters(c, rank):
    """A and B of rank `rank` on the seven linears of all layers."""
    head_dim, hidden, inner = c["hidden_size"] // c["num_attention_heads"], c["hidden_size"], c["intermediate_size"]
    q, kv = c["num_attention_heads"] * head_dim, c["num_key_value_heads"] * head_dim
    return c["num_hidden_layers"] * rank * ((hidden + q) + 2 * (hidden + kv) + (q + hidden) + 3 * (hidden + inner))


def training_flops(c, mode, lengths, labelled, rank=16):
    """One forward and backward over sequences of `lengths`, `labelled` tokens of which have a label. mode: "lora", "qlora", "full"."""
    tokens, layers = sum(lengths), c["num_hidden_layers"]
    pairs = sum(n * (n + 1) // 2 for n in lengths)
    attention = 7 * 2 * pairs * c["hidden_size"] * layers
    head = 2 * c["vocab_size"] * c["hidden_size"] * labelled
    linears = 2 * linear_parameters(c) * tokens
    if mode == "full":
        return 3 * (linears + head) + attention
    return 2 * (linears + head) + attention + 3 * 2 * lora_parameters(c, rank) * tokens
