"""What commands load before they begin to work. Each of these modules takes from a tenth of a second to two seconds."""

import subprocess
import sys

SLOW = (
    "torch._dynamo",
    "torch._inductor",
    "sympy",
    "scipy",
    "polars",
    "pandas",
    "matplotlib",
    "sklearn",
    "IPython",
)

PROGRAM = """
import sys
from unittest import mock
from seqtrain.inference.evaluate import evaluate
from seqtrain.inference.load import load_text_model
from seqtrain.runs import train as runs
from seqtrain.system import settings

few = ["train.epochs=null", "train.steps=1", "model.hidden_size=4", "model.embedding_size=3", "task.max_size=50"]
with mock.patch.object(runs, "draw_curve"):  # the last thing that a run does, after its work
    runs.train("words", few, out="run")
evaluate("run")
load_text_model("run").generate(tokens=2)
assert settings._descriptions.cache_info().currsize == 0, "a description was read"
print(*sys.modules)
"""


def test_no_slow_module_is_loaded_to_train_evaluate_and_generate(tmp_path):
    ended = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    loaded = set(ended.stdout.split())
    assert "torch" in loaded
    assert [name for name in SLOW if name in loaded] == []


WRONG = """
import sys
from seqtrain.__main__ import main
sys.argv = ["seqtrain", "export", "run", *sys.argv[1:]]
try:
    main()
except SystemExit as ended:
    assert ended.code == 2
assert "torch" not in sys.modules, "PyTorch was loaded"
"""


def test_a_wrong_export_is_refused_before_pytorch_is_loaded():
    for wrong in (["--to", "pytorch"], ["--to", "onnx", "--out", "model.pt"]):
        ended = subprocess.run([sys.executable, "-c", WRONG, *wrong], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
