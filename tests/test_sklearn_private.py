"""What is private in scikit-learn is used in one file, and in the versions that it was read in."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import sklearn
from conftest import page

from xpnet import sklearn as ours
from xpnet.sklearn import private

pytestmark = pytest.mark.libraries

FOLDER = Path(ours.__file__).parent


def private_names(path):
    """Of scikit-learn: the private names that a file imports, and those of modules on the way."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "sklearn":
            parts = [*node.module.split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            parts = [part for alias in node.names if alias.name.split(".")[0] == "sklearn"
                     for part in alias.name.split(".")]  # fmt: skip
        else:
            continue
        yield from (part for part in parts if part.startswith("_"))


def test_private_names_of_scikit_learn_are_in_one_file():
    found = {path.name: list(private_names(path)) for path in FOLDER.glob("*.py")}
    assert [name for name, names in found.items() if names] == ["private.py"]
    assert len(found["private.py"]) == 4
    for path in FOLDER.glob("*.py"):
        assert path.name == "private.py" or "_score_func" not in path.read_text(encoding="utf-8")


def test_the_versions_that_are_allowed_are_those_it_was_read_in():
    project = tomllib.loads(page("pyproject.toml"))["project"]
    (bounds,) = (
        requirement.removeprefix("scikit-learn")
        for requirement in project["optional-dependencies"]["sklearn"]
        if requirement.startswith("scikit-learn")
    )
    lower, upper = re.fullmatch(r">=([\d.]+),<([\d.]+)", bounds).groups()
    assert lower == private.VERSIONS[0]
    major, minor = map(int, private.VERSIONS[-1].split("."))
    assert upper == f"{major}.{minor + 1}"
    assert ".".join(sklearn.__version__.split(".")[:2]) in private.VERSIONS
