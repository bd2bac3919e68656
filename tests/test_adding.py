"""Adding a part of each kind, as docs/adding.md and CONTRIBUTING say."""

import ast
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
import json, sys, typing
import numpy as np
from click.testing import CliRunner
import xpnet
from xpnet import metrics
from xpnet.backends import BACKENDS
from xpnet.cli import main
from xpnet.conformance import check_namespace
from xpnet.conformance import examples
from xpnet.data import DATASETS, load_stripes
from xpnet.augment import AUGMENTATIONS
from xpnet.export import torch_code
from xpnet.initializers import INITIALIZERS
from xpnet.layers import ACTIVATIONS, LAYERS
from xpnet.losses import LOSSES
from xpnet.optimizers import OPTIMIZERS
from xpnet.runs.config import RunConfig
from xpnet.schedules import SCHEDULES, InverseRoot
from xpnet.testing import check_augmentation, check_layer, check_loss

data = xpnet.load_dataset("digits").limited(60)
x, y = data.train.images, data.train.labels[:, None] / 10
model = xpnet.mlp(64, 8, 1, activation=xpnet.Softsign())
options = dict(loss=xpnet.log_cosh, optimizer=xpnet.Adagrad(), epochs=3, batch_size=30)
networks = [xpnet.fit(model, (x, y), backend=name, **options) for name in ("numpy", "plain_numpy")]
networks[1].save(sys.argv[1])
loaded = xpnet.load(sys.argv[1], backend="plain_numpy")
config = RunConfig(activation="softsign", optimizer="adagrad", backend="plain_numpy")
command = (
    "train stripes --backend numpy --threads 1 --hidden 8 --init identity --schedule inverse_root "
    "--optimizer adam --beta1 0.5 --augment invert:probability=0.2 --time-limit 1e-9 --epochs 3 "
    "--out run"
)
signature = typing.get_overloads(xpnet.load_dataset)[0]
numbers = [np.asarray([[0.9, 0.1], [0.2, 0.8]]), np.asarray([0, 0])]
kept = dict(backend="numpy", epochs=5, callbacks=[xpnet.TimeLimit(1e9), xpnet.Checkpoint("kept")])
first = xpnet.fit(xpnet.mlp(64, 10), data, stop_after=2, **kept)
spent = kept["callbacks"][0].spent
bounded = xpnet.Sequential(fc1=xpnet.Dense(64, 10, constraint=xpnet.NonNegative()))
xpnet.fit(bounded, data, epochs=1, backend="numpy").save("bounded.safetensors")
bounded_again = xpnet.load("bounded.safetensors", backend="numpy")
xpnet.fit(xpnet.mlp(64, 10), data, resume="kept", **kept)


def said(command):
    result = CliRunner().invoke(main, command.split(), prog_name="xpnet")
    return [result.exit_code, result.output]


check_layer(xpnet.Softsign(), shape=(5,)).raise_if_wrong()
check_augmentation(AUGMENTATIONS["invert"](0.3)).raise_if_wrong()
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
    "bounded": [bounded_again.model == bounded, bounded_again.params["fc1.weight"].min().item()],
    "conforms": check_namespace("array_api_compat.numpy").conforms,
    "checked": list(examples.run_metrics(xpnet.open_backend("numpy"))),
    "tables": [
        SCHEDULES["inverse_root"] is InverseRoot, "identity" in INITIALIZERS,
        DATASETS["stripes"](None).name == load_stripes().name == "stripes",
        typing.get_args(typing.get_type_hints(signature)["name"]) == tuple(DATASETS),
    ],
    "numbers": [
        float(metrics.brier_score(np, *numbers)), InverseRoot(warmup=1).factors(3, 2).tolist(),
        INITIALIZERS["identity"](None, 2, 3).tolist(),
        spent, kept["callbacks"][0].spent, RunConfig(optimizer="adam", beta1=0.5).beta1,
    ],
    "help": [said("--help"), said("train --help")],
    "train": said(command),
    "shown": said("layers run"),
    "refused": [said("train --time-limit 0"), said("train --beta1 0.5")],
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
        end = place(before, where)
        path.write_text(before[:end] + text + before[end:], encoding="utf-8")
    return root


