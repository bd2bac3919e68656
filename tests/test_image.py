"""Pictures: what Pillow itself makes of them, in every mode; files that are damaged or traps."""

import io
import struct
import sys
import zlib

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import xpnet
from xpnet.cli import main
from xpnet.data import image as module
from xpnet.data.image import FORMATS, check_image_shape, read_image
from xpnet.errors import DataError
from xpnet.saving.tensors import write_tensors

pytestmark = pytest.mark.libraries

Image = pytest.importorskip("PIL.Image")
ImageOps = pytest.importorskip("PIL.ImageOps")
features = pytest.importorskip("PIL.features")

SIZE = (10, 8)
RNG = np.random.default_rng(0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.png"


def waves(height, width):
    """A smooth picture in grey, different at each edge."""
    y, x = np.mgrid[0:height, 0:width]
    values = 120 + 60 * np.sin(5 * x / width) + 60 * np.cos(4 * y / height + x / width)
    return Image.fromarray(values.astype(np.uint8))


def pixels_of(picture):
    return np.asarray(picture, dtype=np.float64) / 255


def as_pillow_fits(picture, *, paper=0):
    """What Pillow's own functions make of a picture in memory."""
    picture = ImageOps.exif_transpose(picture).convert("RGBA")
    ground = Image.new("RGBA", picture.size, (paper, paper, paper, 255))
    grey = Image.alpha_composite(ground, picture).convert("L")
    fitted = ImageOps.pad(grey, SIZE[::-1], method=Image.Resampling.LANCZOS, color=paper)
    return pixels_of(fitted)


# -- what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("invert", [False, True])
def test_every_format_is_what_pillow_makes_of_it(path, kind, invert):
    if kind == "WEBP" and not features.check("webp"):
        pytest.skip("this Pillow is built without WebP")
    waves(60, 37).save(path, kind)
    with Image.open(path) as picture:
        expected = as_pillow_fits(picture, paper=255 * invert)
    found = read_image(path, SIZE, maximum=16.0, invert=invert)
    np.testing.assert_array_equal(found, 16 * (1 - expected if invert else expected))


def palette_with_transparency():
    picture = waves(30, 20).convert("P")
    picture.info["transparency"] = 120
    return picture, {"transparency": 120}


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "palette", "bytes"])
def test_every_mode_is_what_pillow_makes_of_it(path, mode):
    options = {}
    if mode == "palette":
        picture, options = palette_with_transparency()
    elif mode == "bytes":
        picture, options = waves(30, 20).convert("P"), {"transparency": bytes(range(256))}
    elif mode == "RGBA":
        picture = Image.fromarray(RNG.integers(0, 256, (30, 20, 4), dtype=np.uint8))
    else:
        picture = waves(30, 20).convert(mode)
    picture.save(path, "TIFF" if mode == "CMYK" else "PNG", **options)
    with Image.open(path) as opened:
        expected = as_pillow_fits(opened)
    np.testing.assert_array_equal(read_image(path, SIZE, maximum=1.0), expected)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_not_cut_off(path, kind):
    values = np.asarray(waves(*SIZE), dtype=np.uint16) * 257
    if kind == "PPM":
        path.write_bytes(b"P5 8 10 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path, kind)
    np.testing.assert_array_equal(read_image(path, SIZE, maximum=1.0), pixels_of(waves(*SIZE)))


@pytest.mark.parametrize("values", [np.float32, np.int32])
def test_values_without_a_white_are_refused(path, values):
    Image.fromarray(np.ones((4, 4), dtype=values)).save(path, "TIFF")
    with pytest.raises(DataError, match="values without a white"):
        read_image(path, SIZE, maximum=1.0)


@pytest.mark.parametrize("orientation", range(10))
def test_pictures_are_turned_upright(path, orientation):
    picture = waves(30, 20)
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(path, "PNG", exif=exif)
    with Image.open(path) as opened:
        expected = as_pillow_fits(opened)
    np.testing.assert_array_equal(read_image(path, SIZE, maximum=1.0), expected)


def test_the_first_of_several_pictures_is_taken(path):
    first, second = waves(20, 20), Image.new("L", (20, 20), 255)
    first.save(path, "GIF", save_all=True, append_images=[second])
    with Image.open(path) as opened:
        expected = as_pillow_fits(opened)
    np.testing.assert_array_equal(read_image(path, SIZE, maximum=1.0), expected)


@pytest.mark.parametrize("size", [(3000, 1), (1, 3000), (1, 1)])
def test_very_thin_pictures(path, size):
    Image.new("L", size, 255).save(path)
    found = read_image(path, SIZE, maximum=1.0)
    assert found.shape == SIZE
    assert found.max() == 1


# -- large pictures -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_large_pictures_are_made_smaller_first_and_look_the_same(
    path, monkeypatch, kind, orientation
):
    picture = waves(600, 440)
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(path, kind, exif=exif)
    expected = read_image(path, SIZE, maximum=1.0)
    monkeypatch.setattr(module, "_LARGE", 5000)
    monkeypatch.setattr(module, "_PIECE", 3000)
    found = read_image(path, SIZE, maximum=1.0)
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert kind == "PNG" or not np.array_equal(found, expected)  # it was decoded at a fraction


