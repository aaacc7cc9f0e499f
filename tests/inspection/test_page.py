"""The page of an inspection: it needs nothing else, shows the right values, and its sliders move, in a real browser."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import seqtrain as package
from seqtrain.inspection.page import write_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

SHOWN = """() => {
    const models = [...Bokeh.documents[0]._all_models.values()]
    const image = models.find(model => model.name === 'heat').data_source.data.image[0]
    const sliders = models.filter(model => model.type === 'Slider').map(model => model.value)
    const unit = models.find(model => model.name === 'unit').data_source.data
    const words = models.find(model => model.name === 'words').text
    return {shape: image.shape, values: Array.from(image), sliders: sliders, unit: Array.from(unit.value), words}
}"""


@pytest.fixture(scope="module")
def found():
    settings = ["model.cell=lstm", "model.hidden_size=6", "task.valid_size=12", "task.test_size=12"]
    return package.inspect("quickstart", settings, sequences=5)


@pytest.fixture(scope="module")
def page_file(found, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "inspect.html"
    write_page([found], path)
    return path


def test_the_page_needs_nothing_else(page_file):
    page = page_file.read_text()
    assert page_file.stat().st_size < 5e6
    marked = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"""(src|href)=|url\(|@import""", marked.replace('href="#', ""))
    for title in ("Gates", "Gradient through time", "Context", "What a unit keeps", "Units"):
        assert f">{title}</h2>" in page
    assert "the predictions use" in page


def test_several_models_and_words_that_look_like_html(tmp_path):
    """A text may hold anything."""
    (tmp_path / "a.txt").write_text("x </script><b>bold</b> & \\u2028\n" * 60)
    settings = [f"task.path={tmp_path / 'a.txt'}", "model.hidden_size=4", "model.dropout=0"]
    found = package.inspect("words", settings, sequences=3)
    write_page([found, replace(found, name="<i>other</i>")], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("</script>") == page.count("<script")
    assert "<i>other</i>" not in page
    assert "<b>bold" not in page
    assert "&lt;/script&gt;&lt;b&gt;bold&lt;/b&gt;</span>" in page
    assert " bits" in page


@pytest.fixture
def opened(page_file):
    """The page in a browser, and the errors on its console."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page, errors = browser.new_page(viewport={"width": 420, "height": 900}), []
        page.on("request", lambda request: errors.append(request.url) if request.url.startswith("http") else None)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(Path(page_file).as_uri())
        page.wait_for_function("() => window.Bokeh !== undefined && Bokeh.documents.length > 0")
        page.get_by_role("slider").first.wait_for()
        yield page, errors
        browser.close()


def test_a_browser_shows_the_values_and_moves_the_sliders(found, opened):
    page, errors = opened
    (own,) = found.traces.activations.values()

    def coded(name, sequence):
        """The picture `[H, T]` as a stupid restatement of its code: -1 is 0, 0 is 127, 1 is 254."""
        values = own[name][:, sequence].t()
        return [round((float(value) + 1) * 127) for value in values.flatten()]

    shown = page.evaluate(SHOWN)
    assert shown["shape"] == [6, 100]
    assert [shown["values"][place] for place in (0, 257, 599)] == [coded("i", 0)[place] for place in (0, 257, 599)]
    page.get_by_role("slider").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"() => ({SHOWN})().sliders[0] === 2")
    assert page.evaluate(SHOWN)["values"] == coded("i", 2)
    page.get_by_role("combobox").select_option("layer 1, forward: f")
    page.wait_for_function(f"() => ({SHOWN})().values[0] === {coded('f', 2)[0]}")
    assert page.evaluate(SHOWN)["values"] == coded("f", 2)
    page.get_by_role("slider").nth(1).focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"() => ({SHOWN})().sliders[1] === 1")
    shown = page.evaluate(SHOWN)
    assert shown["unit"] == pytest.approx(own["f"][:, 2, 1].tolist(), abs=0.01)
    assert found.traces.inputs[2][5] in shown["words"]
    assert shown["words"].count("<span") == 100
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 420
    assert errors == []


def test_very_long_words_do_not_fill_the_page(tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"{'x' * 3000}{n} b c\n" for n in range(40)))
    settings = [f"task.path={tmp_path / 'a.txt'}", "model.hidden_size=3", "model.dropout=0"]
    write_page([package.inspect("words", settings, sequences=3)], tmp_path / "page.html")
    assert "x" * 100 not in (tmp_path / "page.html").read_text()
