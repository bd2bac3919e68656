"""Predictions: the class of each sample, by each library with the same weights.

A function of this module makes an `Answerer` for a job. Its samples are arrays of its own library,
uint8 or float32; what takes no uint8 has them converted in the call, as its users must.
"""

import os
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarking.cases import Job
from benchmarking.peers import Tick, plain_layers
from benchmarking.peers.sklearn_mlp import maker
from benchmarking.turns import take_turns, warmed
from xpnet import Network, open_backend
from xpnet.backends import Backend
from xpnet.layers import EVALUATION, softmax
from xpnet.network.evaluation import ChunkSizes
from xpnet.typing import Array, HostArray


@dataclass(frozen=True)
class Answerer:
    """How one library answers.

    Attributes
    ----------
    place
        From samples on the host to those that it is asked about.
    predict
        From these to its answer, which it has waited for.
    classes
        From the answer to classes on the host, (N,); None of what does not answer.
    bits
        From samples to how its answer differs from that of the layers.
    """

    place: Callable[[HostArray], Any]
    predict: Callable[[Any], Any]
    classes: Callable[[Any], HostArray] | None = np.asarray
    bits: Callable[[Any], dict[str, Any]] | None = None


def run(job: Job, tick: Tick, *, make: str, questions: Any, **options: Any) -> dict[str, Any]:
    """Answer each of the questions, pairs of a number of rows and a dtype, in turn.

    Returns what was found of each: the classes, and the seconds of the first call.
    """
    answerer: Answerer = globals()[make](job, **options)
    samples = {dtype: answerer.place(asked(job, questions, dtype)) for _, dtype in questions}
    calls, found = [], []
    for rows, dtype in questions:
        x = samples[dtype][:rows]

        def call(x: Any = x) -> Any:
            return answerer.predict(x)

        started = time.perf_counter()
        answer = call()
        about: dict[str, Any] = {"first": time.perf_counter() - started, "classes": None}
        if answerer.classes is not None:
            about["classes"] = answerer.classes(answer).tolist()
        calls.append(call)
        found.append(about)
    take_turns(job, tick, warmed(calls))
    if answerer.bits is not None:  # of what was measured, after all that it has compiled
        for about, (rows, dtype) in zip(found, questions, strict=True):
            about["bits"] = answerer.bits(samples[dtype][:rows])
    return {"answers": found}


def asked(job: Job, questions: Any, dtype: str) -> HostArray:
    """The samples of the largest question: those of both splits, and again from the first."""
    x = np.concatenate([job.x, job.test_x])
    x = np.resize(x, (max(rows for rows, _ in questions), *x.shape[1:]))
    return job.scaled(x) if dtype == "float32" and x.dtype == np.uint8 else x


def arrays_of(job: Job) -> dict[str, HostArray]:
    """The parameters that all answer with.

    Of a network for pictures the last bias is such that the means of the logits are 0: as it is
    drawn, it has one answer or two to nearly all of them.
    """
    arrays = job.arrays()
    if job.task.case.network is not None:
        *_, bias = arrays
        found = _output(job, arrays, job.x[: plain_layers.PIECE], np.float64)
        arrays[bias] = -found.mean(axis=0).astype(np.float32)
    return arrays


def logits(job: Job, x: HostArray, dtype: type) -> HostArray:
    """The output of the network, written straightforwardly."""
    return _output(job, arrays_of(job), x, dtype)


def _output(job: Job, arrays: dict[str, HostArray], x: HostArray, dtype: type) -> HostArray:
    converted = {name: array.astype(dtype) for name, array in _with_buffers(job, arrays).items()}
    return plain_layers.forward(job.model, converted, x.astype(dtype) / job.pixel_maximum)


def _with_buffers(job: Job, arrays: dict[str, HostArray]) -> dict[str, Any]:
    """Parameters, and buffers as they are at the beginning."""
    buffers = {name: array.astype(np.float32) for name, array in job.model.buffers().items()}
    return arrays | buffers


# -- those that answer ----------------------------------------------------------------------------


def of_products(job: Job) -> Answerer:
    """The matrix products alone, into arrays that were made before."""
    weights = [weight for weight, _ in job.weights()]
    outputs: dict[int, list[HostArray]] = {}

    def predict(x: HostArray) -> None:
        if len(x) not in outputs:
            outputs[len(x)] = [np.zeros((len(x), w.shape[1]), np.float32) for w in weights]
        for weight, out in zip(weights, outputs[len(x)], strict=True):
            x = np.matmul(x, weight, out=out)

    return Answerer(_floats(job), predict, None)


def _floats(job: Job) -> Callable[[HostArray], HostArray]:
    """What makes floats of pixels, outside of what is timed."""
    return lambda x: job.scaled(x) if x.dtype == np.uint8 else x


def of_numpy(job: Job) -> Answerer:
    """NumPy, written straightforwardly."""
    arrays, scaled = _with_buffers(job, arrays_of(job)), _floats(job)

    def predict(x: HostArray) -> HostArray:
        return plain_layers.forward(job.model, arrays, scaled(x)).argmax(axis=1)

    return Answerer(lambda x: x, predict)


def network_of(job: Job, backend: Backend) -> Network:
    """The network on a backend."""
    with backend.scope():
        placed = {name: backend.asarray(value) for name, value in arrays_of(job).items()}
        about: Any = {"sample_shape": job.x.shape[1:], "pixel_maximum": job.pixel_maximum}
        return Network(job.model, placed, backend, **about)


