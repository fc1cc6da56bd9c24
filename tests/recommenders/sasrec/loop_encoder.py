"""SASRec's encoder written from its description, one sequence and one position at a time.

NumPy in float64; it shares nothing with the package but the names of the weights.
"""

import math

import numpy as np

EPSILON = 1e-12


def encode(weights, codes, *, blocks, heads, norm):
    """States ``[length, d]`` of one sequence of item codes (from 1)."""
    weights = {name: np.asarray(value, dtype=np.float64) for name, value in weights.items()}
    states = []
    for position, code in enumerate(codes):
        state = weights["items.weight"][code - 1] + weights["positions.weight"][position]
        states.append(layer_norm(state, weights, "input_norm") if norm == "post" else state)
    for number in range(blocks):
        states = _block(states, weights, f"blocks.{number}", heads, norm)
    if norm == "pre":
        states = [layer_norm(state, weights, "output_norm") for state in states]
    return np.stack(states)


def score(weights, codes, **architecture):
    """Scores of all items after the last event: products with the tied item vectors."""
    state = encode(weights, codes, **architecture)[-1]
    return np.array([float(vector @ state) for vector in np.asarray(weights["items.weight"])])


def _block(states, weights, name, heads, norm):
    results = []
    for position in range(len(states)):
        visible = states[: position + 1]  # causal: nothing after the position
        state = states[position]
        if norm == "pre":
            normed = [layer_norm(s, weights, f"{name}.attention_norm") for s in visible]
            state = state + attention(normed, weights, name, heads)
            inner = layer_norm(state, weights, f"{name}.feed_forward_norm")
            results.append(state + feed_forward(inner, weights, name))
        else:
            mixed = state + attention(visible, weights, name, heads)
            state = layer_norm(mixed, weights, f"{name}.attention_norm")
            mixed = state + feed_forward(state, weights, name)
            results.append(layer_norm(mixed, weights, f"{name}.feed_forward_norm"))
    return results


def attention(visible, weights, name, heads):
    """The last of the visible positions attends to all of them."""
    dim = len(visible[0])
    matrix = weights[f"{name}.query_key_value.weight"]
    bias = weights[f"{name}.query_key_value.bias"]
    projected = [matrix @ state + bias for state in visible]
    width = dim // heads
    result = np.zeros(dim)
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        query = projected[-1][:dim][part]
        keys = [p[dim : 2 * dim][part] for p in projected]
        values = [p[2 * dim :][part] for p in projected]
        logits = [float(query @ key) / math.sqrt(width) for key in keys]
        highest = max(logits)
        exponentials = [math.exp(logit - highest) for logit in logits]
        total = sum(exponentials)
        for exponential, value in zip(exponentials, values, strict=True):
            result[part] += exponential / total * value
    output = weights[f"{name}.attention_output.weight"]
    return output @ result + weights[f"{name}.attention_output.bias"]


def feed_forward(state, weights, name):
    hidden = weights[f"{name}.expand.weight"] @ state + weights[f"{name}.expand.bias"]
    active = np.array([gelu(value) for value in hidden])
    return weights[f"{name}.contract.weight"] @ active + weights[f"{name}.contract.bias"]


def gelu(value):
    return 0.5 * value * (1 + math.erf(value / math.sqrt(2)))


def layer_norm(state, weights, name):
    mean = state.sum() / len(state)
    variance = ((state - mean) ** 2).sum() / len(state)
    normed = (state - mean) / math.sqrt(variance + EPSILON)
    return normed * weights[f"{name}.weight"] + weights[f"{name}.bias"]
