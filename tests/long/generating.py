"""Tokens per second of `generate` beside the PyTorch example word_language_model/generate.py, with models of one size.

    python tests/long/generating.py [--threads 1] [--rounds 5]

The example's loop is repeated here as it is: one token at a time through `nn.LSTM` and a linear layer, log_softmax,
division by the temperature, exp, torch.multinomial. The weights are random, as the time does not depend on them. All
run in this process in turns, with the same threads and flush-to-zero; the table has the medians, and their ratios to
the example.
"""

import argparse
import time
from itertools import islice
from statistics import median

import torch
from torch import nn
from torch.nn import functional as F

from seqtrain.config import load_config
from seqtrain.config.build import build_model
from seqtrain.inference.sampling import Sampling, continue_samples
from seqtrain.system.runtime import prepare
from seqtrain.tasks import Spec

SIZES = {"word-lm, 2 x 200, 10,000 words": (10000, 200, 2), "characters, 256, V = 66": (66, 256, 1)}
SIZES |= {"2 x 650, 10,000 words": (10000, 650, 2)}
"""Vocabulary, hidden size, depth."""

SAMPLES = (4, 16, 64)


class Example(nn.Module):
    """The model of the example."""

    def __init__(self, words: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.words, self.hidden, self.depth = words, hidden, depth
        self.drop = nn.Dropout(0.2)
        self.encoder = nn.Embedding(words, hidden)
        self.rnn = nn.LSTM(hidden, hidden, depth)
        self.decoder = nn.Linear(hidden, words)
        self.decoder.weight = self.encoder.weight

    def forward(self, inputs, hidden):
        """Log-probabilities of the next words, and the state."""
        embedded = self.drop(self.encoder(inputs))
        output, hidden = self.rnn(embedded, hidden)
        decoded = self.decoder(self.drop(output)).view(-1, self.words)
        return F.log_softmax(decoded, dim=1), hidden

    def generate(self, tokens: int, temperature: float = 1.0) -> None:
        """The loop of generate.py."""
        self.eval()
        hidden = tuple(torch.zeros(self.depth, 1, self.hidden) for _ in range(2))
        inputs = torch.randint(self.words, (1, 1), dtype=torch.long)
        with torch.no_grad():
            for _ in range(tokens):
                output, hidden = self(inputs, hidden)
                weights = output.squeeze().div(temperature).exp().cpu()
                inputs.fill_(torch.multinomial(weights, 1)[0])


def model_of(words: int, hidden: int, depth: int):
    """A model of ours of the same size."""
    sizes = [f"model.hidden_size={hidden}", f"model.depth={depth}", "model.dropout=0"]
    return build_model(load_config("word-lm", sizes), Spec(words, True, words, True, True)).eval()


def write(model, tokens: int, samples: int, sampling: Sampling) -> None:
    """Continue one token."""
    for _ in islice(continue_samples(model, torch.tensor([0]), sampling, samples), tokens):
        pass


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    prepare(arguments.threads)
    for name, size in SIZES.items():
        example, model, tokens = Example(*size), model_of(*size), 2000 if size[0] < 100 else 200
        runs = {"example": (1, lambda e=example, n=tokens: e.generate(n))}
        for how, sampling in {"one": Sampling(), "greedy": Sampling(0), "top-k, top-p": Sampling(1, 40, 0.9)}.items():
            runs[how] = (1, lambda m=model, n=tokens, s=sampling: write(m, n, 1, s))
        for samples in SAMPLES:
            runs[f"{samples} samples"] = (samples, lambda m=model, n=tokens // 4, k=samples: write(m, n, k, Sampling()))
        speeds = {how: [] for how in runs}
        for number in range(arguments.rounds + 1):
            for how, (samples, run) in runs.items():
                started_at = time.perf_counter()
                run()
                each = samples * (tokens // 4 if samples > 1 else tokens)
                if number:
                    speeds[how].append(each / (time.perf_counter() - started_at))
        base = median(speeds["example"])
        print(name)
        for how, found in speeds.items():
            print(f"  {how:14} {median(found):9,.0f} tokens/s {median(found) / base:6.2f}")


if __name__ == "__main__":
    main()
