"""Oracles for reading and arranging a text in pieces: the same with the text as a whole."""

import torch


def whole(content, unit):
    """The tokens of a file."""
    text = content.decode().replace("\r\n", "\n").replace("\r", "\n").replace("\ufeff", "")
    if unit == "character":
        return list(text)
    lines = text.removesuffix("\n").split("\n")
    return [token for line in lines for token in (*line.split(), "<eos>")]


def laid_out(tokens, count):
    """Columns `[L, B]` of inputs and of targets, padded with 0, and their lengths `[B]`."""
    predictions = len(tokens) - 1
    length = -(-predictions // count)
    used = -(-predictions // length)
    padded = torch.zeros(length * used + 1, dtype=tokens.dtype)
    padded[: len(tokens)] = tokens
    lengths = (predictions - torch.arange(used) * length).clamp(max=length)
    return padded[:-1].view(used, length).t(), padded[1:].view(used, length).t(), lengths
