"""Adding a layer, a loss, an optimizer and a backend, as docs/adding.md and CONTRIBUTING say."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import page

import xpnet

PACKAGE = Path(xpnet.__file__).parent

PROGRAM = """
import json, sys
import numpy as np
import xpnet
from xpnet.backends import BACKENDS
from xpnet.conformance import check_namespace
from xpnet.conformance import examples
from xpnet.export import torch_code
from xpnet.layers import ACTIVATIONS, LAYERS
from xpnet.losses import LOSSES
from xpnet.optimizers import OPTIMIZERS
from xpnet.runs.config import RunConfig
from xpnet.testing import check_layer, check_loss

data = xpnet.load_dataset("digits").limited(60)
x, y = data.train.images, data.train.labels[:, None] / 10
model = xpnet.mlp(64, 8, 1, activation=xpnet.Softsign())
options = dict(loss=xpnet.log_cosh, optimizer=xpnet.Adagrad(), epochs=3, batch_size=30)
networks = [xpnet.fit(model, (x, y), backend=name, **options) for name in ("numpy", "plain_numpy")]
networks[1].save(sys.argv[1])
loaded = xpnet.load(sys.argv[1], backend="plain_numpy")
config = RunConfig(activation="softsign", optimizer="adagrad", backend="plain_numpy")
check_layer(xpnet.Softsign(), shape=(5,)).raise_if_wrong()
check_loss(xpnet.log_cosh, np.ones((4, 2)), np.zeros((4, 2))).raise_if_wrong()
print(json.dumps({
    "layers": [LAYERS["Softsign"] is ACTIVATIONS["softsign"] is xpnet.Softsign],
    "losses": [LOSSES["log_cosh"] is xpnet.LogCosh],
    "optimizers": [OPTIMIZERS["adagrad"] is xpnet.Adagrad],
    "backends": list(BACKENDS),
    "public": list(xpnet.__all__),
    "rows": [
        *map(str, examples.LAYER_EXAMPLES), *map(str, examples.LOSS_EXAMPLES),
        *examples.OPTIMIZER_EXAMPLES,
    ],
    "run": [config.build_optimizer() == xpnet.Adagrad(), "softsign" in str(config.describe(data))],
    "losses of the training": [network.history["train_loss"] for network in networks],
    "loaded": [loaded.model == model, loaded.loss == xpnet.log_cosh, loaded.backend.name],
    "code": "nn.Softsign()" in torch_code(loaded),
    "conforms": check_namespace("array_api_compat.numpy").conforms,
}))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of the package with what the page adds; and its lines that are not there yet."""
    root = tmp_path_factory.mktemp("added")
    copy = root / "xpnet"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    blocks = re.findall(
        r"```python\n# (\S+\.pyi?)([^\n]*)\n(.*?)```", page("docs/adding.md"), re.DOTALL
    )
    for name, where, text in blocks:
        path = copy / name
        if not path.exists():
            path.write_text(text, encoding="utf-8")
            continue
        before = path.read_text(encoding="utf-8")
        if where:
            end = before.index("}", before.index(where.removeprefix(", in ")))
        elif "# isort: on" in before:
            end = before.index("\n# isort: on")
        else:
            end = before.index("\n", before.rindex("\nfrom xpnet.") + 1) + 1
        path.write_text(before[:end] + text + before[end:], encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def found(package):
    """What is known of them in a new process."""
    before = os.environ.get("PYTHONPATH")
    paths = [str(package), *([before] if before else [])]
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(package / "model.safetensors")],
        capture_output=True,
        text=True,
        cwd=package,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_each_is_found_by_its_names(found):
    assert found["layers"] == found["losses"] == found["optimizers"] == [True]
    assert found["backends"][-1] == "plain_numpy"
    assert {"Softsign", "LogCosh", "log_cosh", "Adagrad"} <= set(found["public"])
    there = {"Softsign", "LogCosh", "log_cosh", "Adagrad"} & set(xpnet.__all__)
    assert there == set(), "the package has these: docs/adding.md needs another example"
    assert len(found["public"]) == len(xpnet.__all__) + 4


def test_their_examples_are_those_of_the_contract_suites(found):
    assert {"Softsign()-4x5", "Adagrad(0.1)"} <= set(found["rows"])
    assert [row.endswith("weighted") for row in found["rows"] if "log_cosh" in row] == [False, True]


def test_they_train_together_and_are_saved_and_exported(found):
    numpy, plain = found["losses of the training"]
    assert plain == pytest.approx(numpy, rel=1e-5)
    assert numpy[0] > numpy[-1]
    assert found["loaded"] == [True, True, "plain_numpy"]
    assert found["code"]


def test_the_command_line_and_conformance_have_them(found):
    assert found["run"] == [True, True]
    assert found["conforms"]
