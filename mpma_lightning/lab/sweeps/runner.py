"""Trials as tasks of Dask: on this machine, on a scheduler that runs already, or on the cluster that the file names."""

import json
import logging
import os
import socket
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Future, LocalCluster, as_completed
from filelock import FileLock, Timeout

from data_modules.boundary import reason
from data_modules.errors import UsageError, UserError
from data_modules.files import write_whole
from mpma_lightning.lab.parse import parsed
from mpma_lightning.lab.records import read_json
from mpma_lightning.lab.sweeps.plan import Sweep
from mpma_lightning.lab.sweeps.progress import Progress
from mpma_lightning.lab.sweeps.task import Call, Killed, Outcome, cards, run_trial, stop
from mpma_lightning.lab.sweeps.trial import Trial

RETRIES = 2
"""Times a trial is started again after a signal ended it."""
CLUSTERS = ("dask_jobqueue", "dask_kubernetes", "dask_cuda", "distributed")
"""Packages whose clusters a sweep file may name."""


@dataclass
class Cluster:
    """``cluster:`` of a sweep file.

    Attributes:
        class_path: a class of ``dask_jobqueue``, ``dask_kubernetes``, ``dask_cuda`` or ``distributed``.
        init_args: its arguments.
        scale: number of workers; or else
        adapt: ``minimum`` and ``maximum`` of them, as work comes and goes.
    """

    class_path: str
    init_args: dict = field(default_factory=dict)
    scale: int | None = None
    adapt: dict | None = None


class Runner:
    """Submits trials to the workers behind ``client`` and says what became of them."""

    def __init__(self, client: Client, local_slots: int | None, resources: Mapping[str, float]) -> None:
        self.client, self._resources = client, dict(resources)
        self.call = Call(uuid.uuid4().hex, str(Path.cwd()), local_slots)
        self._keys: list[str] = []

    @property
    def slots(self) -> int:
        """Trials at a time, at least 1."""
        return self.call.slots or max(1, sum(self.client.nthreads().values()))

    def submit(self, trial: Trial, parent: Future | None = None) -> Future:
        """Start ``trial`` when a worker is free, after that of ``parent``."""
        key = self.call.key(trial)
        self._keys.append(key)
        more = {"resources": self._resources} if self._resources else {}
        return self.client.submit(run_trial, trial, self.call, parent, key=key, retries=RETRIES, pure=False, **more)

    def outcome(self, trial: Trial, future: Future) -> Outcome:
        """What became of ``trial``, whose task has ended.

        Raises:
            UserError: the scheduler is gone.
        """
        if future.status == "finished":
            outcome: Outcome = future.result()
            return outcome
        if future.status != "error":
            raise UserError("the scheduler is gone; the same command goes on with what is left")
        error = future.exception()
        reason = str(error).removeprefix(f"{trial.id}: ")
        if isinstance(error, Killed) and reason == str(error):  # of the parent
            reason = f"waits for {trial.after}, which has not been done"
        return Outcome(trial.id, "failed", reason=reason)

    def run(self, trials: Sequence[Trial]) -> Progress:
        """Do what is left of ``trials``, parents before their children."""
        progress = Progress(trials, self.slots)
        self.client.subscribe_topic(self.call.id, progress.event)
        futures: dict[str, Future] = {}
        names: dict[Any, Trial] = {}
        with progress.bars:
            for trial in trials:
                parent = futures.get(trial.after or "")
                if parent is None and (known := _known(trial, progress)) is not None:
                    progress.ended(known, counted=False)
                    continue
                futures[trial.id] = future = self.submit(trial, parent)
                names[future.key] = trial
            for future in as_completed(list(futures.values())):
                progress.ended(self.outcome(names[future.key], future))
        return progress

    def stop(self, trials: Sequence[Trial] = ()) -> None:
        """Stop ``trials``, or all: each at its last checkpoint. Waits until their commands have ended."""
        keys = [self.call.key(trial) for trial in trials] or self._keys
        deadline = time.monotonic() + 60
        with suppress(Exception):  # the scheduler may be gone
            while sum(self.client.run(stop, keys).values()) and time.monotonic() < deadline:
                time.sleep(0.2)


def _known(trial: Trial, progress: Progress) -> Outcome | None:
    """What can be said of ``trial`` before anything runs; None where it has to run."""
    if trial.after in progress.failed:
        return Outcome(trial.id, "failed", reason=f"waits for {trial.after}, which has not been done")
    try:
        return Outcome(trial.id, "done") if trial.next_step() is None else None
    except UserError as error:
        return Outcome(trial.id, "failed", reason=str(error))


