"""Whether a change of the code leaves every result as it was, to the last bit.

    python scripts/golden.py record before.json     # with the code as it was
    python scripts/golden.py compare before.json    # with the code as it is now

Both on the same machine with the same libraries: the last bits are not the same elsewhere. Each run
is of NumPy on one thread. Of each network the arrays and the whole file are compared, by their
SHA-256, and all figures of its history; so a change of what a file says is seen apart from one of
what was computed.
"""

import hashlib
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

import xpnet
from xpnet import losses, schedules
from xpnet.sklearn import MLPClassifier, MLPRegressor

Run = Callable[[], dict[str, Any]]
DTYPES = ("float32", "float64")
SCHEDULES: dict[str, Any] = {
    "step": schedules.Step(every=1),
    "exponential": schedules.Exponential(0.9),
    "polynomial": schedules.Polynomial(),
    "cosine": schedules.Cosine(warmup=0.1),
    "one-cycle": schedules.OneCycle(),
    "plateau": xpnet.ReduceOnPlateau(patience=1),
}
TIMES = ("train_seconds", "eval_seconds")


def runs() -> Iterator[tuple[str, Run]]:
    """All runs by name."""
    for dtype in DTYPES:
        for name, options in _trainings().items():
            yield f"{name}, {dtype}", _training(dtype=dtype, **options)
        yield f"resumed, {dtype}", _resumed(dtype)
        for name, estimator, calls in _estimators():
            yield f"{name}, {dtype}", _estimator(estimator, dtype, calls)
    yield "command line", _command_line


# -- trainings ----------------------------------------------------------------------------------


def _trainings() -> dict[str, dict[str, Any]]:
    mlp, optimizers = xpnet.mlp, xpnet.optimizers
    rich = xpnet.Sequential(
        fc1=xpnet.Dense(64, 32, constraint=xpnet.MaxNorm(2.0)),
        norm1=xpnet.BatchNorm(32),
        act1=xpnet.ReLU(),
        block=xpnet.Residual(
            xpnet.Sequential(norm=xpnet.LayerNorm(32), fc=xpnet.Dense(32, 32), act=xpnet.GELU())
        ),
        drop=xpnet.Dropout(0.3),
        fc2=xpnet.Dense(32, 10),
    )
    plain = {"model": mlp(64, 32, 10)}
    of_optimizers = {
        f"optimizer {name}": {**plain, "optimizer": kind(0.01)}
        for name, kind in sorted(optimizers.OPTIMIZERS.items())
    }
    of_activations = {
        f"activation {name}": {"model": mlp(64, 16, 10, activation=kind())}
        for name, kind in sorted(xpnet.layers.ACTIVATIONS.items())
    }
    of_schedules = {
        f"schedule {name}": {**plain, "optimizer": xpnet.SGD(0.1, schedule=schedule)}
        for name, schedule in SCHEDULES.items()
    }
    values = {"data": _values(), "model": mlp(8, 16, 2)}
    several = {"data": _several(), "model": mlp(8, 16, 3)}
    return {
        **of_optimizers,
        **of_activations,
        **of_schedules,
        "adam, dropout, cosine": {
            "model": mlp(64, 32, 10, dropout=0.2),
            "optimizer": xpnet.Adam(0.01, schedule=schedules.Cosine()),
        },
        "norms and blocks, averages, clipping": {
            "model": rich,
            "optimizer": xpnet.AdamW(0.01, weight_decay=0.01, ema=0.9, clip_norm=1.0),
            "validation": 0.2,
        },
        "early stopping": {
            **plain,
            "validation": 0.2,
            "epochs": 12,
            "callbacks": lambda: [xpnet.EarlyStopping(patience=1)],
        },
        "weights of classes and samples": {
            **plain,
            "data": _digits(),
            "loss": losses.SoftmaxCrossEntropy(class_weight=[1.0, 2.0, *[0.5] * 8]),
            "sample_weight": np.linspace(0, 2, 300),
        },
        "label smoothing, the last batch left out": {
            **plain,
            "loss": losses.SoftmaxCrossEntropy(label_smoothing=0.1),
            "drop_last": True,
            "train_metrics": "running",
        },
        "values": {**values, "loss": losses.mean_squared_error},
        "values, Huber": {**values, "loss": losses.Huber(0.5)},
        "values, absolute": {**values, "loss": losses.mean_absolute_error},
        "several labels": {**several, "loss": losses.binary_cross_entropy},
        "frozen": {**plain, "freeze": ("fc1",)},
    }


