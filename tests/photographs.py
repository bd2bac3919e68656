"""Pictures as people take them, made of the digits of MNIST: ink on paper, light, noise, JPEG.

A digit is drawn anew as crisp ink, by the distance of each point to its edge, so that a pen may be
thinner or thicker; then it is put on paper, lit, blurred a little, and photographed.
"""

import io
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy import ndimage


@dataclass(frozen=True)
class Scene:
    """How a picture is taken; lengths are parts of the shorter side, brightness is of 255.

    `extent` is that of the longer side of the digit's box, and `offset` how far its middle is from
    that of the picture; both are made smaller where the digit would not lie within. `pen` makes
    strokes thicker (or thinner) by this part of the longer side of the digit.
    """

    size: tuple[int, int] = (600, 800)
    extent: float = 0.5
    offset: tuple[float, float] = (0.0, 0.0)
    rotation: float = 0.0
    pen: float = 0.0
    paper: float = 210.0
    ink: float = 40.0
    shading: str = "slope"
    shade: float = 75.0
    direction: float = 0.0
    noise: float = 7.0
    grain: str = "white"
    lines: str = ""
    quality: int = 85
    blur: float = 0.7


def photograph(digit, scene, rng):
    """The scene with a digit (28, 28), uint8, as a picture of uint8 before it is a file."""
    height, width = scene.size
    coverage = drawn(digit, scene, height, width)
    paper = np.full((height, width), scene.paper)
    if scene.lines:
        paper = ruled(paper, scene.lines)
    light = lit(scene, height, width)
    picture = paper + (scene.ink - paper) * coverage
    picture = picture + light if scene.paper > scene.ink else picture - light / 2
    if scene.blur:
        picture = ndimage.gaussian_filter(picture, scene.blur)
    picture = picture + grain(scene, picture.shape, rng)
    return picture.clip(0, 255).round().astype(np.uint8)


@lru_cache(400)
def outlined(digit, shape):
    """How far each point of an enlarged digit is inside it, and the rows and columns of the box."""
    inside = np.pad(np.frombuffer(digit, dtype=np.uint8).reshape(shape) / 255, 8)
    fine = ndimage.zoom(inside, 8, order=3) - 0.45
    rows, columns = np.flatnonzero((fine > 0).any(1)), np.flatnonzero((fine > 0).any(0))
    distance = ndimage.distance_transform_edt(fine > 0) - ndimage.distance_transform_edt(fine <= 0)
    return ndimage.gaussian_filter(distance, 1.5), rows, columns


