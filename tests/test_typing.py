"""The types of the public names, as a type checker in somebody else's project sees them."""

import re
from pathlib import Path

import pytest

import xpnet
from xpnet.data import DatasetWithTest, load_digits

ROOT = Path(xpnet.__file__).parent.parent
SETTINGS = """
[mypy]
strict = True
# As what is installed is looked at: its own mistakes are not those of the file.
[mypy-xpnet.*]
follow_imports = silent
# They have nothing to do with it, and take most of the time.
[mypy-numpy.*,matplotlib.*,array_api_compat.*,tqdm.*,safetensors.*,sklearn.*,scipy.*,torch.*,jax.*]
follow_imports = skip
ignore_missing_imports = True
"""
MORE = """
reveal_type(xpnet.load_dataset().test)
reveal_type(xpnet.load_dataset("mnist", data_dir="data").limited(5).test)
reveal_type(xpnet.load_dataset("some/folder").test)
"""


@pytest.mark.slow
def test_the_example_of_the_readme(tmp_path, monkeypatch):
    mypy = pytest.importorskip("mypy.api", reason="mypy is not installed")
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("the README is in the repository, and not in what is installed")
    (example,) = re.findall(
        r"```python\n(import xpnet.*?)```", readme.read_text("utf-8"), re.DOTALL
    )
    assert "data.test.images" in example
    (tmp_path / "example.py").write_text(example + MORE, encoding="utf-8")
    (tmp_path / "mypy.ini").write_text(SETTINGS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    out, errors, _ = mypy.run(["example.py", "--no-error-summary"])
    assert errors == ""
    found = re.findall(r": (\w+): (.*)", out)
    assert found == [
        ("note", 'Revealed type is "xpnet.data.dataset.Split"'),
        ("note", 'Revealed type is "xpnet.data.dataset.Split"'),
        ("note", 'Revealed type is "xpnet.data.dataset.Split | None"'),
    ]


def test_a_data_set_with_a_test_set_stays_one():
    data = load_digits().limited(10)
    assert type(data) is DatasetWithTest
    assert repr(data) == "<Dataset digits: 10 training and 359 test images of 8 x 8, 10 classes>"
