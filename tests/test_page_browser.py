"""The page in a real browser: drawn on with mouse, finger, pen and keys, and looked at.

Needs Playwright and a Chromium that is installed already: `pip install -e '.[browser]'`, and
`apt-get install chromium` or another way to get one. Playwright downloads none for this.
"""

import io
import os
import re
import shutil
import threading
import time

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
        from playwright.sync_api import expect, sync_playwright
    except ImportError:
        or_fail("Playwright is not installed: pip install -e '.[browser]'")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        or_fail("there is no Chromium on PATH")
    expect.set_options(timeout=20_000)
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


@pytest.fixture(scope="module")
def window(chromium):
    """A page for each kind of screen: to open one takes longer than most of what is done there."""
    kept, wrong, now = {}, [], {"url": "", "may_fail": False}

    def watch(page):
        # A request that fails is told there by the browser itself.
        page.on("console", lambda said: now["may_fail"]
                or wrong.append(f"{said.type}: {said.text}"))  # fmt: skip
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith((now["url"], "blob:", "about:"))
                or wrong.append(f"asks {asked.url}"))  # fmt: skip

    def page_of(**screen):
        key = repr(sorted(screen.items()))
        if key not in kept:
            context = chromium.new_context(viewport=WIDE, **screen)
            context.set_default_timeout(20_000)
            kept[key] = context.new_page()
            watch(kept[key])
        return kept[key]

    yield page_of, wrong, now
    for page in kept.values():
        page.context.close()


@pytest.fixture
def open_page(window):
    """Opens the page of a server, and looks at the end whether anything went wrong on it."""
    page_of, wrong, now = window
    used = []
    wrong.clear()

    def opened(server, viewport=WIDE, *, may_fail=False, color_scheme="light", **screen):
        page = page_of(**screen)
        used.append(page)
        now.update(url=server.url, may_fail=may_fail)
        page.set_viewport_size(viewport)
        page.emulate_media(color_scheme=color_scheme, forced_colors="none")
        page.goto(server.url)
        note = "() => document.querySelector('#note').innerText.startsWith('The field is blank')"
        assert comes_true(page, note)
        return page

    yield opened
    for page in used:
        page.unroute_all(behavior="ignoreErrors")
        if now["may_fail"]:
            page.goto("about:blank")  # so that it asks no more
    assert not wrong


def draw(page, *lines, press=True, lift=True):
    """Draw strokes by the mouse, each a list of points as parts of the field."""
    box = page.locator("#field").bounding_box()
    for points in lines:
        for i, (x, y) in enumerate(points):
            at = (box["x"] + x * box["width"], box["y"] + y * box["height"])
            page.mouse.move(*at)
            if i == 0 and press:
                page.mouse.down()
        if lift:
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


def comes_true(page, holds, arg=None):
    """Whether a function of the page comes true: looked at with each picture of the screen.

    Playwright's own `wait_for_function` evaluates a text in the page, which that forbids.
    """
    look = """const look = () => holds(arg) || performance.now() > end
        ? done(holds(arg)) : requestAnimationFrame(look);"""
    return page.evaluate(
        f"""(arg) => new Promise((done) => {{
            const holds = {holds}, end = performance.now() + 20000;
            {look}
            look();
        }})""",
        arg,
    )


def is_answered(page, text):
    """Wait until what is drawn is answered, and so."""
    answered = """(text) => {
        const [whole, answer] = ["#answers", "#answer"].map((id) => document.querySelector(id));
        return whole.getAttribute("aria-busy") === "false"
            && new RegExp(text).test(answer.innerText.replace(/\\s+/g, " ").trim());
    }"""
    assert comes_true(page, answered, text), page.locator("#answers").inner_text()


def until(page, holds):
    """Wait until something holds, while the page goes on."""
    for _ in range(400):
        if holds():
            return
        page.wait_for_timeout(50)
    raise AssertionError("that did not come")


def is_blank(page):
    from playwright.sync_api import expect

    expect(page.locator("#note")).to_contain_text("The field is blank")
    expect(page.locator("#answer")).to_have_text("")
    assert painted(page) == 0