def drawn(digit, scene, height, width):
    """How much of each pixel is ink."""
    distance, rows, columns = outlined(digit.astype(np.uint8).tobytes(), digit.shape)
    longer = max(np.ptp(rows), np.ptp(columns)) + 1
    distance = distance + scene.pen * longer
    middle = np.array([(rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2])
    short = min(height, width)
    scale = scene.extent * short / (longer * (1 + 2 * max(scene.pen, 0)))
    angle = np.deg2rad(scene.rotation)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    half = np.array([np.ptp(rows) + 1, np.ptp(columns) + 1]) * scale / 2
    half += max(scene.pen, 0) * longer * scale
    room = np.maximum(0, np.array([height, width]) / 2 - half)
    shift = np.clip(np.array(scene.offset) * short, -room, room)
    target = np.array([height, width]) / 2 + shift
    placed = ndimage.affine_transform(
        distance, turn, middle - turn @ target, (height, width), order=1, cval=-1000
    )
    return np.clip(placed * scale + 0.5, 0, 1)


def lit(scene, height, width):
    """What the light takes away, up to `shade`: from 0 to -shade."""
    y, x = np.mgrid[0:height, 0:width]
    y, x = y / (height - 1) - 0.5, x / (width - 1) - 0.5
    along = x * np.cos(scene.direction) + y * np.sin(scene.direction)
    if scene.shading == "slope":
        part = along / (abs(np.cos(scene.direction)) + abs(np.sin(scene.direction))) + 0.5
    elif scene.shading == "corners":
        part = (x**2 + y**2) * 2
    elif scene.shading == "lamp":
        part = np.clip(
            np.hypot(x - 0.4 * np.cos(scene.direction), y - 0.4 * np.sin(scene.direction)), 0, 1
        )
    elif scene.shading == "shadow":
        part = 1 / (1 + np.exp(-along * 60))
    elif scene.shading == "soft shadow":
        part = 1 / (1 + np.exp(-along * 12))
    else:
        part = np.zeros((height, width))
    return -scene.shade * part


def grain(scene, shape, rng):
    if scene.grain == "coarse":
        fine = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
        return fine / fine.std() * scene.noise
    if scene.grain == "specks":
        specks = rng.random(shape) < 0.002
        return rng.normal(0, scene.noise / 2, shape) + specks * rng.normal(0, 80, shape)
    return rng.normal(0, scene.noise, shape)


def ruled(paper, lines):
    height, width = paper.shape
    step = min(height, width) // 12
    paper = paper.copy()
    paper[step // 2 :: step] -= 35
    paper[step // 2 + 1 :: step] -= 35
    if lines == "squared":
        paper[:, step // 2 :: step] -= 35
        paper[:, step // 2 + 1 :: step] -= 35
    return paper


def as_jpeg(picture, quality):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return file.getvalue()


def varied(scene, rng, *, off_centre=0.0):
    """A scene with the light from anywhere, other papers, and the digit off the middle."""
    towards = rng.uniform(0, 2 * np.pi)
    return replace(
        scene,
        direction=rng.uniform(0, 2 * np.pi),
        offset=(off_centre * np.sin(towards), off_centre * np.cos(towards)),
    )


_LARGE = (1200, 1600)
_DARK = {"paper": 55.0, "ink": 220.0, "shade": 40.0}

CONDITIONS = {
    "half of the picture": (Scene(paper=205.0, shade=70.0, noise=6.0), 0.0),
    "a quarter, off the middle": (Scene(extent=0.25, paper=215.0, shade=80.0, noise=8.0), 0.25),
    "a quarter, 1600 x 1200": (Scene(extent=0.25, size=_LARGE, noise=8.0), 0.25),
    "the whole picture": (Scene(extent=1.0, shade=80.0, noise=8.0), 0.0),
    "the whole, 1600 x 1200": (Scene(extent=1.0, size=_LARGE), 0.0),
    "a lamp beside it": (Scene(shading="lamp", shade=80.0), 0.1),
    "dark corners": (Scene(shading="corners", shade=80.0), 0.1),
    "a shadow with an edge": (Scene(shading="shadow"), 0.1),
    "black on white": (Scene(paper=255.0, ink=0.0, shade=0.0, noise=0.0), 0.25),
    "white on black": (Scene(paper=0.0, ink=255.0, shade=0.0, noise=0.0), 0.25),
    "on dark paper": (Scene(**_DARK), 0.15),
    "on dark paper, the whole": (Scene(**_DARK, extent=1.0), 0.0),
    "a pale pencil": (Scene(extent=0.3, ink=170.0, shade=80.0), 0.2),
    "coarse grain, poor JPEG": (Scene(grain="coarse", noise=8.0, quality=35), 0.1),
    "squared paper": (Scene(lines="squared"), 0.1),
    "tall": (Scene(size=(900, 400), extent=0.6), 0.2),
    "wide": (Scene(size=(300, 1000), extent=0.7), 0.2),
    "a thin pen": (Scene(pen=-0.02), 0.1),
    "a thick pen": (Scene(pen=0.03), 0.1),
    "a thick pen, the whole": (Scene(pen=0.03, extent=0.95), 0.0),
    "turned to the left": (Scene(rotation=15.0), 0.1),
    "turned to the right": (Scene(rotation=-15.0), 0.1),
}
"""Scenes by what is hard in them, each with how far the digit is off the middle."""