@contextmanager
def runner(sweep: Sweep, workers: int, scheduler: str | None) -> Iterator[Runner]:
    """A runner on the workers that ``--workers``, ``--scheduler`` or ``cluster:`` ask for; on leaving by an error, by
    Ctrl-C and SIGTERM too, what it runs is stopped.

    Raises:
        UserError: another call works on this sweep; no scheduler answers; a cluster or resource is not there.
    """
    placing = {"distributed.scheduler.worker-saturation": 1.0}  # no trial waits at a worker that has one
    for noisy in ("distributed", "asyncio"):  # what they say of a lost connection is said by this module
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    with alone(sweep.runs) as say_address, dask.config.set(placing), _client(sweep, workers, scheduler) as client:
        local = None if scheduler or sweep.cluster else workers
        made = Runner(client, local, sweep.resources)
        say_address("" if local else client.scheduler_info()["address"])
        try:
            yield made
        except BaseException:
            made.stop()
            raise


@contextmanager
def _client(sweep: Sweep, workers: int, scheduler: str | None) -> Iterator[Client]:
    if scheduler is not None:
        if "://" not in scheduler and not Path(scheduler).is_file():  # Dask would wait for it
            raise UserError(f"--scheduler {scheduler}: no such file; expected tcp://HOST:PORT, or a scheduler's file")
        place = {"address": scheduler} if "://" in scheduler else {"scheduler_file": scheduler}
        try:
            client = Client(**place, timeout=dask.config.get("distributed.comm.timeouts.connect"))
        except (OSError, ValueError) as error:
            raise UserError(f"--scheduler {scheduler}: no scheduler answers ({' '.join(str(error).split())})") from None
        with client:
            yield client
        return
    with _named(sweep) if sweep.cluster else _local(sweep, workers) as cluster, Client(cluster) as client:
        yield client


def _local(sweep: Sweep, workers: int) -> LocalCluster:
    """Workers of one thread in this process: a trial is a process of its own. All listen on 127.0.0.1 at most."""
    if "GPU" in sweep.resources and not cards():
        raise UserError(f"{sweep.path}: resources ask for a GPU, and there is none here; give --scheduler or cluster:")
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=False,
        memory_limit=0,
        resources=sweep.resources or None,
        dashboard_address="127.0.0.1:0",
        worker_dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    )


def _named(sweep: Sweep) -> Any:
    """The cluster of the sweep file, scaled as it says."""
    where = f"{sweep.path}: cluster"
    said = parsed(Cluster, sweep.cluster, where)
    module, _, name = said.class_path.rpartition(".")
    package = module.partition(".")[0]
    if package not in CLUSTERS or (said.scale is None) == (said.adapt is None):
        raise UsageError(
            f"{where}: expected class_path of a cluster of {', '.join(CLUSTERS)}, such as dask_jobqueue.SLURMCluster, "
            "init_args, and one of scale: N and adapt: {minimum: N, maximum: N}"
        )
    try:
        cluster = getattr(import_module(module), name)(**said.init_args)
        cluster.adapt(**said.adapt) if said.adapt is not None else cluster.scale(said.scale)
    except ImportError as error:
        raise UserError(f"{where}: {error}; pip install {package.replace('_', '-')}") from None
    except (AttributeError, TypeError, ValueError, OSError, RuntimeError) as error:
        raise UserError(f"{where}: {said.class_path}: {reason(error)}") from None
    return cluster


@contextmanager
def alone(runs: Path) -> Iterator[Any]:
    """Only one call works on the sweeps of ``runs``. Yields a function that takes the address of its scheduler.

    Raises:
        UserError: another one does; how to help it.
    """
    runs.mkdir(parents=True, exist_ok=True)
    lock, owner = FileLock(runs / ".calls.lock"), runs / ".call.json"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{runs}: {_other(owner)}") from None
    except (OSError, NotImplementedError):  # no locks on this disk: each fit still protects its own folder
        pass
    try:
        me = {"pid": os.getpid(), "host": socket.gethostname()}
        yield lambda address: write_whole(owner, json.dumps({**me, "scheduler": address}))
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _other(owner: Path) -> str:
    try:
        who = read_json(owner)
    except UserError:
        who = {}
    said = f"another call works on this sweep (process {who.get('pid', '?')} on {who.get('host', '?')})"
    if who.get("scheduler"):
        return f"{said}; help it with `dask worker {who['scheduler']}`"
    return f"{said} and runs the trials itself; wait for it, or stop it with Ctrl-C and give it more --workers"
