"""`seqtrain train quickstart`, to the end of the process, beside the plainest PyTorch script that solves the same task.

    python tests/long/quickstart_beside_torch.py [--seeds 3] [--threads 2]

The script is this file with `--torch SEED THREADS STEPS`: `nn.LSTM` and a linear layer, Adam, clipping, batches drawn
one by one, flush-to-zero before anything else, and the rule of the config: every 100 steps the validation set of 2,000
sequences, until the error of 99 % of them is below 0.08. Both run in turns, a process each. How many steps a run takes
depends on its seed, so the table has the seconds of the whole process, the steps, and the milliseconds per step without
the time that an empty run (one step) takes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from statistics import geometric_mean, median

LENGTH, BATCH, HIDDEN, STEPS = 100, 64, 64, 3000


def plain_script(seed: int, threads: int, steps: int) -> None:
    """Solve the task; prints the number of steps."""
    import torch
    from torch import nn

    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)
    torch.manual_seed(seed)

    def draw(size: int):
        values = torch.rand(LENGTH, size)
        marks = torch.zeros(LENGTH, size)
        first, second = torch.randint(LENGTH // 2, (size,)), torch.randint(LENGTH // 2, LENGTH, (size,))
        marks[first, torch.arange(size)] = 1
        marks[second, torch.arange(size)] = 1
        return torch.stack([values, marks], -1), (values * marks).sum(0)[:, None]

    lstm, head = nn.LSTM(2, HIDDEN), nn.Linear(HIDDEN, 1)
    with torch.no_grad():
        lstm.bias_ih_l0[HIDDEN : 2 * HIDDEN] = 1  # the forget bias of the config
    parameters = [*lstm.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=5e-3)
    valid_inputs, valid_targets = draw(2000)
    for step in range(1, steps + 1):
        inputs, targets = draw(BATCH)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(head(lstm(inputs)[0][-1]), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 100 == 0 or step == steps:
            with torch.no_grad():
                parts = [head(lstm(part)[0][-1]) for part in valid_inputs.split(250, 1)]
                error = (torch.cat(parts) - valid_targets).abs()
            if (error < 0.08).float().mean() >= 0.99:
                break
    print(json.dumps({"steps": step}))


def ended(command: list[str]) -> tuple[float, int]:
    """Seconds of a process, and the steps that it did."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    started_at = time.perf_counter()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return time.perf_counter() - started_at, json.loads(done.stdout)["steps"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    threads = arguments.threads
    with tempfile.TemporaryDirectory() as folder:

        def ours(seed: int, *more: str) -> list[str]:
            train = [sys.executable, "-m", "seqtrain", "train", "quickstart", f"seed={seed}", f"threads={threads}"]
            return [*train, *more, "--out", f"{folder}/run", "--overwrite", "--json", "--quiet"]

        def plain(seed: int, steps: int = STEPS) -> list[str]:
            return [sys.executable, __file__, "--torch", str(seed), str(threads), str(steps)]

        ended(ours(0, "train.steps=1")), ended(plain(0, 1))  # writes bytecode
        empty = [median(ended(one)[0] for _ in range(3)) for one in (ours(0, "train.steps=1"), plain(0, 1))]
        print(f"one step: seqtrain {empty[0]:.2f} s, PyTorch {empty[1]:.2f} s")
        totals, each = [], []
        for seed in range(arguments.seeds):
            found = [ended(ours(seed)), ended(plain(seed))]
            per_step = [1e3 * (s - start) / steps for (s, steps), start in zip(found, empty, strict=True)]
            totals.append(found[0][0] / found[1][0])
            each.append(per_step[0] / per_step[1])
            for name, (seconds, steps), ms in zip(("seqtrain", "PyTorch"), found, per_step, strict=True):
                print(f"seed {seed}  {name:8} {seconds:6.2f} s  {steps:5} steps  {ms:6.2f} ms per step")
    print(f"ratio of all: {geometric_mean(totals):.2f} of the time, {geometric_mean(each):.2f} per step")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--torch"]:
        plain_script(*map(int, sys.argv[2:5]))
    else:
        main()