def of_xpnet(job: Job, *, backend: str, probabilities: bool = False) -> Answerer:
    """`Network.predict` or `predict_proba`, on samples of the backend."""
    place = open_backend(backend, "cuda:0" if job.cuda else None, tf32=job.task.tf32)
    network = network_of(job, place)
    method = network.predict_proba if probabilities else network.predict

    def answer(x: Array) -> Array:
        found = method(x)
        place.synchronize(found)
        return found

    def classes(found: Array) -> HostArray:
        host = place.to_numpy(found)
        return host.argmax(axis=1) if probabilities else host

    def bits(x: Array) -> dict[str, Any]:
        return compare_bits(place.to_numpy(method(x)), place.to_numpy(by_layers(network, x)))

    return Answerer(place.asarray, answer, classes, bits if probabilities else None)


def by_layers(network: Network, x: Array) -> Array:
    """The probabilities that the layers give as they are written, called chunk by chunk."""
    backend, model = network.backend, network.model
    xp = backend.xp
    chunks = ChunkSizes.of(backend, model, x).chunks(len(x))
    # Of several chunks each is one thread's.
    alone = backend.name == "numpy" and len(chunks) > 1
    threads = threadpool_limits(1, user_api="blas") if alone else nullcontext()
    with backend.scope(), threads:
        parts = []
        for rows in chunks:
            prepared = network.preparation(xp, x[rows, ...])
            output, _ = model.forward(xp, network.arrays, prepared, EVALUATION)
            parts.append(softmax(xp, output))
        return xp.concat(parts, axis=0)


def compare_bits(found: HostArray, expected: HostArray) -> dict[str, Any]:
    """How many rows have the same bits, and the largest difference."""
    words = found.view(f"u{found.itemsize}") == expected.view(f"u{expected.itemsize}")
    return {
        "same_rows": int(words.all(axis=1).sum()),
        "rows": len(found),
        "difference": float(np.abs(found - expected).max()),
    }


def of_torch(job: Job) -> Answerer:
    """`torch.nn` in inference mode."""
    import torch as library

    from benchmarking.peers import torch_nn

    model, place = torch_nn.network_of(job, arrays_of(job)), torch_nn.device_of(job)
    model.eval()

    @library.inference_mode()  # type: ignore[untyped-decorator, unused-ignore]
    def predict(x: Any) -> Any:
        if x.dtype == library.uint8:
            x = x.float() / job.pixel_maximum
        found = model(x).argmax(dim=1)
        if job.cuda:
            library.cuda.synchronize()
        return found

    return Answerer(
        lambda x: library.from_numpy(x).to(place), predict, lambda found: found.cpu().numpy()
    )


def of_jax(job: Job) -> Answerer:
    """One function in `jit`, compiled for each number of rows and dtype."""
    import jax as library
    import jax.numpy as jnp

    from benchmarking.peers import jax_jit

    place = library.devices("gpu" if job.cuda else "cpu")[0]
    with library.default_device(place):
        params, running = jax_jit.parameters(arrays_of(job)), jax_jit.statistics(job)

    @library.jit  # type: ignore[untyped-decorator, unused-ignore]
    def classes(params: Any, running: Any, x: Any) -> Any:
        if x.dtype == jnp.uint8:
            x = x.astype(jnp.float32) / job.pixel_maximum
        return jax_jit.logits(job.model, params, running, x).argmax(axis=1)

    def predict(x: Any) -> Any:
        return classes(params, running, x).block_until_ready()

    return Answerer(lambda x: library.device_put(x, place), predict)


def of_onnx(job: Job) -> Answerer:
    """The exported network in ONNX Runtime, for which the number of threads is an option."""
    import onnxruntime

    from xpnet.export import build_onnx

    network = network_of(job, open_backend("numpy"))
    options = onnxruntime.SessionOptions()
    # It reads no variable: here is that of the others.
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "0"))
    sessions = {
        dtype: onnxruntime.InferenceSession(
            build_onnx(network, input_dtype=dtype).SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
        )
        for dtype in ("uint8", "float32")
    }

    def predict(x: HostArray) -> HostArray:
        return sessions[x.dtype.name].run(None, {"input": x})[0].argmax(axis=1)

    return Answerer(lambda x: x, predict)


def of_sklearn(job: Job, *, module: str = "sklearn.neural_network") -> Answerer:
    """The `predict` of an `MLPClassifier`, with the weights of the others put into it."""
    scaled = _floats(job)
    model = _fitted(maker(job, module, max_iter=1), scaled(job.x[:1000]), job.y[:1000])
    model.coefs_ = [weight for weight, _ in job.weights()]
    model.intercepts_ = [bias for _, bias in job.weights()]
    return Answerer(lambda x: x, lambda x: model.predict(scaled(x)))


def of_table(job: Job, *, module: str = "sklearn.neural_network") -> Answerer:
    """The same in float64, with the weights that scikit-learn's came to on a table."""
    theirs = _fitted(maker(job, "sklearn.neural_network", max_iter=20), job.x, job.y)
    model = _fitted(maker(job, module, max_iter=1), job.x, job.y)
    model.coefs_, model.intercepts_ = theirs.coefs_, theirs.intercepts_
    return Answerer(lambda x: x, model.predict)


def _fitted(make: Callable[[], Any], x: HostArray, y: HostArray) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged
        return make().fit(x, y)
