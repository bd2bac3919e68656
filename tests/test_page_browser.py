"""The page in a real browser: drawn on with mouse, finger, pen and keys, and looked at.

Needs Playwright and a Chromium that is installed already: `pip install -e '.[browser]'`, and
`apt-get install chromium` or another way to get one. Playwright downloads none for this.
"""

import io
import os
import re
import shutil

import numpy as np
import pytest
from conftest import REQUIRED
from drawing import digits_network, served

import xpnet

pytestmark = pytest.mark.browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

SEVEN = [(0.3, 0.25), (0.7, 0.25), (0.46, 0.8)]
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


def or_fail(reason):
    """Skip; or fail, if the environment asks for a browser."""
    if "browser" in REQUIRED:
        pytest.fail(f"XPNET_REQUIRE asks for browser, but: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def chromium():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        or_fail("Playwright is not installed: pip install -e '.[browser]'")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        or_fail("there is no Chromium on PATH")
    with sync_playwright() as playwright:
        # A sandbox of its own is refused to root, as in containers.
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        browser = playwright.chromium.launch(executable_path=program, chromium_sandbox=not root)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server():
    with served(digits_network(), "digits") as running:
        yield running


@pytest.fixture
def open_page(chromium):
    """Opens the page of a server, and looks at the end whether anything went wrong on it.

    Returns the page, with the answers that it got in `page.answers`.
    """
    contexts, wrong = [], []

    def opened(server, viewport=WIDE, *, may_fail=False, **options):
        context = chromium.new_context(viewport=viewport, **options)
        contexts.append(context)
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.answers = []
        if not may_fail:
            page.on("console", lambda said: wrong.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith((server.url, "blob:"))
                or wrong.append(f"asks {asked.url}"))  # fmt: skip
        page.on("requestfinished", lambda asked: asked.url.endswith("/answer")
                and page.answers.append(asked.response().json()))  # fmt: skip
        page.goto(server.url)
        page.get_by_text("The field is blank").first.wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not wrong


def draw(page, *lines, steps=8):
    """Draw strokes by the mouse, each a list of points as parts of the field."""
    box = page.locator("#field").bounding_box()
    for points in lines:
        for i, (x, y) in enumerate(points):
            at = (box["x"] + x * box["width"], box["y"] + y * box["height"])
            page.mouse.move(*at, steps=steps if i else 1)
            if i == 0:
                page.mouse.down()
        page.mouse.up()


def painted(page):
    """How many pixels of the field have ink, in thousandths."""
    count = """() => {
        const field = document.querySelector("#field");
        const { data } = field.getContext("2d").getImageData(0, 0, field.width, field.height);
        let inked = 0;
        for (let i = 3; i < data.length; i += 4) inked += data[i] > 127;
        return 1000 * inked / (field.width * field.height);
    }"""
    # A change is painted with the next picture of the screen.
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    return page.evaluate(count)


def is_answered(page, text):
    from playwright.sync_api import expect

    expect(page.locator("#answer")).to_have_text(re.compile(text))


def is_blank(page):
    from playwright.sync_api import expect

    expect(page.locator("#note")).to_contain_text("The field is blank")
    expect(page.locator("#answer")).to_have_text("")
    assert painted(page) == 0


def screenshot(page):
    from PIL import Image

    with Image.open(io.BytesIO(page.screenshot())) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


# -- a seven ----------------------------------------------------------------------------------------


@pytest.fixture(
    scope="module", params=["digits", pytest.param("mnist", marks=pytest.mark.mnist)]
)
def known(request):
    if request.param == "digits":
        return digits_network()
    data = xpnet.load_dataset("mnist", data_dir=request.getfixturevalue("mnist_dir"))
    model = xpnet.mlp(784, 64, 32, 10)
    return xpnet.fit(model, data.limited(10_000), epochs=4, backend="numpy", callbacks=())


def test_a_seven_is_known_while_it_is_drawn(known, open_page, tmp_path):
    """And what is said of it is what `predict` says of the saved picture."""
    with served(known) as server:
        page = open_page(server)
        draw(page, SEVEN)
        is_answered(page, r"^7\s*\d+\.\d %$")
        page.wait_for_timeout(300)  # until the newest picture is answered
        with page.expect_download() as saving:
            page.get_by_role("button", name="Save").click()
        saving.value.save_as(tmp_path / "drawing.png")
        (expected,) = known.predict_pictures(tmp_path / "drawing.png")
        numbers = [output["value"] for output in page.answers[-1]["outputs"]]
        np.testing.assert_allclose(numbers, expected.probabilities, rtol=0, atol=1e-5)
        assert expected.prediction == 7
        shown = page.locator("#outputs .value").all_inner_texts()
        assert shown == [f"{100 * value:.1f} %" for value in numbers]
        assert page.locator("#outputs .best .name").inner_text() == "7"
        rows = [float(row.get_attribute("title")) for row in page.locator("#outputs .value").all()]
        np.testing.assert_allclose(rows, expected.probabilities, rtol=0, atol=1e-5)
        # The answers came while the pen was on the field, and not at the end alone.
        assert len(page.answers) > 1