def screenshot(page):
    from PIL import Image

    with Image.open(io.BytesIO(page.screenshot())) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


# -- a seven --------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["digits", pytest.param("mnist", marks=pytest.mark.mnist)])
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
        draw(page, SEVEN[:2], lift=False)
        is_answered(page, r"^\d\s*\d+\.\d %$")  # with the pen still down
        draw(page, SEVEN[1:], press=False)
        is_answered(page, r"^7\s*\d+\.\d %$")
        with page.expect_download() as saving:
            page.get_by_role("button", name="Save").click()
        saving.value.save_as(tmp_path / "drawing.png")
        (expected,) = known.predict_pictures(tmp_path / "drawing.png")
        numbers = [output["value"] for output in server.said[-1]["outputs"]]
        np.testing.assert_allclose(numbers, expected.probabilities, rtol=0, atol=1e-5)
        assert expected.prediction == 7
        shown = page.locator("#outputs .value").all_inner_texts()
        assert shown == [f"{100 * value:.1f} %" for value in numbers]
        assert page.locator("#outputs .best .name").inner_text() == "7"
        rows = [float(row.get_attribute("title")) for row in page.locator("#outputs .value").all()]
        np.testing.assert_allclose(rows, expected.probabilities, rtol=0, atol=1e-5)


def touch(page, *kinds_and_points):
    """Touch the screen: `("touchStart", [(x, y)])` with a place for each finger, in pixels."""
    session = page.context.new_cdp_session(page)
    for kind, places in kinds_and_points:
        fingers = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})


def places(page, points):
    box = page.locator("#field").bounding_box()
    return [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]


