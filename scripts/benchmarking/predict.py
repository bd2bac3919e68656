"""What predicting takes, from one row to the whole of MNIST, by each library with one network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarking.cases import Case, Job, Task
from benchmarking.peers import Peer
from benchmarking.peers.answering import asked, logits
from benchmarking.report import not_measured, ratio_text, table_row, time_text
from benchmarking.runner import Measured, Say, Settings, measure
from benchmarking.summary import quartiles, ratios
from benchmarking.turns import apart, turns
from xpnet.typing import HostArray

CASE = Case((128,), 64)
ROWS = (1, 64, 1_000, 60_000)
PICTURE_ROWS = (1, 64, 1_000, 10_000)
"""Of a network for pictures."""

DTYPES = ("float32", "uint8")
TABLE_CASE = Case((100,), 200)
TABLE_QUESTIONS = ((1, "float64"), (569, "float64"))
"""Of the estimators, on a table of 569 rows of 30 features."""

NEAR = 1e-4
"""Two classes whose logits are so near may be taken for each other in float32."""

_HERE = "benchmarking.peers.answering:run"
_BOTH = ("cpu", "cuda")


@dataclass(frozen=True)
class Asked:
    """Who is asked: its name and label, the function of its module, and the options of that.

    One that is `dense` knows dense networks alone.
    """

    name: str
    label: str
    make: str
    devices: tuple[str, ...] = ("cpu",)
    options: tuple[tuple[str, Any], ...] = ()
    distribution: str = "numpy"
    dense: bool = False

    def peer(self, questions: Sequence[tuple[int, str]]) -> Peer:
        """The peer that answers these questions."""
        options = (("make", self.make), ("questions", tuple(questions)), *self.options)
        return Peer(
            self.name, self.label, _HERE, self.devices, options, (self.distribution,),
            dense=self.dense,
        )  # fmt: skip


def _xpnet(backend: str, label: str, devices: tuple[str, ...]) -> list[Asked]:
    options = (("backend", backend),)
    return [
        Asked(f"xpnet-{backend}", f"xpnet, {label}", "of_xpnet", devices, options, backend),
        Asked(
            f"xpnet-{backend}-proba",
            f"xpnet, {label}, predict_proba",
            "of_xpnet",
            devices,
            (*options, ("probabilities", True)),
            backend,
        ),
    ]


_SKLEARN = (("module", "sklearn.neural_network"),)
_ESTIMATOR = (("module", "xpnet.sklearn"),)

ANSWERERS = {
    one.name: one
    for one in (
        Asked("products", "the matrix products", "of_products", dense=True),
        *_xpnet("numpy", "NumPy", ("cpu",)),
        *_xpnet("cupy", "CuPy", ("cuda",)),
        *_xpnet("torch", "PyTorch", _BOTH),
        *_xpnet("jax", "JAX", _BOTH),
        Asked(
            "xpnet-sklearn", "xpnet, MLPClassifier", "of_sklearn", ("cpu",), _ESTIMATOR, dense=True
        ),
        Asked("numpy", "NumPy, straightforward", "of_numpy"),
        Asked("torch", "PyTorch, eager", "of_torch", _BOTH, distribution="torch"),
        Asked("jax", "JAX, jit", "of_jax", _BOTH, distribution="jax"),
        Asked("onnxruntime", "ONNX Runtime", "of_onnx", distribution="onnxruntime"),
        Asked("sklearn", "scikit-learn", "of_sklearn", ("cpu",), _SKLEARN, "scikit-learn", True),
    )
}
"""Who can be asked, by name."""

_OF_TABLE = (
    Asked("xpnet-sklearn", "xpnet, MLPClassifier", "of_table", ("cpu",), _ESTIMATOR),
    Asked("sklearn", "scikit-learn", "of_table", ("cpu",), _SKLEARN, "scikit-learn"),
)


def select_answerers(names: str | None, device: str) -> list[Asked]:
    """Those of a comma list; all that run on the device if None.

    Raises
    ------
    ValueError
        If a name is not known, or it does not run on the device.
    """
    usable = {name: one for name, one in ANSWERERS.items() if device in one.devices}
    if names is None:
        return list(usable.values())
    chosen = [part.strip() for part in names.split(",") if part.strip()]
    for name in chosen:
        if name not in usable:
            raise ValueError(f"{name!r} does not predict on {device}: give some of {list(usable)}")
    return [usable[name] for name in dict.fromkeys(chosen)]


def measure_predictions(
    chosen: Sequence[Asked], rows: Sequence[int], task: Task, settings: Settings, say: Say
) -> dict[str, Any]:
    """Every number of rows in both dtypes, and the estimators on a table if both are asked."""
    questions = [(count, dtype) for dtype in DTYPES for count in rows]
    found = _ask(chosen, questions, task, settings, say)
    job = task.load()
    expected = _expected(job, max(rows))
    answers = [
        {"rows": count, "dtype": dtype, **_summarise(number, found, expected[:count])}
        for number, (count, dtype) in enumerate(questions)
    ]
    report: dict[str, Any] = {
        "network": task.case.network or "-".join(map(str, job.sizes)),
        "dataset": task.dataset,
        "answers": answers,
        "table": None,
        "skipped": [
            {"label": one.peer.label, "reason": one.failure} for one in found if one.failure
        ],
        "versions": {k: v for one in found for k, v in one.result.get("versions", {}).items()},
    }
    dense = task.case.network is None
    if dense and {one.name for one in _OF_TABLE} <= {one.name for one in chosen}:
        report["table"] = _measure_table(settings, say)
    peers = [peer for one in [*answers, *(report["table"] or [])] for peer in one["peers"]]
    report["holds"] = bool(peers) and all(peer["holds"] for peer in peers)
    return report


def _measure_table(settings: Settings, say: Say) -> list[dict[str, Any]]:
    task = Task(TABLE_CASE, "breast_cancer")
    found = _ask(_OF_TABLE, TABLE_QUESTIONS, task, settings, say)
    return [
        {"rows": count, "dtype": dtype, **_summarise(number, found, None)}
        for number, (count, dtype) in enumerate(TABLE_QUESTIONS)
    ]


def _ask(
    chosen: Sequence[Asked],
    questions: Sequence[tuple[int, str]],
    task: Task,
    settings: Settings,
    say: Say,
) -> list[Measured]:
    task, settings = turns(task, settings, len(questions))
    return measure([one.peer(questions) for one in chosen], task, settings, say)


def _expected(job: Job, rows: int) -> HostArray:
    """The logits in float64, of the pixels before they are made floats; in pieces, for memory."""
    x = asked(job, [(rows, "uint8")], "uint8")
    pieces = [logits(job, x[i : i + 1000], np.float64) for i in range(0, rows, 1000)]
    return np.concatenate(pieces)


def _summarise(
    number: int, found: Sequence[Measured], expected: HostArray | None
) -> dict[str, Any]:
    """What was found of one question."""
    usable = [one for one in found if not one.failure]
    count = len(usable[0].result["answers"]) if usable else 0
    seconds = {one.peer.name: apart(one.seconds, count)[number] for one in usable}
    if expected is None and usable:
        classes = np.asarray(usable[-1].result["answers"][number]["classes"])
        expected = (classes[:, None] == np.arange(classes.max() + 1)).astype(float)
    peers = []
    for one in usable:
        answer = one.result["answers"][number]
        others = _other_classes(answer["classes"], expected)
        bits = answer.get("bits")
        same_bits = bits is None or bits["same_rows"] == bits["rows"]
        peers.append(
            {
                "name": one.peer.name,
                "label": one.peer.label,
                "rounds": seconds[one.peer.name],
                "seconds": quartiles(seconds[one.peer.name]),
                "over": {
                    base: ratios(seconds[one.peer.name], of_base)
                    for base, of_base in seconds.items()
                },
                "first": answer["first"],
                "other_classes": others,
                "bits": bits,
                "holds": not others and (same_bits or one.peer.name != "xpnet-numpy-proba"),
            }
        )
    return {"peers": peers}


def _other_classes(classes: Sequence[int] | None, expected: HostArray | None) -> int | None:
    """How many rows have another class than the largest logit says, by more than rounding."""
    if classes is None or expected is None:
        return None
    taken = expected[np.arange(len(expected)), np.asarray(classes)]
    return int((expected.max(axis=1) - taken > NEAR).sum())


# -- as Markdown ----------------------------------------------------------------------------------

_BASES = {"numpy": "over NumPy", "sklearn": "over scikit-learn", "xpnet-numpy": "over xpnet NumPy"}
_BASES |= {"xpnet-cupy": "over xpnet CuPy", "onnxruntime": "over ONNX Runtime"}


def predict_lines(report: dict[str, Any]) -> list[str]:
    """The report as Markdown: a table for each number of rows and dtype, the fastest first."""
    lines = [
        f"{report['network']} on {report['dataset']}. The time of a call: medians (quartiles); "
        f"ratios are of the same round.",
        "",
    ]
    for one in report["answers"]:
        title = f"{one['rows']:,} row{'' if one['rows'] == 1 else 's'}, {one['dtype']}"
        lines += [f"### {title}", "", *_table(one), ""]
    for one in report["table"] or ():
        lines += [
            f"### Estimators, {one['rows']:,} row{'' if one['rows'] == 1 else 's'} of 30 features",
            "",
            *_table(one),
            "",
        ]
    lines += [f"{one['label']}: {not_measured(one)}." for one in report["skipped"]]
    if not report["holds"]:
        lines += ["", "OTHER ANSWERS, or none: see the last column."]
    return lines


def _table(one: dict[str, Any]) -> list[str]:
    """One question."""
    names = {peer["name"] for peer in one["peers"]}
    bases = [base for base in _BASES if base in names]
    heads = ["", "a call", *(_BASES[base] for base in bases), "first call", "answers"]
    lines = [table_row(heads), "|---|" + "---:|" * (len(heads) - 2) + "---|"]
    for peer in sorted(one["peers"], key=lambda peer: peer["seconds"][1]):
        ours = peer["name"].startswith("xpnet-")
        lines.append(
            table_row(
                [
                    f"**{peer['label']}**" if ours else peer["label"],
                    time_text(peer["seconds"]),
                    *(ratio_text(peer["over"][base]) for base in bases),
                    time_text([peer["first"]] * 3).partition(" (")[0],
                    _verdict(peer),
                ]
            )
        )
    return lines


def _verdict(peer: dict[str, Any]) -> str:
    """What is to be said of the answers."""
    if peer["other_classes"] is None:
        return ""
    verdict = (
        f"{peer['other_classes']:,} OTHER CLASSES" if peer["other_classes"] else "same classes"
    )
    bits = peer["bits"]
    if bits is None:
        return verdict
    if bits["same_rows"] == bits["rows"]:
        return f"{verdict}, bits of the layers"
    return (
        f"{verdict}, {bits['rows'] - bits['same_rows']:,} rows of other bits than the layers', "
        f"by {bits['difference']:.1g}"
    )
