"""Trials as tasks of Dask: on this machine, on a scheduler that runs already, or on the cluster that the file names."""

import json
import logging
import os
import socket
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from distributed import Client, Future, LocalCluster, as_completed
from filelock import FileLock, Timeout

from data_modules.errors import UserError
from data_modules.files import write_whole
from mpma_lightning.cli.engine import on_cluster, on_scheduler, quiet
from mpma_lightning.lab.records import read_json
from mpma_lightning.lab.sweeps.plan import Sweep
from mpma_lightning.lab.sweeps.progress import Progress
from mpma_lightning.lab.sweeps.task import Call, Killed, Outcome, cards, run_trial, stop
from mpma_lightning.lab.sweeps.trial import Trial

RETRIES = 2
"""Times a trial is started again after a signal ended it."""


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
        progress = Progress(trials)
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
            progress.begin(len(futures))
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
    with alone(sweep.runs) as say_address, quiet(), _client(sweep, workers, scheduler) as client:
        local = None if scheduler or sweep.cluster else workers
        made = Runner(client, local, sweep.resources)
        say_address("" if local else client.scheduler_info()["address"])
        if dashboard := _dashboard(client, local):
            print(f"dashboard: {dashboard}", file=sys.stderr)
        if local is None and not client.nthreads():
            print("no worker has joined yet; the trials wait for the first one", file=sys.stderr)
        try:
            yield made
        except BaseException:
            made.stop()
            raise


def _dashboard(client: Client, local: int | None) -> str:
    if local is None:
        return str(client.dashboard_link)
    if find_spec("bokeh") is None:  # which draws it
        return ""
    return f"http://127.0.0.1:{client.scheduler_info()['services']['dashboard']}/status"


@contextmanager
def _client(sweep: Sweep, workers: int, scheduler: str | None) -> Iterator[Client]:
    if scheduler is not None:
        with on_scheduler(scheduler) as client:
            yield client
    elif sweep.cluster:
        with on_cluster(sweep.cluster, f"{sweep.path}: cluster") as client:
            yield client
    else:
        with _local(sweep, workers) as cluster, Client(cluster) as client:
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