def test_a_finger_draws_and_does_not_scroll(server, open_page):
    page = open_page(server, PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    along = [(0.3 + 0.04 * i, 0.25) for i in range(11)]
    along += [(0.7 - 0.024 * i, 0.25 + 0.055 * i) for i in range(11)]
    first, *rest = places(page, along)
    moves = [("touchMove", [place]) for place in rest]
    touch(page, ("touchStart", [first]), *moves, ("touchEnd", []))
    is_answered(page, "^7")
    assert page.evaluate("() => window.scrollY") == 0


def test_a_second_finger_draws_nothing(server, open_page):
    page = open_page(server, PHONE, has_touch=True, is_mobile=True)
    a, b, c, d = places(page, [(0.2, 0.2), (0.2, 0.8), (0.8, 0.8), (0.8, 0.2)])
    touch(
        page, ("touchStart", [a]), ("touchStart", [a, c]), ("touchMove", [b, d]), ("touchEnd", [])
    )
    one = painted(page)
    page.get_by_role("button", name="Clear").click()
    touch(page, ("touchStart", [a]), ("touchMove", [b]), ("touchEnd", []))
    assert painted(page) == pytest.approx(one, rel=0.02)


def test_a_pen_that_is_pressed_harder_draws_thicker(server, open_page):
    page = open_page(server)
    session = page.context.new_cdp_session(page)
    inked = []
    for force in (0.1, 0.9):
        for kind, (x, y) in zip(
            ("mousePressed", "mouseMoved", "mouseReleased"),
            places(page, [(0.5, 0.2), (0.5, 0.8), (0.5, 0.8)]),
            strict=True,
        ):
            event = {"type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1}
            session.send(
                "Input.dispatchMouseEvent", {**event, "pointerType": "pen", "force": force}
            )
        inked.append(painted(page))
        page.get_by_role("button", name="Clear").click()
    assert inked[1] > 1.5 * inked[0] > 0


def test_what_is_drawn_beyond_the_field_is_no_ink(server, open_page, monkeypatch):
    """Nor does a line go along the edge, while the pointer is outside."""
    page, sent = open_page(server), []
    answer = server.answers.answer
    monkeypatch.setattr(
        server.answers, "answer", lambda drawing: sent.append(drawing) or answer(drawing)
    )
    page.get_by_label("Thickness").fill("16")
    draw(page, [(0.5, 0.5), (1.2, 0.5)])
    straight = painted(page)
    page.get_by_role("button", name="Clear").click()
    draw(page, [(0.5, 0.5), (1.2, 0.5), (1.2, 1.1), (0.5, 1.2)])
    assert painted(page) == pytest.approx(straight, rel=0.01)
    is_answered(page, "^")
    until(page, lambda: sent)
    height, width = server.answers.size
    margin = server.answers.margin
    drawing = np.frombuffer(sent[-1], np.uint8).reshape(height, width)
    assert drawing[margin:-margin, -margin - 1].max() == 255
    assert drawing[:, -margin:].max() == 0


# -- what was drawn is taken back -----------------------------------------------------------------


def test_clear_clears_and_undo_brings_back(server, open_page):
    page = open_page(server)
    undo, clear = (page.get_by_role("button", name=name) for name in ("Undo", "Clear"))
    save = page.get_by_role("button", name="Save")
    assert undo.is_disabled()
    assert clear.is_disabled()
    assert save.is_disabled()
    draw(page, SEVEN[:2])
    one = painted(page)
    draw(page, SEVEN[1:])
    two = painted(page)
    assert two > one > 0
    is_answered(page, "^7")
    clear.click()
    is_blank(page)
    assert page.locator("#outputs .value").all_inner_texts() == [""] * 10
    assert clear.is_disabled()
    assert save.is_disabled()
    undo.click()
    assert painted(page) == two
    is_answered(page, "^7")
    undo.click()
    assert painted(page) == one
    undo.click()
    is_blank(page)
    assert undo.is_disabled()


def test_the_slider_is_the_thickness(server, open_page):
    page = open_page(server)
    inked = []
    for value in ("2", "16"):
        page.get_by_label("Thickness").fill(value)
        draw(page, [(0.3, 0.5), (0.7, 0.5)])
        inked.append(painted(page))
        page.get_by_role("button", name="Clear").click()
    assert inked[1] > 6 * inked[0] > 0


def test_events_of_another_program_draw_too(server, open_page):
    """As those that help to use a screen send: of a pointer that the browser does not know."""
    page = open_page(server)
    events = """([points]) => {
        const field = document.querySelector("#field");
        const send = (kind, [clientX, clientY]) => field.dispatchEvent(
            new PointerEvent(kind, { clientX, clientY, pointerId: 99, bubbles: true }));
        points.forEach((point, i) => send(i ? "pointermove" : "pointerdown", point));
        send("pointerup", points.at(-1));
    }"""
    page.evaluate(events, [places(page, SEVEN)])
    is_answered(page, "^7")


def test_a_click_is_a_dot_and_another_button_is_none(server, open_page):
    page = open_page(server)
    page.locator("#field").click(button="right")
    is_blank(page)
    page.locator("#field").click()
    assert 2 < painted(page) < 20


# -- with the keyboard ----------------------------------------------------------------------------


def test_a_seven_is_drawn_with_the_keys(server, open_page):
    page = open_page(server)
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id") == "field"
    outline = "() => getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) != "none"

    def press(keys):
        for key in keys.split():
            page.keyboard.press(key)

    press("Shift+ArrowLeft Shift+ArrowLeft Shift+ArrowUp Shift+ArrowUp Shift+ArrowUp Space")
    press("ArrowRight " * 16)
    press("ArrowLeft ArrowDown ArrowDown " * 11)
    press("Space Shift+ArrowRight Shift+ArrowRight")
    is_answered(page, "^7")
    drawn = painted(page)
    page.keyboard.press("Delete")
    page.keyboard.press("Tab")
    is_blank(page)
    page.keyboard.press("Control+z")
    assert painted(page) == pytest.approx(drawn, rel=0.05)  # without the pen's cross


def test_strokes_that_are_finished_are_painted_once(server, open_page):
    """However many there are; and they are the same pixels as if all were painted anew."""
    page = open_page(server)
    page.evaluate("""() => {
        for (let i = 0; i < 40; i += 1) {
            penDown({ ...pointAt((i * 7 % 90) / 100, (i * 13 % 90) / 100), width: 5 });
            penTo([{ ...pointAt((i * 11 % 97) / 100, (i * 17 % 97) / 100), width: 5 }]);
            if (i % 10 === 0) greys();
        }
    }""")
    same = """() => {
        const painted = () => {
            paintField();
            return field.getContext("2d").getImageData(0, 0, field.width, field.height).data;
        };
        const all = () => JSON.stringify([greys(), Array.from(painted())]);
        const kept = all();
        finished.clear();
        return all() === kept;
    }"""
    for _ in range(2):
        assert page.evaluate(same)
        page.keyboard.press("Control+z")
    strokes = """() => {
        const dots = [], { fill } = CanvasRenderingContext2D.prototype;
        CanvasRenderingContext2D.prototype.fill = () => dots.push(1);  // one for each stroke
        penDown(pointAt(0.5, 0.5));
        for (let i = 0; i < 10; i += 1) greys();
        CanvasRenderingContext2D.prototype.fill = fill;
        return dots.length;
    }"""
    page.evaluate("greys()")
    assert page.evaluate(strokes) == 10


def test_a_key_that_is_held_down_is_pressed_once(server, open_page):
    page = open_page(server)
    page.locator("#field").focus()
    for _ in range(3):
        page.keyboard.down(" ")  # again without an up: as the system repeats it
    page.keyboard.press("Shift+ArrowRight")
    line = painted(page)
    page.keyboard.up(" ")
    page.keyboard.press("Control+Shift+z")  # brings back, elsewhere: here there is nothing to bring
    assert painted(page) == line > 10


def test_everything_is_reached_and_named(server, open_page):
    from playwright.sync_api import expect

    page = open_page(server)
    draw(page, SEVEN)
    reached = []
    for _ in range(6):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("() => document.activeElement.id || document.activeElement.localName")
        )
    assert reached == ["undo", "clear", "save", "thickness", "summary", "body"]
    unnamed = """() => [...document.querySelectorAll("canvas, button, input, section")].filter(
        (element) => !(element.ariaLabel || element.innerText?.trim() || element.labels?.length
                       || element.getAttribute("aria-labelledby")))
        .map((element) => element.outerHTML)"""
    assert page.evaluate(unnamed) == []
    expect(page.locator("#field")).to_have_accessible_description(re.compile("arrow keys move"))


def test_keys_change_the_thickness_on_the_field_alone(server, open_page):
    page = open_page(server)
    slider = page.get_by_label("Thickness")
    page.locator("#field").focus()
    page.keyboard.press("+")
    page.keyboard.press("+")
    page.keyboard.press("-")
    assert slider.input_value() == "9"
    slider.focus()
    page.keyboard.press("-")
    page.keyboard.press("ArrowLeft")
    assert slider.input_value() == "8"


def test_the_answer_is_told_to_those_who_do_not_see(server, open_page):
    from playwright.sync_api import expect

    page = open_page(server)
    told = page.get_by_role("status")
    assert told.get_attribute("aria-live") == "polite"
    draw(page, SEVEN)
    expect(told).to_have_text(re.compile(r"^Answer: 7 \d+\.\d %\.$"))
    page.keyboard.press("Delete")
    expect(told).to_have_text(re.compile("^The field is blank"))


# -- what a network does --------------------------------------------------------------------------


def test_the_layers_are_shown_with_their_strongest_units(server, open_page):
    page = open_page(server)
    layers = page.locator(".layer")
    assert layers.locator("h3").all_inner_texts() == [
        "Hidden layer fc1, act1 48 units",
        "Output fc2 10 units",
    ]
    draw(page, SEVEN)
    is_answered(page, "^7")
    hidden = server.said[-1]["layers"][0]
    active = sum(value > 0 for value in hidden["values"])
    assert layers.locator("h3").first.inner_text() == (
        f"Hidden layer fc1, act1 48 units, {active} above zero"
    )
    captions = layers.first.locator(".unit").all_inner_texts()
    assert captions == [f"unit {unit['number']}" for unit in hidden["strongest"]]
    colours = """(canvas) => new Set(new Uint32Array(canvas.getContext("2d")
        .getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size"""
    for canvas in page.locator("#seen, .layer canvas").all():
        assert canvas.evaluate(colours) > 4
    assert page.locator("#seen").evaluate("(canvas) => [canvas.width, canvas.height]") == [8, 8]
    page.locator(".activations").first.hover(position={"x": 5, "y": 5})
    assert page.locator(".activations").first.get_attribute("title").startswith("unit 0: ")


# -- answers that come late, or never -------------------------------------------------------------


def test_an_old_answer_is_never_shown_over_a_newer_picture(server, open_page, monkeypatch):
    """Nor is a second question asked before the first is answered, however much is drawn."""
    asked, gate = [], threading.Event()
    answer = server.answers.answer

    def late(drawing):
        asked.append(drawing)
        gate.wait(60)
        return answer(drawing)

    monkeypatch.setattr(server.answers, "answer", late)
    page = open_page(server)
    draw(page, SEVEN[:2])
    until(page, lambda: asked)
    draw(page, SEVEN[1:])
    page.wait_for_timeout(100)
    assert len(asked) == 1
    gate.set()
    is_answered(page, "^7")
    assert len(asked) == 2
    said = answer(asked[-1])["outputs"][7]["value"]
    shown = page.locator("#outputs .value").nth(7).get_attribute("title")
    assert float(shown) == pytest.approx(said, abs=1e-6)
    gate.clear()
    draw(page, [(0.2, 0.9), (0.8, 0.9)])
    until(page, lambda: len(asked) == 3)
    page.keyboard.press("Delete")
    is_blank(page)
    gate.set()
    page.wait_for_timeout(300)
    is_blank(page)


def test_what_is_no_clear_figure_is_told_and_not_answered(server, open_page, monkeypatch):
    from playwright.sync_api import expect

    page = open_page(server)
    draw(page, SEVEN)
    is_answered(page, "^7")
    found = {key: server.said[-1][key] for key in ("server", "seen")}
    found["problem"] = "no clear figure"
    monkeypatch.setattr(server.answers, "answer", lambda drawing: found)
    draw(page, [(0.1, 0.1), (0.9, 0.9)])
    expect(page.locator("#note")).to_have_text("no clear figure")
    is_answered(page, "^$")
    assert page.locator("#outputs .value").all_inner_texts() == [""] * 10
    assert page.locator(".layer h3").first.inner_text() == "Hidden layer fc1, act1 48 units"


def test_a_server_that_is_gone_is_told_and_asked_again(server, open_page):
    from playwright.sync_api import expect

    page, asked = open_page(server, may_fail=True), []
    draw(page, SEVEN)
    is_answered(page, "^7")
    page.route("**/answer", lambda route: (asked.append(route), route.abort()))
    began = time.monotonic()
    draw(page, [(0.2 + 0.05 * i, 0.9) for i in range(12)])
    gone = "No answer: is xpnet draw still running?"
    expect(page.locator("#note")).to_have_text(gone)
    expect(page.locator("#answer")).to_have_text("")  # that of the drawing before is none now
    expect(page.get_by_role("status")).to_have_text(gone)
    assert page.locator("#answers").get_attribute("aria-busy") == "true"
    # Each two seconds, however much is drawn.
    assert len(asked) <= 2 + (time.monotonic() - began) / 2
    page.unroute("**/answer")
    page.get_by_role("button", name="Undo").click()
    is_answered(page, "^7")
    assert page.locator("#note").inner_text() == ""


def test_an_error_is_told_and_the_next_drawing_asked_about(server, open_page):
    from playwright.sync_api import expect

    page = open_page(server, may_fail=True)
    page.route(
        "**/answer",
        lambda route: route.fulfill(status=500, json={"error": "the network is tired"}),
    )
    draw(page, SEVEN[:2])
    expect(page.locator("#note")).to_have_text("No answer: the network is tired")
    page.unroute("**/answer")
    draw(page, SEVEN[1:])
    is_answered(page, "^7")


def test_another_network_at_the_same_port_is_met(server, open_page):
    """What was drawn is asked about again, where the field has the same size."""
    from playwright.sync_api import expect
    from test_page_answers import network

    from xpnet.page import Answers

    with served(digits_network(), "the first") as ours:
        page = open_page(ours, may_fail=True)
        draw(page, SEVEN)
        is_answered(page, "^7")
        other = network((8, 8), 3, classes=["ant", "bee", "cow"], framing=digits_network().framing)
        ours.answers = Answers(other, "the second")
        draw(page, [(0.2, 0.9), (0.8, 0.9)])
        is_answered(page, "^(ant|bee|cow)")
        assert page.title() == "Draw: the second"
        assert painted(page) > 0
        ours.answers = Answers(network((20, 40), 2), "the third")
        draw(page, SEVEN)
        expect(page.locator("#title")).to_have_text("the third")
        is_blank(page)
        draw(page, SEVEN)
        is_answered(page, "^[01]")


def test_an_answer_that_takes_long_is_seen_to(server, open_page, monkeypatch):
    """That which is on the page fades, since it is that of another drawing."""
    from playwright.sync_api import expect

    page, gate = open_page(server), threading.Event()
    draw(page, SEVEN)
    is_answered(page, "^7")
    answer = server.answers.answer
    monkeypatch.setattr(server.answers, "answer", lambda drawing: gate.wait(60) and answer(drawing))
    draw(page, [(0.2, 0.9), (0.8, 0.9)])
    expect(page.locator(".verdict")).to_have_css("opacity", "0.4")
    gate.set()
    is_answered(page, r"^\d")
    expect(page.locator(".verdict")).to_have_css("opacity", "1")


# -- how it looks ---------------------------------------------------------------------------------


def boxes(page, *selectors):
    return [page.locator(selector).first.bounding_box() for selector in selectors]


def test_it_fits_screens_of_every_width(server, open_page):
    page = open_page(server, {"width": 320, "height": 800})
    draw(page, SEVEN)
    is_answered(page, "^7")
    for width in (320, 360, 768, 1024, 1280, 1920):
        page.set_viewport_size({"width": width, "height": 800})
        assert painted(page) > 0  # what was drawn is there in the new size
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        field, answer, seen, layer, button = boxes(
            page, "#field", ".answer", "#seen", ".layer", "#clear"
        )
        for box in (field, answer, seen, layer):
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
        assert field["width"] == pytest.approx(field["height"], abs=3)
        assert field["width"] >= 250
        assert button["height"] >= 44  # of a finger
        beside = answer["x"] >= field["x"] + field["width"]
        assert beside == (width > 768)
        assert beside or answer["y"] >= field["y"] + field["height"]


def test_a_screenshot_is_not_blank_and_follows_the_drawing(server, open_page):
    page = open_page(server)
    before = screenshot(page)
    assert len(np.unique(before @ [1, 256, 65536])) > 20
    draw(page, SEVEN)
    is_answered(page, "^7")
    after = screenshot(page)
    changed = np.abs(after - before).max(axis=2) > 60
    for box in boxes(page, "#field", "#answer", "#seen", "#outputs"):
        x, y, width, height = (int(box[side]) for side in ("x", "y", "width", "height"))
        assert changed[y : y + height, x : x + width].mean() > 0.005


def test_it_is_dark_where_that_is_wished(server, open_page):
    page = open_page(server, color_scheme="dark")
    draw(page, SEVEN)
    is_answered(page, "^7")
    field = "[...field.getContext('2d').getImageData(field.width / 2, field.height / 4, 1, 1).data]"
    ink = f"() => {{ const field = document.querySelector('#field'); return {field}; }}"
    painted(page)
    assert np.median(screenshot(page)) < 60
    assert min(page.evaluate(ink)) > 200
    page.emulate_media(color_scheme="light")  # while it is open
    painted(page)
    assert np.median(screenshot(page)) > 230
    assert max(page.evaluate(ink)[:3]) < 60


def contrast(one, other):
    """The ratio of WCAG 2, https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""

    def luminance(text):
        parts = np.array([int(part) / 255 for part in re.findall(r"\d+", text)[:3]])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_what_colours_tell_is_told_where_colours_are_forced(server, open_page):
    page = open_page(server)
    page.emulate_media(forced_colors="active")
    draw(page, SEVEN)
    is_answered(page, "^7")
    colour = "(element) => getComputedStyle(element).backgroundColor"
    assert page.locator(".best .bar span").evaluate(colour) == "rgb(213, 94, 0)"
    swatches = [swatch.evaluate(colour) for swatch in page.locator(".swatch").all()]
    assert len(set(swatches)) == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_text_can_be_read(server, open_page, scheme):
    page = open_page(server, color_scheme=scheme)
    draw(page, SEVEN)
    is_answered(page, "^7")
    of = "(element) => getComputedStyle(element)"
    for text, ground in [
        ("h1", "body"), ("header p", "body"), (".legend", "body"), (".thickness", "body"),
        ("#answer", ".answer"), ("#answer small", ".answer"), ("#outputs .value", ".answer"),
        ("figcaption", ".answer"), (".unit", ".layer"), (".strength", ".layer"),
        ("h3 small", ".layer"), ("#undo", "#undo"),
    ]:  # fmt: skip
        colour = page.locator(text).first.evaluate(f"{of}.color")
        behind = page.locator(ground).first.evaluate(f"{of}.backgroundColor")
        assert contrast(colour, behind) >= 4.5, text


def test_long_names_and_many_outputs_fit(open_page):
    from test_page_answers import network

    markup = "<img src=x onerror=alert(1)>"
    names = sorted(f"class-{i:02d}-{'very-' * (i % 9)}long{markup}" for i in range(47))
    with served(network((12, 12), 47, classes=names), markup) as server:
        for viewport in (WIDE, PHONE):
            page = open_page(server, viewport)
            draw(page, SEVEN)
            is_answered(page, "^class-")
            assert page.locator("#outputs li").count() == 47
            assert page.locator("img").count() == 0  # names are texts, whatever is in them
            assert page.locator("#title").inner_text() == markup
            assert page.evaluate("() => document.documentElement.scrollWidth") <= viewport["width"]


def test_networks_of_labels_and_values_and_colours(open_page):
    from test_page_answers import network

    with served(network((12, 12), 4, "multilabel")) as server:
        page = open_page(server)
        draw(page, SEVEN)
        is_answered(page, r"^(none|\d(, \d)*)$")
    with served(network((12, 12), 2, "values")) as server:
        page = open_page(server)
        draw(page, SEVEN)
        is_answered(page, r"^-?\d[\d.e-]*, -?\d[\d.e-]*$")
        shown = [float(text) for text in page.locator("#outputs .value").all_inner_texts()]
        values = [output["value"] for output in server.said[-1]["outputs"]]
        np.testing.assert_allclose(shown, values, rtol=0.01)
        np.testing.assert_allclose(
            [float(text) for text in page.locator("#answer").inner_text().split(",")], shown
        )
    with served(network((12, 12), 1, "values")) as server:
        page = open_page(server)
        draw(page, SEVEN)
        is_answered(page, r"^-?\d[\d.e-]*$")
        (value,) = [output["value"] for output in server.said[-1]["outputs"]]
        assert float(page.locator("#answer").inner_text()) == pytest.approx(value, rel=0.01)
        assert not page.locator("#outputs").is_visible()  # a bar of one value says nothing
        assert page.locator("h3").last.inner_text().startswith("Output fc2 1 unit, ")
    with served(network((120, 10), 4)) as server:
        page = open_page(server)
        draw(page, SEVEN)
        is_answered(page, r"^\d")
        for box in boxes(page, "#field", "#seen", ".units canvas"):
            assert 0 < box["height"] <= 600  # of a screen
            assert box["height"] == pytest.approx(12 * box["width"], rel=0.1)
    with served(network((20, 40, 3), 4)) as server:
        page = open_page(server)
        draw(page, SEVEN)
        is_answered(page, r"^\d")
        field, unit = boxes(page, "#field", ".units canvas")
        assert field["width"] == pytest.approx(2 * field["height"], rel=0.03)
        assert unit["width"] == pytest.approx(2 * unit["height"], rel=0.05)
