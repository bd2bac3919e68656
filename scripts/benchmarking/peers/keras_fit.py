"""Keras on JAX, through `fit`."""

import os
import time
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras

from benchmarking.cases import LEARNING_RATE, Job
from benchmarking.peers import Tick
from xpnet.typing import HostArray


class Report(keras.callbacks.Callback):  # type: ignore[misc, unused-ignore]
    """Reports each epoch, and holds the training until the next one is asked for."""

    def __init__(self, tick: Tick) -> None:
        super().__init__()
        self.tick = tick

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts the clock."""
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stops it; the mean loss in `logs` has been waited for."""
        self.tick(time.perf_counter() - self.started)


def run(job: Job, tick: Tick) -> HostArray:
    """Train on pixels that were converted before, as Keras's own examples do."""
    if job.cuda:
        jax.devices("gpu")  # or it would be trained on the CPU without a word
    *hidden, (last_weight, last_bias) = job.weights()
    layers: list[Any] = [keras.Input(job.sizes[:1])]
    layers += [keras.layers.Dense(len(bias), activation="relu") for _, bias in hidden]
    model = keras.Sequential([*layers, keras.layers.Dense(len(last_bias))])
    model.set_weights([array for pair in (*hidden, (last_weight, last_bias)) for array in pair])
    model.compile(
        optimizer=keras.optimizers.SGD(LEARNING_RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(
        job.scaled(job.x),
        job.y,
        batch_size=job.batch_size,
        epochs=job.epochs,
        shuffle=True,
        verbose=0,
        callbacks=[Report(tick)],
    )
    predicted = model.predict(job.scaled(job.test_x), batch_size=1000, verbose=0)
    classes: HostArray = predicted.argmax(axis=1)
    return classes
