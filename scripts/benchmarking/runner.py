"""Starts a worker for each peer, and asks them in turn for an epoch."""

import json
import math
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarking.cases import Task
from benchmarking.neighbour import beside, hold_on_core, shared_core
from benchmarking.peers import Peer
from xpnet.distributed.launch import find_mpiexec

SCRIPTS = Path(__file__).resolve().parent.parent
THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NPROC",  # XLA's
)
Say = Callable[[str], None]


class PeerError(Exception):
    """A peer that cannot be measured; the message says why."""


@dataclass(frozen=True)
class Settings:
    """How workers are run.

    Attributes
    ----------
    repeats
        Measured epochs of each peer.
    threads
        Threads of each library; its own default if None.
    pause
        Seconds before each measurement, in which the threads of the previous one fall asleep.
    timeout
        Seconds that an epoch, or the start, may take.
    neighbour
        What else runs beside them, one of `NEIGHBOURS`; None for nothing.
    warm_up
        Epochs of each peer before those: what is compiled by and by is not in one of a few steps.
    """

    repeats: int = 7
    threads: int | None = None
    pause: float = 0.3
    timeout: float = 600.0
    neighbour: str | None = None
    warm_up: int = 1

    def environment(
        self, *, cuda: bool = False, tf32: bool = False, threads: int | None = None
    ) -> dict[str, str]:
        """The environment of a worker, which may have another number of threads."""
        paths = [str(SCRIPTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        found = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        # JAX would take three quarters of the GPU's memory from the others, and TF32 unasked.
        found |= {
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "JAX_DEFAULT_MATMUL_PRECISION": "tensorfloat32" if tf32 else "highest",
            "CUPY_TF32": "1" if tf32 else "0",
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
        if not cuda:
            # JAX and Keras would take a GPU unasked.
            found |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        threads = self.threads if threads is None else threads
        if threads is not None:
            found |= dict.fromkeys(THREAD_VARIABLES, str(threads))
        # Whatever becomes of this process, MPI ends its ranks.
        found["MPIEXEC_TIMEOUT"] = str(math.ceil(self.timeout * (self.repeats + self.warm_up + 2)))
        return found


class Worker:
    """A process that trains one peer, an epoch at a time.

    Raises
    ------
    PeerError
        By each method, if the peer cannot be measured.
    """

    def __init__(self, peer: Peer, task: Task, settings: Settings) -> None:
        self.peer = peer
        self.timeout = settings.timeout
        self._warm_up = settings.warm_up
        self._core = shared_core() if settings.neighbour == "core" else None
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        launch = [] if peer.ranks is None else [find_mpiexec(), "-n", str(peer.ranks)]
        self._process = subprocess.Popen(
            [*launch, sys.executable, "-m", "benchmarking.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=settings.environment(
                cuda=task.device == "cuda", tf32=task.tf32, threads=peer.threads
            )
            | dict(peer.environment),
            text=True,
        )
        self._first_order = json.dumps({"peer": asdict(peer), "task": task.to_dict()})

    def start(self) -> dict[str, Any]:
        """Load the data and train what warms up; from then on on one core."""
        answer = self._ask(self._first_order)
        for _ in range(self._warm_up - 1):
            answer = self.epoch()
        if self._core is not None:
            hold_on_core(self._process.pid, self._core)
        return answer

    def epoch(self) -> dict[str, Any]:
        """Train one epoch: `seconds`, and `eval_seconds` where there is an evaluation."""
        return self._ask("epoch")

    def finish(self) -> dict[str, Any]:
        """After the last epoch: accuracy, memory, versions."""
        return self._ask("finish")

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            try:
                if stream is not None:
                    stream.close()
            except OSError:  # what it was not there to read
                continue
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.terminate()  # which mpiexec gives on to its ranks
            try:
                self._process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._errors.close()

    def _ask(self, order: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(order + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise PeerError(self._why_it_ended()) from error
        ready, _, _ = select.select([self._process.stdout], [], [], self.timeout)
        if not ready:
            raise PeerError(f"no answer within {self.timeout:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise PeerError(self._why_it_ended())
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise PeerError(answer["failed"])
        return answer

    def _why_it_ended(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        return f"ended with code {code}" + (f": {lines[-1][:160]}" if lines else "")


@dataclass
class Measured:
    """What one peer showed: a time for each round, and what it said at the end."""

    peer: Peer
    seconds: list[float] = field(default_factory=list)
    eval_seconds: list[float] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    failure: str = ""


def measure(
    peers: Sequence[Peer], task: Task, settings: Settings, say: Say = lambda text: None
) -> list[Measured]:
    """All peers on one case, in turn, each in its own process.

    A peer that fails, at whatever point, has the reason in `failure`, and the others go on. One
    that knows dense networks alone is not asked about another.
    """
    found = [Measured(peer) for peer in peers]
    able = [one for one in found if task.case.network is None or not one.peer.dense]
    for one in found:
        if one not in able:
            one.failure = "it has no convolution here"
    with beside(settings.neighbour, settings.environment(threads=1)):
        workers: list[tuple[Worker, Measured]] = []
        try:
            for measured in able:
                say(f"starting {measured.peer.name}")
                worker = Worker(measured.peer, task, settings)
                workers.append((worker, measured))
                # One after the other: nobody warms up beside another.
                _try(measured, worker.start)
            for repeat in range(settings.repeats):
                say(f"round {repeat + 1} of {settings.repeats}")
                # Another one begins in each round, so that nobody always follows the same.
                first = repeat % max(1, len(workers))
                for worker, measured in workers[first:] + workers[:first]:
                    if not measured.failure:
                        time.sleep(settings.pause)
                        _measure_once(worker, measured)
            for worker, measured in workers:
                if not measured.failure:
                    measured.result = _try(measured, worker.finish) or {}
        finally:
            for worker, _ in workers:
                worker.close()
    return found


def _measure_once(worker: Worker, measured: Measured) -> None:
    answer = _try(measured, worker.epoch)
    if answer is not None:
        measured.seconds.append(answer["seconds"])
        if answer["eval_seconds"] is not None:
            measured.eval_seconds.append(answer["eval_seconds"])


def _try(measured: Measured, action: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    try:
        return action()
    except PeerError as error:
        measured.failure = str(error)
        return None