def _training(dtype: str, **options: Any) -> Run:
    def run() -> dict[str, Any]:
        given = {"data": xpnet.load_dataset("digits"), "epochs": 3, "batch_size": 50, **options}
        model, data = given.pop("model"), given.pop("data")
        callbacks = given.pop("callbacks", list)()
        return _of_network(_fit(model, data, dtype=dtype, callbacks=callbacks, **given))

    return run


def _resumed(dtype: str) -> Run:
    def run() -> dict[str, Any]:
        model = xpnet.mlp(64, 32, 10, dropout=0.2)
        data = xpnet.load_dataset("digits")
        options: dict[str, Any] = {
            "optimizer": xpnet.Adam(0.01, ema=0.9), "dtype": dtype, "epochs": 4, "batch_size": 50,
        }  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "checkpoint.safetensors"
            saving = [xpnet.Checkpoint(folder)]
            _fit(model, data, callbacks=saving, stop_after=2, **options)
            saved = _of_arrays(xpnet.read_snapshot(file).arrays)
            return {**_of_network(_fit(model, data, resume=file, **options)), "snapshot": saved}

    return run


def _fit(model: Any, data: Any, *, dtype: str, **options: Any) -> xpnet.Network:
    backend = xpnet.open_backend("numpy", dtype=dtype, threads=1)
    return xpnet.fit(model, data, backend=backend, seed=7, **options)


def _of_network(network: xpnet.Network) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        network.save(file)
        content = file.read_bytes()
    history = [
        {name: value for name, value in record.to_dict().items() if name not in TIMES}
        for record in network.history
    ]
    arrays = {**network.params, **network.buffers}
    return {"arrays": _of_arrays(arrays), "file": _sha(content), "history": history}


def _digits() -> tuple[Any, Any]:
    train = xpnet.load_dataset("digits").train
    return train.images[:300], train.labels[:300]


def _values() -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 8))
    return x, np.stack([np.sin(x[:, 0]), x[:, 1] * x[:, 2]], axis=1)


def _several() -> tuple[Any, Any]:
    x, _ = _values()
    return x, (x[:, :3] + x[:, 3:6] > 0).astype(np.int64)


# -- estimators ---------------------------------------------------------------------------------


def _estimators() -> Iterator[tuple[str, Any, int]]:
    """Name, estimator, how many calls of `partial_fit` (0: one of `fit`)."""
    layers: dict[str, Any] = {
        "hidden_layer_sizes": (16,),
        "max_iter": 6,
        "random_state": 0,
        "tol": 0.0,
    }
    for kind in (MLPClassifier, MLPRegressor):
        for solver in ("sgd", "adam", "lbfgs"):
            yield f"{kind.__name__}, {solver}", kind(solver=solver, **layers), 0
        yield f"{kind.__name__}, early stopping", kind(early_stopping=True, **layers), 0
        yield f"{kind.__name__}, partial_fit", kind(**layers), 3
    rich: dict[str, Any] = {
        "dropout": 0.2,
        "batch_norm": True,
        "optimizer": xpnet.Lion(0.01),
        **layers,
    }
    yield "MLPClassifier, dropout, batch norm, Lion", MLPClassifier(**rich), 0
    weighted = MLPClassifier(class_weight="balanced", schedule=schedules.Cosine(), **layers)
    yield "MLPClassifier, class weights, cosine", weighted, 0