@pytest.mark.parametrize("size", [(70_000, 90), (90, 70_000), (2600, 2500)])
def test_pieces_cover_a_picture_of_any_shape(monkeypatch, size):
    monkeypatch.setattr(module, "_PIECE", 1 << 14)
    covered = np.zeros(size[::-1], dtype=np.uint8)
    across, down = max(1, size[0] // 32), max(1, size[1] // 40)
    for left, top, right, bottom in module._pieces(*size, across, down):
        assert left % across == top % down == 0
        covered[top:bottom, left:right] += 1
    assert (covered == 1).all()


def png_header(width, height):
    """The beginning of a PNG of any size, and some of its data."""

    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99)))


def test_a_picture_that_is_too_large_is_refused_before_it_is_decoded(path):
    path.write_bytes(png_header(2**31 - 1, 2**31 - 1))
    with pytest.raises(DataError, match=r"too large: 2,147,483,647 x 2,147,483,647 pixels"):
        read_image(path, SIZE, maximum=1.0)
    file = io.BytesIO()
    waves(16, 16).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    marker = content.index(b"\xff\xc2")  # where the sizes of a progressive JPEG are
    large = struct.pack(">HH", 20_000, 10_000)
    path.write_bytes(content[: marker + 5] + large + content[marker + 9 :])
    with pytest.raises(DataError, match="10,000 x 20,000 pixels, and of a JPEG may be 135,000,000"):
        read_image(path, SIZE, maximum=1.0)


def in_scans(size):
    """A JPEG of three colours, each in a scan of its own: the same grey in all of them."""
    content = io.BytesIO()
    waves(*size).save(content, "JPEG")
    grey = content.getvalue()
    frame, scan = grey.index(b"\xff\xc0"), grey.index(b"\xff\xda")
    behind_frame, behind_scan = (
        at + 2 + int.from_bytes(grey[at + 2 : at + 4]) for at in (frame, scan)
    )
    colours = b"".join(bytes((colour, 0x11, 0)) for colour in (1, 2, 3))
    parts = [grey[:frame], b"\xff\xc0", struct.pack(">HBHHB", 17, 8, *size, 3), colours]
    parts.append(grey[behind_frame:scan])
    for colour in (1, 2, 3):
        parts += [b"\xff\xda\0\x08\x01", bytes((colour, 0, 0, 63, 0)), grey[behind_scan:-2]]
    return b"".join(parts) + b"\xff\xd9"


