"""`xpnet info`: what a report of a fault says of the machine."""

import json
import os
import platform
from importlib.metadata import version

import click
import numpy as np
import pytest
from click.testing import CliRunner
from threadpoolctl import threadpool_info

import xpnet
from xpnet.backends import BACKENDS, probe_backends
from xpnet.cli import main

pytestmark = [pytest.mark.installed, pytest.mark.compiler]


def told(*arguments):
    result = CliRunner().invoke(main, ["info", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_it_is_what_the_libraries_say_of_themselves():
    found = json.loads(told("--json"))
    assert found["xpnet"] == xpnet.__version__
    assert found["python"].endswith(platform.python_version())
    assert found["libraries"]["numpy"] == np.__version__
    assert found["libraries"]["click"] == version("click")
    assert 1 <= found["cores"] <= os.cpu_count()
    assert found["processor"]
    loaded = {pool["version"] for pool in threadpool_info() if pool["user_api"] == "blas"}
    assert {blas["version"] for blas in found["blas"]} == loaded


def test_backends_are_as_they_are_probed():
    found = json.loads(told("--json"))["backends"]
    assert found.keys() >= {*BACKENDS, "mpi"}
    for name, status in probe_backends().items():
        assert found[name]["usable"] == status.usable
        assert found[name]["reason"] == status.reason


def test_the_compiler_is_the_one_that_would_be_asked(monkeypatch):
    monkeypatch.setenv("XPNET_CC", "")
    found = json.loads(told("--json"))
    assert "XPNET_CC is empty" in found["compiler"]["reason"]
    assert found["environment"]["XPNET_CC"] == ""
    assert "compiler          XPNET_CC is empty" in told()
    monkeypatch.setenv("XPNET_CC", "there-is-no-such-compiler")
    assert "there-is-no-such-compiler" in json.loads(told("--json"))["compiler"]["reason"]


def test_a_variable_that_has_nothing_to_do_with_it_stays_unsaid(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE_OF_TEST", "seen")
    monkeypatch.setenv("SECRET_OF_TEST", "unseen")
    found = told()
    assert "OPENBLAS_CORETYPE_OF_TEST=seen" in found
    assert "unseen" not in found + told("--json")


def test_the_text_has_a_line_for_each_backend():
    begins = [line.split()[0] for line in click.unstyle(told()).splitlines()]
    assert {"xpnet", "python", "platform", "processor", "BLAS", "compiler", *BACKENDS} <= set(
        begins
    )
    assert max(len(line) for line in told().splitlines()) < 2000
