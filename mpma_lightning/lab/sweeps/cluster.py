"""A sweep on a cluster: submitit submits an array of workers, which share the sweep's folder."""

import sys
from collections.abc import Sequence

from data_modules.errors import UserError
from mpma_lightning.lab.sweeps.plan import Sweep


def submit(sweep: Sweep, command: Sequence[str], workers: int, cluster: str | None = None) -> list[str]:
    """Submit ``workers`` jobs that each run ``command`` as an ordinary command; prints and returns their ids.

    ``slurm:`` of the sweep file holds the parameters of submitit's executor, such as ``timeout_min``,
    ``slurm_partition``, ``gpus_per_node``, ``cpus_per_task`` and ``slurm_array_parallelism``. A job that runs out of
    time is simply submitted again: the trial it was in continues.

    Args:
        sweep: its ``runs/jobs`` takes the logs.
        command: what follows ``python -m mpma_lightning``.
        workers: jobs of the array.
        cluster: submitit's ``slurm``, ``local`` or ``debug``; ``None`` takes SLURM where there is one.

    Raises:
        UserError: submitit is not installed, or does not know a parameter.
    """
    try:
        import submitit
    except ImportError:
        raise UserError("--launcher submitit needs submitit: pip install 'mpma-lightning[sweep]'") from None
    executor = submitit.AutoExecutor(folder=sweep.runs / "jobs" / "%j", cluster=cluster)
    try:
        executor.update_parameters(**{"name": f"sweep-{sweep.path.stem}", **sweep.slurm})
    except (NameError, TypeError, ValueError, AssertionError) as error:
        raise UserError(f"{sweep.path}: slurm: {' '.join(str(error).split())}") from None
    call = submitit.helpers.CommandFunction([sys.executable, "-m", "mpma_lightning", *command], verbose=False)
    jobs = executor.map_array(_call_each(call), [()] * workers)
    print(f"{workers} jobs: {', '.join(job.job_id for job in jobs)}; logs in {sweep.runs / 'jobs'}", file=sys.stderr)
    return [job.job_id for job in jobs]


class _call_each:
    """Takes and drops the argument that ``map_array`` passes."""

    def __init__(self, function: object) -> None:
        self.function = function

    def __call__(self, _: object) -> object:
        return self.function()  # type: ignore[operator]