@pytest.mark.parametrize("how", ["in scans", "progressive", "in one"])
def test_a_jpeg_in_several_scans_is_in_memory_as_a_whole(path, monkeypatch, how):
    if how == "in scans":
        path.write_bytes(in_scans((40, 30)))
    else:
        waves(40, 30).convert("RGB").save(path, "JPEG", progressive=how == "progressive")
    read_image(path, SIZE, maximum=1.0)
    monkeypatch.setattr(module, "_LARGEST_WHOLE", 3 * (40 * 30 - 1))
    if how == "in one":
        read_image(path, SIZE, maximum=1.0)
        return
    with pytest.raises(DataError, match=r"too large: 30 x 40 pixels, and of a JPEG may be 1,199"):
        read_image(path, SIZE, maximum=1.0)


@pytest.mark.parametrize("wanted", [(1, 2**22), (2**22, 1), (2048, 2048), (28, 28)])
@pytest.mark.parametrize("size", [(16_400, 16_400), (65_500, 4_100), (4_100, 65_500)])
def test_a_large_jpeg_is_decoded_small_whatever_is_wanted(wanted, size):
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "JPEG")
    picture = Image.open(content)
    codec, _, *rest = picture.tile[0]  # a named tuple of newer Pillows
    picture._size, picture.tile = size, [(codec, (0, 0, *size), *rest)]
    picture.draft(None, module._drafted(size, wanted[::-1]))
    width, height = picture.size
    assert width * height < 80_000_000
    # Still larger than the picture will be, whichever way it is turned.
    for high, wide in (wanted, wanted[::-1]):
        scale = min(wide / size[0], high / size[1])
        assert width >= min(size[0], 2 * scale * size[0]) - 1
        assert height >= min(size[1], 2 * scale * size[1]) - 1


