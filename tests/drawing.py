"""What the tests of the page share: a network, drawings, a server in a thread."""

import base64
import threading
from contextlib import contextmanager
from functools import cache

import numpy as np

import xpnet
from xpnet.page import Answers, PageServer


@cache
def digits_network():
    """A network that knows the embedded digits, on NumPy."""
    data = xpnet.load_dataset("digits")
    return xpnet.fit(xpnet.mlp(64, 48, 10), data, epochs=15, backend="numpy", seed=0, callbacks=())


def drawn(lines, answers, width=0.08):
    """Strokes as the page sends them: uint8, white on black, with the margin.

    `lines` are pairs of points (x, y), as parts of the width and of the height of the field.
    """
    margin = answers.margin
    height, across = (n - 2 * margin for n in answers.size)
    y, x = np.mgrid[:height, :across] + 0.5
    found = np.zeros((height, across), bool)
    for (x0, y0), (x1, y1) in lines:
        ax, ay, bx, by = x0 * across, y0 * height, x1 * across, y1 * height
        long = max((bx - ax) ** 2 + (by - ay) ** 2, 1e-9)
        along = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / long, 0, 1)
        apart = np.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay))
        found |= apart < width * min(height, across) / 2
    return np.pad(np.where(found, 255, 0).astype(np.uint8), margin)


SEVEN = [((0.3, 0.22), (0.7, 0.22)), ((0.7, 0.22), (0.45, 0.8))]
ONE = [((0.5, 0.2), (0.5, 0.8))]


def pixels(encoded):
    """A picture as the page gets it."""
    found = np.frombuffer(base64.b64decode(encoded["pixels"]), np.uint8)
    return found.reshape(encoded["height"], encoded["width"])


@contextmanager
def served(network, title="a network", **options):
    """A server that answers in a thread, with what it has said of drawings in `server.said`."""
    answers, said = Answers(network, title), []
    answer = answers.answer

    def remembered(drawing):
        said.append(answer(drawing))
        return said[-1]

    answers.answer = remembered
    with PageServer(answers, **options) as server:
        server.said = said
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(10)
