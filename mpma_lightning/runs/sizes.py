"""How many samples make a step: what a continued run must keep."""

from dataclasses import dataclass

from data_modules.errors import UserError


@dataclass(frozen=True)
class Sizes:
    """Attributes:
    batch_size: samples in a batch of one process.
    processes: of the run.
    accumulate: batches whose gradients make a step.
    """

    batch_size: int
    processes: int
    accumulate: int

    @property
    def batch(self) -> int:
        """Samples in the batches of all processes together."""
        return self.batch_size * self.processes

    def check_same_batches(self, before: "Sizes", run: object) -> None:
        """Refuse to continue with other batches than ``before``; their share among processes is free."""
        if (self.batch, self.accumulate) == (before.batch, before.accumulate):
            return
        if before.batch % self.processes:
            remedy = f"use a number of processes that divides {before.batch}, such as {before.processes}"
        else:
            remedy = f"add --data.batch_size {before.batch // self.processes}"
            if self.accumulate != before.accumulate:
                remedy += f" --trainer.accumulate_grad_batches {before.accumulate}"
        raise UserError(
            f"{run} was trained with {before} and would continue with {self}: every step would see other samples. "
            f"To continue, {remedy}"
        )

    def __str__(self) -> str:
        accumulated = f", {self.accumulate} accumulated" if self.accumulate != 1 else ""
        return f"batches of {self.batch} (batch_size {self.batch_size} × {self.processes} processes{accumulated})"
