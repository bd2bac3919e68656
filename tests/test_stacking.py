"""Pictures of a data set: read as one that a network is asked about, wherever they lie."""

import csv
import io
import zipfile

import numpy as np
import pytest
from click.testing import CliRunner

from xpnet import fit, load_dataset, mlp
from xpnet.cli import main
from xpnet.data import fit_picture, read_picture
from xpnet.data import pictures as pictures_module
from xpnet.data import stacking as module
from xpnet.data.pictures import read_head
from xpnet.data.prepared import brightness
from xpnet.errors import DataError

pytestmark = pytest.mark.libraries

Image = pytest.importorskip("PIL.Image")

SIZE = (24, 18)


def waves(size=SIZE, shift=0.0):
    y, x = (at / n for at, n in zip(np.mgrid[0 : size[0], 0 : size[1]], size, strict=True))
    return Image.fromarray((120 + 60 * np.sin(5 * x + shift) + 60 * np.cos(4 * y)).astype(np.uint8))


def coloured():
    return Image.merge("RGB", [waves(shift=shift) for shift in (0, 2, 4)])


def turned():
    picture = waves(SIZE[::-1])
    picture.getexif()[0x0112] = 6
    return picture


def deep():
    return Image.fromarray(np.random.default_rng(0).integers(0, 65536, SIZE, dtype=np.uint16))


def cut_out():
    """A page of which a corner is nothing."""
    layers = np.full((*SIZE, 4), 210, dtype=np.uint8)
    layers[..., 3] = 255
    layers[:6, :6] = 0
    layers[10:14, 4:9, :3] = 30
    return Image.fromarray(layers)


def drawing():
    """Black ink on nothing."""
    layers = np.zeros((*SIZE, 4), dtype=np.uint8)
    layers[8:14, 5:9, 3] = 255
    return Image.fromarray(layers)


def see_through():
    picture = waves().convert("P")
    picture.info["transparency"] = 120
    return picture


KINDS = {"grey.png": waves, "colours.png": coloured, "deep.png": deep, "cut out.png": cut_out,
         "drawing.webp": drawing, "turned.jpg": turned, "see through.png": see_through,
         "palette.gif": lambda: coloured().convert("P"),
         "print.tif": lambda: coloured().convert("CMYK"), "bits.png": lambda: waves().convert("1"),
         }  # fmt: skip


def encoded(name):
    if name.endswith("webp") and not pytest.importorskip("PIL.features").check("webp"):
        name = "drawing.png"
    picture, file = KINDS.get(name, drawing)(), io.BytesIO()
    options = {"exif": picture.getexif()} if name == "turned.jpg" else {}
    if "transparency" in picture.info:
        options["transparency"] = picture.info["transparency"]
    endings = Image.registered_extensions()
    picture.save(file, endings["." + name.rpartition(".")[2]], **options)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """A picture of each kind, all of one size, in two classes."""
    folder = tmp_path / "d"
    for i, name in enumerate(KINDS):
        path = folder / "ab"[i % 2] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(name))
    return folder


def as_bytes(pixels):
    """In 8 bits: the nearest of the brightness."""
    return np.rint(255 * brightness(pixels)).astype(np.uint8)


def in_any_order(images):
    return sorted(image.tobytes() for image in images)


@pytest.mark.parametrize("how", ["folder", "zip"])
def test_pictures_of_a_data_set_are_read_as_those_that_are_asked_about(folder, tmp_path, how):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    place = folder
    if how == "zip":
        place = tmp_path / "d.zip"
        with zipfile.ZipFile(place, "w") as file:
            for path in paths:
                file.write(path, path.relative_to(tmp_path))
    data = load_dataset(place)
    assert len(data.train.images) == len(KINDS)
    assert (data.image_shape, data.train.images.dtype) == (SIZE, np.uint8)
    expected = [as_bytes(read_picture(path)) for path in paths]
    assert in_any_order(data.train.images) == in_any_order(expected)


def test_a_file_that_is_open_is_read_and_stays_open(folder):
    for path in (folder / "a/deep.png", folder / "b/turned.jpg"):
        with path.open("rb") as file:
            np.testing.assert_array_equal(read_picture(file), read_picture(path))
            assert not file.closed
    file = io.BytesIO(b"no picture")
    with pytest.raises(DataError, match="the picture: cannot be read as a picture"):
        read_picture(file)
    (folder / "a/none.png").write_bytes(b"no picture")
    with (folder / "a/none.png").open("rb") as file, pytest.raises(DataError, match=r"none\.png: "):
        read_picture(file)


@pytest.mark.parametrize("name", KINDS)
def test_the_head_says_what_the_pixels_say(folder, name):
    path = next(folder.rglob(name))
    head = read_head(path)
    assert head.size == SIZE
    assert head.coloured is (name not in ("grey.png", "deep.png", "turned.jpg", "bits.png"))


def test_pictures_of_several_sizes_are_fitted_as_pictures_are(folder):
    large = waves((240, 100))
    large.save(folder / "a" / "large.png")
    data = load_dataset(folder)
    assert data.image_shape == SIZE
    assert "pictures of 2 sizes are fitted to 24 x 18 pixels" in data.notes
    fitted = fit_picture(brightness(np.asarray(large)), SIZE)
    assert np.rint(255 * fitted).astype(np.uint8).tobytes() in in_any_order(data.train.images)