def test_the_limit_of_pillow_is_not_touched(path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    waves(60, 37).save(path)
    assert read_image(path, SIZE, maximum=1.0).shape == SIZE
    assert Image.MAX_IMAGE_PIXELS == 10


# -- what is damaged or a trap --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["EPS", "PCX", "TGA", "SGI", "PDF"])
def test_other_formats_are_refused_whatever_the_name(path, kind):
    waves(20, 20).convert("L").save(path, kind)
    with pytest.raises(DataError, match="not one of PNG, JPEG, GIF, BMP, PPM, WEBP, TIFF"):
        read_image(path, SIZE, maximum=1.0)


@pytest.mark.parametrize(
    "error",
    [
        struct.error("x"), IndexError("x"), KeyError("x"), SyntaxError("x"), ValueError("x"),
        NotImplementedError(), OverflowError("x"), RecursionError("x"), ZeroDivisionError("x"),
        MemoryError(), EOFError(), OSError("truncated"), AssertionError("x\x1b[31m"),
        Image.DecompressionBombError("x"), RuntimeError("y" * 10_000),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
@pytest.mark.parametrize("where", ["_open", "load"])
def test_whatever_a_decoder_raises(path, monkeypatch, error, where):
    from PIL import PngImagePlugin

    def fail(*args):
        raise error

    waves(20, 20).save(path)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, where, fail)
    with pytest.raises(DataError) as info:
        read_image(path, SIZE, maximum=1.0)
    message = str(info.value)
    assert message.startswith(f"{path}: ")
    assert len(message) < len(str(path)) + 300
    assert message.isprintable()


def samples():
    for kind, options in [
        ("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("GIF", {}), ("BMP", {}),
        ("PPM", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}),
    ]:  # fmt: skip
        file = io.BytesIO()
        waves(20, 30).save(file, kind, **options)
        yield file.getvalue()


SAMPLES = list(samples())


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("image") / "a"


@pytest.mark.filterwarnings("ignore")
@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_a_damaged_picture_is_read_or_refused(scratch, data):
    content = bytearray(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, min(len(content) - 1, 400)))
        content[start : start + data.draw(st.sampled_from([1, 1, 1, 0, 4]))] = data.draw(
            st.binary(max_size=4)
        )
    end = data.draw(st.sampled_from([None, None, 20, 60, len(content) // 2]))
    scratch.write_bytes(content[:end])
    try:
        found = read_image(scratch, SIZE, maximum=1.0)
    except DataError:
        return
    assert found.shape == SIZE
    assert (found >= 0).all()
    assert (found <= 1).all()


@pytest.mark.parametrize(
    ("shape", "part"),
    [(None, "of unknown shape"), ((64,), r"of shape \(64,\)"), ((8, 8, 3), r"of shape \(8, 8, 3\)"),
     ((10**5, 10**5), "more than the 4,194,304")],
)  # fmt: skip
def test_samples_that_are_no_pictures(shape, part):
    with pytest.raises(DataError, match=part):
        check_image_shape(shape)


# -- on the command line --------------------------------------------------------------------------


def predict(*arguments, code=0):
    result = CliRunner().invoke(main, ["predict", *map(str, arguments)])
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def network_for(kind, path, outputs=3):
    x = RNG.random((30, 8, 8))
    y = {"values": RNG.random((30, outputs)), "multilabel": (RNG.random((30, outputs)) > 0.5) * 1.0}
    loss = {"values": xpnet.mean_squared_error, "multilabel": xpnet.binary_cross_entropy}[kind]
    model = xpnet.mlp(64, outputs)
    network = xpnet.fit(model, (x, y[kind]), loss=loss, epochs=1, backend="numpy")
    network.save(path)
    return network


@pytest.mark.parametrize("kind", ["values", "multilabel"])
def test_networks_that_do_not_tell_classes_apart_are_predicted(tmp_path, kind):
    network = network_for(kind, tmp_path / "a.safetensors")
    picture = tmp_path / "a.png"
    waves(8, 8).save(picture)
    answer = predict(tmp_path / "a.safetensors", picture).output.strip()
    pixels = read_image(picture, (8, 8), maximum=1.0)[None]
    if kind == "values":
        words = answer.removeprefix(f"{picture}: ").split()
        np.testing.assert_allclose(list(map(float, words)), network.predict(pixels)[0], rtol=1e-5)
        return
    probabilities = network.predict_proba(pixels)[0]
    holding = [f"{i}  ({100 * p:.1f} %)" for i, p in enumerate(probabilities) if p > 0.5]
    assert answer == f"{picture}: {', '.join(holding) or 'none of 3 labels'}"


@pytest.mark.parametrize("kind", ["values", "multilabel"])
def test_what_a_network_of_very_many_outputs_says_is_cut(tmp_path, kind):
    metadata = {
        "model": {"layer": "Flatten", "options": {"shape": [50, 50]}}, "dtype": "float32",
        "history": [], "sample_shape": [50, 50], "pixel_maximum": 1.0, "target_kind": kind,
    }  # fmt: skip
    write_tensors(tmp_path / "a.safetensors", {}, metadata)
    Image.new("L", (50, 50), 255).save(tmp_path / "a.png")
    said = predict(tmp_path / "a.safetensors", tmp_path / "a.png").stdout
    assert said.endswith(" and 1,500 more\n")
    assert said.count("1" if kind == "values" else "%") >= 1000
    assert len(said) < 25_000


def test_a_network_that_takes_no_pictures_says_so_once(tmp_path):
    network = xpnet.fit(
        xpnet.mlp(4, 3), (RNG.random((9, 4)), np.arange(9) % 3), epochs=1, backend="numpy"
    )
    network.save(tmp_path / "a.safetensors")
    result = predict(tmp_path / "a.safetensors", "a.png", "b.png", "c.png", code=1)
    assert result.stderr.count("error: ") == 1
    assert "the network takes samples of shape (4,), not pictures" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="such names are not allowed there")
def test_damaged_pictures_among_others(tmp_path):
    network_for("values", tmp_path / "a.safetensors")
    names = ["good.png", "cut.png", "\x1b[31mred.png", "none.png", "last.png"]
    for name in names:
        waves(20, 20).save(tmp_path / name)
    (tmp_path / "none.png").unlink()
    content = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    result = predict(tmp_path / "a.safetensors", *(tmp_path / name for name in names), code=1)
    assert len(result.stdout.splitlines()) == 3
    assert r"\x1b[31mred.png: " in result.stdout
    assert "cut.png: cannot be read as a picture" in result.stderr
    assert "none.png: cannot be read as a picture (No such file or directory)" in result.stderr
