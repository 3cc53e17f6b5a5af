"""The demo's pre-training cut down to a tiny network, for driving the command line."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "experiments" / "demo" / "pretraining.yaml"


def demo_arguments(phantom: Path, run: Path, *more: str, workers: int = 0) -> list[str]:
    """Options of fit, validate or test on ``phantom``, writing into ``run``; ``more`` wins."""
    return [
        *("--config", str(DEMO)),
        *("--data.image_root", f"{phantom}/mimic-cxr-jpg", "--data.report_root", f"{phantom}/mimic-cxr"),
        *("--data.batch_size", "4", "--data.num_workers", str(workers)),
        *("--model.backbone.image.size", "64", "--model.backbone.image.options", "{depth: 1}"),
        *("--model.backbone.text.depth", "1"),
        *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"),
        *("--trainer.default_root_dir", str(run), *more),
    ]