def test_large_pictures_are_made_small(folder, monkeypatch):
    """They would be of a million inputs, and read each in another way that its format has."""
    monkeypatch.setattr(pictures_module, "_MOST", 300)
    monkeypatch.setattr(module, "_LARGEST_SIDE", 12)
    data = load_dataset(folder)
    assert data.image_shape == (12, 9)
    assert "pictures of 24 x 18 are fitted to 12 x 9 pixels" in data.notes


def test_what_takes_too_much_memory_is_refused_unless_it_is_made_smaller(folder, monkeypatch):
    monkeypatch.setattr(module, "_MOST_BYTES", SIZE[0] * SIZE[1] * len(KINDS) - 1)
    with pytest.raises(DataError, match="10 pictures of 24 x 18 pixels take 4,320 bytes"):
        load_dataset(folder)
    monkeypatch.setattr(module, "_LARGEST_SIDE", 12)
    waves((240, 100)).save(folder / "a" / "large.png")
    assert load_dataset(folder).image_shape == (12, 9)


def test_what_is_wrong_with_a_picture_is_said_in_the_same_words(folder, tmp_path):
    damaged = encoded("colours.png")[:60]
    for content in (damaged, b"", b"GIF89a", b"%!PS-Adobe-3.0 EPSF-3.0"):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(DataError) as alone:
            read_picture(tmp_path / "a.png")
        (folder / "b" / "a.png").write_bytes(content)
        with pytest.raises(DataError) as among:
            load_dataset(folder)
        words = str(alone.value).removeprefix(str(tmp_path / "a.png"))
        assert str(among.value) == f"{folder / 'b' / 'a.png'}{words}"


# -- in tables ------------------------------------------------------------------------------------


def parquet_of(path, contents, labels=None):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    kind = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    rows = [{"bytes": content, "path": None} for content in contents]
    columns = {"image": arrow.array(rows, kind)}
    parquet.write_table(arrow.table(columns | ({} if labels is None else {"label": labels})), path)
    return path


def test_pictures_in_a_table_are_read_in_the_same_way(folder, tmp_path):
    contents = [encoded(name) for name in KINDS]
    labels = [0, 1] * (len(KINDS) // 2)
    grey = load_dataset(parquet_of(tmp_path / "d.parquet", contents, labels), test=None)
    expected = [as_bytes(read_picture(io.BytesIO(content))) for content in contents]
    np.testing.assert_array_equal(grey.train.images, expected)
    colours = load_dataset(parquet_of(tmp_path / "d.parquet", contents[::-1], labels), test=None)
    assert not read_head(io.BytesIO(contents[-1])).coloured
    assert colours.train.images.ndim == 3
    contents = [encoded("colours.png"), *contents]
    data = load_dataset(parquet_of(tmp_path / "d.parquet", contents, [0, *labels]), test=None)
    expected = [read_picture(io.BytesIO(content), colour=True) for content in contents]
    np.testing.assert_array_equal(data.train.images, expected)


def test_pictures_of_several_sizes_in_a_table_are_fitted(tmp_path):
    contents = [encoded("colours.png")] * 3
    small = io.BytesIO()
    coloured().resize((9, 12)).save(small, "PNG")
    parquet_of(tmp_path / "train.parquet", [*contents, small.getvalue()], [0, 1, 0, 1])
    parquet_of(tmp_path / "test.parquet", [small.getvalue()] * 2, [0, 1])
    data = load_dataset(tmp_path)
    assert data.image_shape == (*SIZE, 3)
    assert "pictures of 2 sizes are fitted to 24 x 18 pixels" in data.notes
    whole = brightness(read_picture(small, colour=True))
    np.testing.assert_array_equal(
        data.test.images, [np.rint(255 * fit_picture(whole, SIZE)).astype(np.uint8)] * 2
    )


def test_a_table_to_predict_is_fitted_to_what_the_network_takes(tmp_path):
    """As the same pictures in files are, whatever their size and the order of the axes."""
    contents = [encoded("colours.png"), encoded("turned.jpg"), encoded("drawing.webp")]
    parquet_of(tmp_path / "new.parquet", contents)
    for i, content in enumerate(contents):
        (tmp_path / f"{i}.png").write_bytes(content)
    for shape in [(8, 6, 3), (3, 8, 6), (8, 6)]:
        x = np.random.default_rng(0).integers(0, 256, (60, *shape), dtype=np.uint8)
        network = fit(mlp(x[0].size, 3), (x, np.arange(60) % 3), epochs=1, backend="numpy")
        network.save(tmp_path / "net.safetensors")
        result = CliRunner().invoke(
            main, ["predict", str(tmp_path / "net.safetensors"), str(tmp_path / "new.parquet")]
        )
        rows = list(csv.DictReader(result.stdout.splitlines()))
        answers = network.predict_pictures([tmp_path / f"{i}.png" for i in range(3)])
        for row, answer in zip(rows, answers, strict=True):
            found = [float(row[f"probability {i}"]) for i in range(3)]
            np.testing.assert_allclose(found, answer.probabilities, atol=0.02)
            assert row["label"] == str(np.argmax(found))
