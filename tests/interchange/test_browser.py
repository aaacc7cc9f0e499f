"""The page of docs/export.md that runs a model in a browser, in headless Chromium.

It needs `npm install onnxruntime-web`, whose folder node_modules the environment variable NODE_MODULES names.
"""

import os
import re
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from conftest import SMALL, SMALL_SETS

from seqtrain import export, load_model, train

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MODULES = Path(os.environ.get("NODE_MODULES", "node_modules"))
PAGE = Path(__file__).parents[2] / "docs/export.md"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.skipif(not (MODULES / "onnxruntime-web").is_dir(), reason="needs onnxruntime-web, see NODE_MODULES")
def test_the_page_says_what_the_model_says(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    run = train("quickstart", (*SMALL, *SMALL_SETS), out=tmp_path / "run").path
    export(run, "onnx", tmp_path / "model.onnx")
    (tmp_path / "node_modules").symlink_to(MODULES.absolute())
    (tmp_path / "index.html").write_text(re.search(r"```html\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[1])
    server = ThreadingHTTPServer(("localhost", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with playwright.sync_playwright() as started:
            browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(f"http://localhost:{server.server_port}/index.html")
            page.wait_for_function("document.getElementById('answer').textContent !== 'loading'")
            said = [float(number) for number in page.inner_text("#answer").split()]
            browser.close()
    finally:
        server.shutdown()
        server.server_close()
    x = torch.tensor([[number % 7 / 7] for number in range(200)]).view(100, 1, 2)
    torch.testing.assert_close(torch.tensor([said]), load_model(run)(x)[0].detach(), rtol=0, atol=1e-6)
