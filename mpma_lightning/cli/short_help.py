"""`fit --help` and its siblings on one page, without importing torch: the usual options, and where the others are."""

from collections.abc import Sequence
from textwrap import fill

from data_modules.catalogue import DATA_MODULES

TASKS = (
    *("PretrainingTask", "ClassificationTask", "LinearProbeTask", "ZeroShotTask", "RetrievalTask", "GroundingTask"),
    *("SegmentationTask", "DetectionTask", "VQATask", "ReportGenerationTask", "ProgressionTask"),
)
"""Classes that `--model` takes; the tests compare them with those there are."""
ABOUT = {
    "fit": "Train the experiment of --config FILE. The same command again continues the run.",
    "validate": "Compute the metrics of the validation split.",
    "test": "Compute the metrics of the test split, with intervals.",
    "predict": "Write the predictions for every sample of the test split, or of a folder of images.",
}
_CHECKPOINT = {
    "fit": "last (default): continue this run; null: start anew, in a folder without checkpoints; or a file",
    "validate": "last, best, a file, or random; default: the run's best or last, else weights of model.checkpoint",
}
_OPTIONS = [
    ("--config FILE, -c FILE", "an experiment, or an overlay; of several, the later wins, key by key"),
    ("--print_config", "show the merged config and stop"),
    ("--seed_everything N", "seed of the initial weights"),
    ("--ckpt_path WHICH", ""),
    ("--model CLASS", f"one of {', '.join(TASKS)}"),
    ("--model.backbone NAME", "the command `backbones` lists them"),
    ("--model.checkpoint FILE", "start from these weights: a .ckpt of any task, a .safetensors file or a run folder"),
    ("--model.optim.lr X", "learning rate; also .warmup .weight_decay .algorithm"),
    ("--data CLASS", f"one of {', '.join(DATA_MODULES.values())}"),
    ("--data.root DIR", "folder of the data; some sets have several, such as image_root and report_root"),
    ("--data.batch_size N", "samples a batch on each process"),
    ("--data.num_workers N", "processes that read the data"),
    ("--data.seed N", "of order, augmentation, masks and a drawn split"),
    ("--trainer.default_root_dir DIR", "the run folder; default: runs/<name of the last config>"),
    ("--trainer.accelerator WHICH", "auto (default), cpu or gpu; also .devices N .strategy ddp"),
    ("--trainer.precision WHICH", "32-true (default), bf16-mixed, on GPUs 16-mixed, or auto: bf16 where it is fast"),
]
_OF = {
    "fit": [
        ("--trainer.max_steps N", "length of training; or --trainer.max_epochs N"),
        ("--trainer.val_check_interval N", "steps (or a share of an epoch) between validations"),
        ("--efficiency.compile BOOL", "torch.compile; also .gradient_checkpointing"),
        ("--non_finite.skip N", "leave out up to N steps whose loss is not finite"),
    ],
    "validate": [("--verbose BOOL", "true: show every metric at the end, not the headlines alone")],
    "test": [("--verbose BOOL", "true: show every metric at the end, not the headlines alone")],
    "predict": [("--data.folder DIR", "embed the images of this folder in place of the test split")],
}
_EXAMPLES = {
    "fit": [
        "--config experiments/pretraining/pairs.yaml --data.root FOLDER",
        "--config experiments/demo/pretraining.yaml --trainer.default_root_dir runs/mine --trainer.max_steps 200",
    ],
    "validate": ["--config experiments/demo/pretraining.yaml"],
    "test": ["--config experiments/demo/zero_shot.yaml", "--config experiments/demo/pretraining.yaml --verbose true"],
    "predict": ["--config experiments/demo/pretraining.yaml --data.folder FOLDER"],
}


def asks_for_help(words: Sequence[str]) -> bool:
    """Whether ``words`` ask for help, and not for that of a class."""
    return "-h" in words or "--help" in words


def options_of(subcommand: str) -> list[tuple[str, str]]:
    """Options of the page, with what they mean."""
    checkpoint = _CHECKPOINT.get(subcommand, _CHECKPOINT["validate"])
    return [(name, said or checkpoint) for name, said in (*_OPTIONS, *_OF[subcommand])]


def short_help(subcommand: str, start: str) -> str:
    """The page of a subcommand; ``start`` is how it is called."""
    options = "\n".join(f"  {name}\n{_wrapped(said)}" for name, said in options_of(subcommand))
    examples = "\n".join(f"  {start} {words}" for words in _EXAMPLES[subcommand])
    return f"""usage: {start} --config FILE [--config FILE ...] [--KEY VALUE ...] [--trust]

{ABOUT[subcommand]}
Every value of an experiment can be set by --KEY VALUE, with a dot for each level: --data.text.max_tokens 64.

{options}

more help:
  {start} --model.help CLASS    arguments of a task
  {start} --data.help CLASS     arguments of a data set
  {start} --help all            every option

examples:
{examples}"""


def _wrapped(text: str, width: int = 110, indent: str = " " * 8) -> str:
    return fill(text, width, initial_indent=indent, subsequent_indent=indent)
