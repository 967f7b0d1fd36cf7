"""Parts done by the workers of a Ray cluster."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from gcd_core.distributed.answers import AnswerServer, RemoteAnswers, RemoteBudget
from gcd_core.distributed.job import Part, PartsJob
from gcd_core.errors import GCDError

AUTO = "auto"
AT_A_TIME = 2**14  # parts that Ray knows of: each takes some of the driver's memory


@dataclass(frozen=True)
class Cluster:
    """Where the workers run, and how many."""

    # Of the cluster; "auto" takes the one that runs here or that RAY_ADDRESS names, or starts one
    # of this machine alone.
    address: str = AUTO
    # Each loads the networks once. None: as many as there are GPUs, or cores of `threads` each.
    workers: int | None = None
    threads: int = 1  # of each worker. Sums differ in their last digits by the number of threads.
    gpus: float = 0.0  # of each worker, such as 0.5; 0 on the CPU

    def run(
        self, job: PartsJob, todo: list[int], spent: Mapping[str, int] | None = None
    ) -> Iterator[tuple[int, Part]]:
        """Do parts of a job; yield each as soon as it is done, in any order.

        A worker that dies is started again, and does its part again. `spent` is what was asked of
        classifiers here, by their identities: it counts in the budget that the workers share.
        Raises a GCDError if Ray is missing or the cluster cannot be reached, or as the work does;
        what is under way ends then.
        """
        if not todo:
            return
        ray = connected(self.address)
        self._check(ray)
        held = ray.remote(AnswerServer).options(num_cpus=0, max_concurrency=64)
        shared = SharedOnRay(held.remote(spent))
        for start in range(0, len(todo), AT_A_TIME):
            yield from self._run(ray, job, todo[start : start + AT_A_TIME], shared)

    def _run(
        self, ray: Any, job: PartsJob, todo: list[int], shared: SharedOnRay
    ) -> Iterator[tuple[int, Part]]:
        workers = min(self.workers or self._most(ray), len(todo))
        rows = (
            ray.data.from_items([{"part": part} for part in todo], override_num_blocks=len(todo))
            .map(
                reading,
                fn_args=(pickle.dumps(job),),
                num_cpus=0,  # else there would be no core left for it beside the workers
                compute=ray.data.TaskPoolStrategy(size=readers(workers)),
            )
            .map_batches(
                Worker,
                batch_size=1,
                batch_format="numpy",
                fn_constructor_args=(job, shared, self.threads),
                compute=ray.data.ActorPoolStrategy(size=workers),
                num_cpus=0 if self.gpus else self.threads,
                num_gpus=self.gpus,
            )
            .iter_rows()
        )
        try:
            for row in rows:
                done = pickle.loads(row["done"])
                if isinstance(done, GCDError):
                    raise done
                yield int(row["part"]), done
        except ray.exceptions.RayError as error:
            raise GCDError(f"The cluster ended the work: {last_line(error)}") from error

    def _check(self, ray: Any) -> None:
        """Refuse workers that fit on no node: Ray would wait for them for ever."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = max(node.get("GPU", 0) for node in nodes)
        cores = max(node.get("CPU", 0) for node in nodes)
        if gpus < self.gpus:
            raise GCDError(
                f"--gpus {self.gpus:g} is more than a node of the cluster has ({gpus:g})."
            )
        if not self.gpus and cores < self.threads:
            raise GCDError(
                f"--threads {self.threads} is more than a node of the cluster has ({cores:g})."
            )

    def _most(self, ray: Any) -> int:
        resources = ray.cluster_resources()
        if self.gpus:
            return max(1, int(resources.get("GPU", 0) / self.gpus))
        return max(1, int(resources.get("CPU", 1) // self.threads))


def readers(workers: int) -> int:
    """Return the number of reading processes for so many workers: one for eight."""
    return -(-workers // 8)


def connected(address: str) -> Any:
    """Ray, connected to a cluster. Raises a GCDError if it is not installed, or does not answer."""
    # It reports to its makers unless told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError:
        raise GCDError("--ray needs Ray: pip install 'ray[data]>=2.60,<3'.") from None
    if not ray.is_initialized():
        try:
            ray.init(
                None if address == AUTO else address,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise GCDError(f"No Ray cluster answers at {address}: {last_line(error)}") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    return ray


def last_line(error: Exception) -> str:
    """Return the last line of an error of Ray, without its traceback."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


class SharedOnRay:
    """What the workers share, held by an actor."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def join(self, classifier: Any) -> None:
        """Let a worker's classifier share the answers, if it keeps any, and the budget."""
        import ray

        who = ray.get_runtime_context().get_actor_id() or "driver"

        def ask(method: str, *args: Any) -> Any:
            try:
                return ray.get(getattr(self._actor, method).remote(*args))
            except ray.exceptions.RayTaskError as error:
                raise error.cause if isinstance(error.cause, GCDError) else error from None

        if classifier.cache is not None:
            classifier.cache = RemoteAnswers(ask, who)
        if classifier.budget is not None:
            classifier.shared_budget = RemoteBudget(ask, classifier.identity, classifier.budget)


_READERS: dict[bytes, Any] = {}  # of the job that this process reads for


def reading(row: dict[str, Any], pickled: bytes) -> dict[str, Any]:
    """Read a part's images, in a task."""
    if pickled not in _READERS:
        _READERS.clear()
        _READERS[pickled] = pickle.loads(pickled).reader()
    return row | {"read": pickle.dumps(_READERS[pickled](int(row["part"])))}


class Worker:
    """An actor that loads the networks once, and does one part after the other."""

    def __init__(self, job: PartsJob, shared: SharedOnRay, threads: int) -> None:
        torch.set_num_threads(threads)
        self._failure: GCDError | None = None
        try:
            self._work = job.worker(shared)
        except GCDError as error:  # the driver tells it; Ray would begin again and again
            self._failure = error

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Do a part; a `GCDError` is returned instead of raised."""
        part = int(batch["part"][0])
        done: Part | GCDError
        try:
            if self._failure is not None:
                raise self._failure
            done = self._work(part, pickle.loads(batch["read"][0]))
        except GCDError as error:
            done = GCDError(str(error))
        return {"part": [part], "done": [pickle.dumps(done)]}
