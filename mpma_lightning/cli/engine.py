"""Where Dask runs what is asked for: on a scheduler that runs already, or on a cluster that a file names."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import dask
from distributed import CancelledError, Client, KilledWorker

from data_modules.boundary import reason
from data_modules.errors import UsageError, UserError
from data_modules.machine import Each
from data_modules.yaml_files import read_yaml
from mpma_lightning.cli.parse import parsed

CLUSTERS = ("dask_jobqueue", "dask_kubernetes", "dask_cuda", "distributed")
"""Packages whose clusters a file may name."""
_TASKS = 32
"""Tasks a worker; fewer would leave some idle at the end."""
_PATIENCE = 600.0
"""Seconds until the first worker of a scheduler must be there."""


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


@contextmanager
def quiet() -> Iterator[None]:
    """No task waits at a worker that has one; what Dask says of a lost connection is said by its callers."""
    for noisy in ("distributed", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    with dask.config.set({"distributed.scheduler.worker-saturation": 1.0}):
        yield


@contextmanager
def on_scheduler(address: str) -> Iterator[Client]:
    """The scheduler at ``tcp://HOST:PORT``, or that wrote the file of this name.

    Raises:
        UserError: there is none.
    """
    if "://" not in address and not Path(address).is_file():  # Dask would wait for it
        raise UserError(f"--scheduler {address}: no such file; expected tcp://HOST:PORT, or a scheduler's file")
    place = {"address": address} if "://" in address else {"scheduler_file": address}
    try:
        client = Client(**place, timeout=dask.config.get("distributed.comm.timeouts.connect"))
    except (OSError, ValueError) as error:
        raise UserError(f"--scheduler {address}: no scheduler answers ({' '.join(str(error).split())})") from None
    with client:
        yield client


@contextmanager
def on_cluster(content: Any, where: str) -> Iterator[Client]:
    """The cluster of a file, scaled as it says, for as long as it is needed.

    Raises:
        UsageError: ``content`` is no :class:`Cluster`; ``where`` it stands.
        UserError: it cannot be started.
    """
    said = parsed(Cluster, content, where)
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
    with cluster, Client(cluster) as client:
        yield client


@contextmanager
def elsewhere(scheduler: str | None, cluster: Path | None) -> Iterator[Each]:
    """What calls a function for each of many items on the workers that ``--scheduler`` or ``--cluster`` name.

    Raises:
        UserError: both are given, no worker comes, or one is in another working directory than this process.
    """
    if scheduler is not None and cluster is not None:
        raise UserError("found --scheduler and --cluster, expected one of them")
    with ExitStack() as stack:
        stack.enter_context(quiet())
        place = on_scheduler(scheduler) if scheduler else on_cluster(read_yaml(Path(str(cluster))), str(cluster))
        yield _Each(stack.enter_context(place))


class _Each:
    """Calls functions for items on the workers of ``client``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __call__(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        """Results in the order of ``items``; what ``function`` raises is raised here.

        Raises:
            UserError: a worker was killed at it more than once, or the scheduler is gone.
        """
        self._wait()
        size = max(1, len(items) // (_TASKS * sum(self._client.nthreads().values())))
        parts = [items[start : start + size] for start in range(0, len(items), size)]
        futures = self._client.map(_several, [function] * len(parts), parts, pure=False, retries=0)
        try:
            for future in futures:
                yield from future.result()
        except KilledWorker:
            raise UserError("workers were killed, probably for memory; the same command goes on") from None
        except CancelledError:
            raise UserError("the scheduler is gone; the same command goes on with what is left") from None

    def _wait(self) -> None:
        """For the first worker; all must see the files under the names that this process knows."""
        deadline = time.monotonic() + _PATIENCE
        while not (folders := self._client.run(_folder)):
            if time.monotonic() > deadline:
                raise UserError(f"no worker has joined the scheduler in {_PATIENCE / 60:.0f} minutes")
            time.sleep(0.2)
        for worker, folder in folders.items():
            if folder != _folder():
                raise UserError(f"worker {worker} works in {folder}, expected {_folder()}; start it there")


def _several(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    return [function(item) for item in items]


def _folder() -> str:
    return str(Path.cwd())