def _estimator(estimator: Any, dtype: str, calls: int) -> Run:
    def run() -> dict[str, Any]:
        x, values = _values()
        x = x.astype(dtype)
        is_classifier = isinstance(estimator, MLPClassifier)
        y = (values[:, 0] > 0).astype(np.int64) + (values[:, 1] > 0) if is_classifier else values
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for part in range(calls):
                first = {"classes": np.unique(y)} if is_classifier and part == 0 else {}
                estimator.partial_fit(x[part::3], y[part::3], **first)
            if not calls:
                estimator.fit(x, y)
        arrays = {f"weight{i}": value for i, value in enumerate(estimator.coefs_)}
        arrays |= {f"bias{i}": value for i, value in enumerate(estimator.intercepts_)}
        output = estimator.predict_proba(x) if is_classifier else estimator.predict(x)
        figures = ("loss_", "best_loss_", "n_iter_", "t_", "loss_curve_", "validation_scores_")
        return {
            "arrays": _of_arrays({**arrays, "output": output}),
            "figures": {name: getattr(estimator, name, None) for name in figures},
        }

    return run


# -- the command line ---------------------------------------------------------------------------


def _command_line() -> dict[str, Any]:
    from click.testing import CliRunner

    from xpnet.cli import main

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        options = ["--optimizer", "adam", "--dropout", "0.2", "--validation", "0.1", "--seed", "3"]
        done = CliRunner().invoke(
            main,
            ["train", "digits", "--epochs", "3", "--backend", "numpy", *options, "--out", str(out)],
        )
        if done.exit_code:
            raise click.ClickException(f"xpnet train: {done.output}")
        names = ("config.toml", "model.safetensors")
        lines = (out / "history.jsonl").read_text(encoding="utf-8").splitlines()
        history = [
            {name: value for name, value in json.loads(line).items() if name not in TIMES}
            for line in lines
        ]
        return {**{name: _sha((out / name).read_bytes()) for name in names}, "history": history}


# -- what is compared ---------------------------------------------------------------------------


def _of_arrays(arrays: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(arrays.items()):
        array = np.ascontiguousarray(value)
        digest.update(f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes())
    return digest.hexdigest()


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _machine() -> dict[str, str]:
    kernels = {f"{i.get('internal_api')} {i.get('architecture')}" for i in threadpool_info()}
    return {"numpy": np.__version__, "kernels": ", ".join(sorted(kernels))}


def _take(match: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, run in runs():
        if match not in name:
            continue
        with threadpool_limits(1):
            found[name] = run()
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return json.loads(json.dumps({"machine": _machine(), "runs": found}))


@click.group(help=(__doc__ or "").splitlines()[0])
def main() -> None:
    pass


MATCH = click.option("--match", default="", help="Only the runs whose name has this in it.")


@main.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@MATCH
def record(file: Path, match: str) -> None:
    """Run everything, and write what came of it."""
    found = _take(match)
    file.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(f"{len(found['runs'])} runs: {file}")


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@MATCH
def compare(file: Path, match: str) -> None:
    """Run everything again, and say what is different; exit code 1 if anything is."""
    before, now = json.loads(file.read_text(encoding="utf-8")), _take(match)
    if before["machine"] != now["machine"]:
        raise click.ClickException(f"recorded with {before['machine']}, this is {now['machine']}")
    different = 0
    for name in sorted({name for name in before["runs"] if match in name} | now["runs"].keys()):
        old, new = before["runs"].get(name), now["runs"].get(name)
        if old != new:
            different += 1
            parts = [part for part in old or {} if old[part] != (new or {}).get(part)]
            print(f"{name}: {', '.join(parts) or 'only in one of both'}")
    print(f"{len(now['runs'])} runs, {different} different")
    sys.exit(different > 0)


if __name__ == "__main__":
    main()
