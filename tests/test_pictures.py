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
from xpnet.data import fit_picture, picture_formats, read_picture
from xpnet.data import pictures as module
from xpnet.data.picture_formats import FORMATS
from xpnet.data.picture_shape import PictureShape
from xpnet.data.pictures import open_picture
from xpnet.data.prepared import brightness
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


def as_pillow_reads(picture, *, ground=0):
    """What Pillow's own functions make of a picture in memory: upright, and in grey."""
    picture = ImageOps.exif_transpose(picture).convert("RGBA")
    behind = Image.new("RGBA", picture.size, (ground, ground, ground, 255))
    return np.asarray(Image.alpha_composite(behind, picture).convert("L"))


# -- what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_what_pillow_makes_of_it(path, kind):
    if kind == "WEBP" and not features.check("webp"):
        pytest.skip("this Pillow is built without WebP")
    waves(60, 37).save(path, kind)
    with Image.open(path) as picture:
        expected = as_pillow_reads(picture)
    found = read_picture(path)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def palette_with_transparency():
    picture = waves(30, 20).convert("P")
    picture.info["transparency"] = 120
    return picture, {"transparency": 120}


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "palette", "bytes"])
@pytest.mark.parametrize("invert", [False, True])
def test_every_mode_is_what_pillow_makes_of_it(path, mode, invert):
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
        expected = as_pillow_reads(opened, ground=255 * invert)
    np.testing.assert_array_equal(read_picture(path, invert=invert), expected)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_as_the_file_has_them(path, kind):
    values = RNG.integers(0, 65536, SIZE, dtype=np.uint16)
    if kind == "PPM":
        path.write_bytes(b"P5 8 10 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path, kind)
    found = read_picture(path)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("values", [np.float32, np.int32])
def test_values_without_a_white_are_refused(path, values):
    pixels = np.ones((4, 4), dtype=values)
    if values is np.float32:
        pixels[1, 1] = np.nan
    Image.fromarray(pixels).save(path, "TIFF")
    with pytest.raises(DataError, match="values without a white"):
        read_picture(path)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("bits", [8, 16])
def test_pictures_are_turned_upright(path, orientation, bits):
    picture = waves(30, 20)
    if bits == 16:
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(path, "PNG", exif=exif)
    with Image.open(path) as opened:
        if bits == 16:
            expected = np.asarray(ImageOps.exif_transpose(opened))
        else:
            expected = as_pillow_reads(opened)
    np.testing.assert_array_equal(read_picture(path), expected)
    assert open_picture(path).size == expected.shape


def test_the_first_of_several_pictures_is_taken(path):
    first, second = waves(20, 20), Image.new("L", (20, 20), 255)
    first.save(path, "GIF", save_all=True, append_images=[second])
    with Image.open(path) as opened:
        expected = as_pillow_reads(opened)
    np.testing.assert_array_equal(read_picture(path), expected)


@pytest.mark.parametrize("ink", [0, 255])
@pytest.mark.parametrize("large", [False, True])
def test_behind_ink_on_nothing_is_what_it_is_not(path, monkeypatch, ink, large):
    """A drawing on a transparent ground: black ink is on white, white ink on black."""
    if large:
        monkeypatch.setattr(module, "_MOST", 100)
    layers = np.zeros((30, 20, 4), dtype=np.uint8)
    layers[10:20, 8:12] = (ink, ink, ink, 255)
    Image.fromarray(layers).save(path)
    found = read_picture(path)
    assert (found[0] == 255 - ink).all()
    assert found[found.shape[0] // 2, found.shape[1] // 2] == ink
    for invert in (True, False):
        assert (read_picture(path, invert=invert)[0] == 255 * invert).all()


def test_behind_a_page_that_was_cut_out_is_more_of_it(path):
    layers = np.full((30, 20, 4), 210, dtype=np.uint8)
    layers[..., 3] = 255
    layers[:5, :5] = 0  # a corner of nothing
    layers[12:18, 8:12, :3] = 30
    Image.fromarray(layers).save(path)
    found = read_picture(path)
    assert found[0, 0] == found[-1, -1] == 210
    assert found[15, 10] == 30


# -- the whole of it ------------------------------------------------------------------------------


def test_the_whole_picture_is_fitted_as_pillow_does():
    grey = np.asarray(waves(60, 37))
    found = fit_picture(brightness(grey), SIZE)
    wanted = ImageOps.pad(Image.fromarray(grey), SIZE[::-1], method=Image.Resampling.LANCZOS)
    inside = slice(1, -1) if found.shape != SIZE else slice(2, 6)  # of its columns
    np.testing.assert_allclose(
        found[:, inside], np.asarray(wanted)[:, inside] / 255, atol=1.01 / 255
    )
    np.testing.assert_allclose(fit_picture(brightness(grey), SIZE, invert=True), 1 - found)


def test_it_is_padded_with_its_paper():
    grey = np.full((20, 80), 180, dtype=np.uint8)
    grey[5:15, 30:50] = 20
    found = fit_picture(brightness(grey), (28, 28))
    np.testing.assert_allclose(found[[0, 5, -6, -1]], 180 / 255)
    assert found[13:15].min() < 0.1


@pytest.mark.parametrize("size", [(3000, 1), (1, 3000), (1, 1)])
def test_very_thin_pictures(path, size):
    Image.new("L", size, 255).save(path)
    found = fit_picture(brightness(read_picture(path)), SIZE)
    assert found.shape == SIZE
    np.testing.assert_array_equal(found, 1)


# -- large pictures -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "16 bits"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_large_pictures_are_made_smaller_and_look_the_same(path, monkeypatch, kind, orientation):
    picture = waves(600, 440)
    if kind == "16 bits":
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(path, "JPEG" if kind == "JPEG" else "PNG", exif=exif)
    expected = open_picture(path)
    monkeypatch.setattr(module, "_MOST", 5000)
    monkeypatch.setattr(module, "_PIECE", 3000)
    found = open_picture(path)
    assert found.size == expected.size
    assert 1000 < found.pixels.size <= 5200
    assert found.pixels.dtype == expected.pixels.dtype
    looks = [fit_picture(brightness(each.pixels), SIZE) for each in (found, expected)]
    np.testing.assert_allclose(*looks, atol=0.03)


@pytest.mark.parametrize("size", [(70_000, 90), (90, 70_000), (2600, 2500)])
def test_pieces_cover_a_picture_of_any_shape(monkeypatch, size):
    monkeypatch.setattr(module, "_PIECE", 1 << 14)
    covered = np.zeros(size[::-1], dtype=np.uint8)
    for left, top, right, bottom in module._pieces(*size, 7, 5):
        assert left % 7 == top % 5 == 0
        covered[top:bottom, left:right] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize("size", [(90_000, 1), (1, 90_000), (30_000, 3), (3, 30_000), (400, 300)])
def test_a_mere_line_is_made_small_as_well(path, monkeypatch, size):
    monkeypatch.setattr(module, "_MOST", 1000)
    Image.new("1", size, 1).save(path)
    found = open_picture(path)
    assert found.size == size[::-1]
    assert 1 <= found.pixels.size <= 1100
    assert (found.pixels == 255).all()


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
        read_picture(path)
    file = io.BytesIO()
    waves(16, 16).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    marker = content.index(b"\xff\xc2")  # where the sizes of a progressive JPEG are
    large = struct.pack(">HH", 20_000, 10_000)
    path.write_bytes(content[: marker + 5] + large + content[marker + 9 :])
    with pytest.raises(DataError, match="10,000 x 20,000 pixels, and of a JPEG may be 135,000,000"):
        read_picture(path)


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
    read_picture(path)
    monkeypatch.setattr(picture_formats, "_LARGEST_WHOLE", 3 * (40 * 30 - 1))
    if how == "in one":
        read_picture(path)
        return
    with pytest.raises(DataError, match=r"too large: 30 x 40 pixels, and of a JPEG may be 1,199"):
        read_picture(path)


def test_the_limit_of_pillow_is_not_touched(path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    waves(60, 37).save(path)
    assert read_picture(path).shape == (60, 37)
    assert Image.MAX_IMAGE_PIXELS == 10


# -- what is damaged or a trap --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["EPS", "PCX", "TGA", "SGI", "PDF"])
def test_other_formats_are_refused_whatever_the_name(path, kind):
    waves(20, 20).convert("L").save(path, kind)
    with pytest.raises(DataError, match="not one of PNG, JPEG, GIF, BMP, PPM, WEBP, TIFF"):
        read_picture(path)


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
        read_picture(path)
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
    colour = data.draw(st.booleans())
    try:
        found = read_picture(scratch, colour=colour)
    except DataError:
        return
    assert found.dtype == np.uint8 or (found.dtype == np.uint16 and not colour)
    assert found.shape[2:] == ((3,) if colour else ())
    assert 1 <= found.shape[0] * found.shape[1] <= module._MOST


@pytest.mark.parametrize(
    ("shape", "part"),
    [(None, "of unknown shape"), ((64,), r"of shape \(64,\)"),
     ((8, 8, 2), r"of shape \(8, 8, 2\), not pictures"), ((8, 8, 3, 1), "not pictures"),
     ((10**5, 10**5), "more than the 4,194,304"), ((3, 10**5, 10**5), "more than the 4,194,304")],
)  # fmt: skip
def test_samples_that_are_no_pictures(shape, part):
    with pytest.raises(DataError, match=part):
        PictureShape.of(shape)


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
    answer = predict(tmp_path / "a.safetensors", picture).stdout.strip()
    pixels = brightness(read_picture(picture))[None]
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