def place(text, where):
    """Where in a file that is there already the lines of an example go, in the page's words."""
    words, _, name = where.removeprefix(", ").rpartition(" ")
    if not where:
        if "# isort: on" in text:
            return text.index("\n# isort: on")
        return text.index("\n", text.rindex("\nfrom xpnet.") + 1) + 1
    if words == "in":
        begin = re.search(rf"^{name}\b", text, re.MULTILINE).end()
        return begin + re.search(r"^ *[]})]", text[begin:], re.MULTILINE).start()
    if words == "at the end of":
        (found,) = (
            node for node in ast.walk(ast.parse(text)) if getattr(node, "name", None) == name
        )
        last = found.body[-1]
        line = last.end_lineno - (text.splitlines()[last.end_lineno - 1].strip() == "}")
        return len("".join(text.splitlines(keepends=True)[:line]))
    assert where.startswith(", before "), where
    return re.search(rf"^ *{where.removeprefix(', before ')}", text, re.MULTILINE).start()


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
    assert found["tables"] == [True] * 4
    added = {"Softsign", "LogCosh", "log_cosh", "Adagrad", "TimeLimit", "NonNegative"}
    assert added <= set(found["public"])
    there = added & set(xpnet.__all__)
    assert there == set(), "the package has these: docs/adding.md needs another example"
    assert len(found["public"]) == len(xpnet.__all__) + len(added)


def test_their_examples_are_those_of_the_contract_suites(found):
    assert {"Softsign()-4x5", "Adagrad(0.1)"} <= set(found["rows"])
    assert [row.endswith("weighted") for row in found["rows"] if "log_cosh" in row] == [False, True]


def test_they_train_together_and_are_saved_and_exported(found):
    numpy, plain = found["losses of the training"]
    assert plain == pytest.approx(numpy, rel=1e-5)
    assert numpy[0] > numpy[-1]
    assert found["loaded"] == [True, True, "plain_numpy"]
    assert found["code"]
    assert found["bounded"] == [True, 0.0]


def test_the_command_line_and_conformance_have_them(found):
    assert found["run"] == [True, True]
    assert found["conforms"]
    assert "brier_score" in found["checked"]


def test_what_is_no_class_of_a_network_does_what_it_says(found):
    score, factors, identity, before, after, beta1 = found["numbers"]
    assert score == pytest.approx((0.02 + 1.28) / 2)
    assert factors == pytest.approx([0.5, 1, 1, 1.5**-0.5, 2**-0.5, 2.5**-0.5])
    assert identity == [[1, 0, 0], [0, 1, 0]]
    assert beta1 == 0.5
    assert 0 < before < after, "the callback counts on after a break"


def test_commands_and_options_are_those_of_the_command_line(found):
    (code, commands), (_, options) = found["help"]
    assert code == 0
    assert re.search(r"^  layers +Show the layers of RUN in a table\.$", commands, re.MULTILINE)
    stopping = options.partition("Early stopping:")[2].partition("Fine-tuning:")[0]
    assert "--time-limit X" in stopping
    assert "seconds are over, above 0." in " ".join(stopping.split())
    code, text = found["train"]
    assert code == 0, text
    assert "beta1=0.5" in text
    assert "epoch 1" in " ".join(text.split())
    assert "epoch 2" not in " ".join(text.split())
    code, table = found["shown"]
    assert code == 0, table
    assert re.search(r"^fc1 +Dense +8 ", table, re.MULTILINE)
    (_, zero), (_, meaningless) = found["refused"]
    assert "'--time-limit': must be positive and finite, got 0.0" in " ".join(zero.split())
    assert "'--beta1': means nothing for the optimizer sgd" in " ".join(meaningless.split())


def test_what_contributing_names_has_an_example():
    """But the three that it says are without; an activation is the example of a layer."""
    table = page("CONTRIBUTING.md").partition("| to add |")[2].partition("\n\n")[0]
    rows = {row.lower() for row in re.findall(r"^\| (an? [^|]+?) \|", table, re.MULTILINE)}
    sections = re.findall(r"^## (.+)$", page("docs/adding.md"), re.MULTILINE)
    without = {
        "an activation",
        "a form of files",
        "a network by name",
        "a parameter of the estimators",
    }
    assert without < rows
    assert {section.lower() for section in sections} == rows - without
