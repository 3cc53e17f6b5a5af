"""The command line: composition of configs, run folders, continuing a run, the small commands."""

import json
import signal
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.cli import LightningCLI
from toy_run import EXPERIMENT, ToyTask, fit, toy, write

from mpma_lightning.cli.main import COMMANDS, main
from mpma_lightning.lab.events import read_curves

pytestmark = pytest.mark.usefixtures("toy")
RUN = Path("runs/toy/first")
LAST = RUN / "checkpoints/last.ckpt"


def effective(run: Path | str = RUN, name: str = "config.yaml") -> dict:
    return yaml.safe_load((Path(run) / name).read_text())


def step_of(checkpoint: Path) -> int:
    return torch.load(checkpoint, weights_only=True)["global_step"]


def callbacks_of(config: dict) -> list[str]:
    return [callback["class_path"].rpartition(".")[2] for callback in config["trainer"]["callbacks"]]


def test_smoke_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)


def test_smoke_help_and_phantom_do_not_import_torch() -> None:
    code = (
        "import sys; from mpma_lightning.cli.main import main; main(['--help']); main(['phantom', '--help']); "
        "main(['check', '--help']); main(['backbones', '--help']); "
        "main(['fit', '--config', 'absent.yaml']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_smoke_every_subcommand() -> None:
    for subcommand in ("fit", "validate", "test", "predict"):
        assert main([subcommand, "--config", "experiments/toy/first.yaml"]) == 0
    assert {"config.yaml", "versions.json", "test.yaml", "test.versions.json", "predict.yaml"} <= {
        path.name for path in RUN.iterdir()
    }


# how configs compose


def test_value_later_config_wins_and_command_line_last() -> None:
    later = write("experiments/toy/later.yaml", "model: {init_args: {width: 7, kind: later}}")
    assert fit("--config", later, "--model.width", "9") == 0
    model = effective("runs/toy/later")["model"]["init_args"]
    assert (model["width"], model["kind"]) == (9, "later")


def test_value_part_files_count_from_the_file_that_names_them() -> None:
    write("experiments/parts/data.yaml", "class_path: ToyData\ninit_args: {root: part, batch_size: 3}")
    write("experiments/parts/optim.yaml", "lr: 0.5")
    whole = EXPERIMENT.replace("{root: here, batch_size: 4}", "{root: x}").split("data:")[0]
    experiment = write(
        "experiments/a/b/whole.yaml",
        whole.replace("{width: 8}", "{optim: ../../parts/optim.yaml}") + "data: ../../parts/data.yaml",
    )
    assert main(["fit", "--config", experiment, "--trainer.max_steps", "1", "--trainer.accelerator", "cpu"]) == 0
    config = effective("runs/a/b/whole")
    assert config["data"]["init_args"]["root"] == "part"
    assert config["model"]["init_args"]["optim"]["lr"] == 0.5


def test_value_plus_appends_and_plain_replaces() -> None:
    stop = "[{class_path: EarlyStopping, init_args: {monitor: train/loss}}]"
    write("experiments/add.yaml", f"trainer: {{callbacks+: {stop}}}\nmodel: {{init_args: {{parts+: [b]}}}}")
    write("experiments/put.yaml", f"trainer: {{callbacks: {stop}}}")
    base = ["--model.parts", "[a]"]
    assert fit(*base, "--config", "experiments/add.yaml", "--trainer.callbacks+=RichModelSummary") == 0
    config = effective("runs/add")
    assert callbacks_of(config) == ["ModelCheckpoint", "LearningRateMonitor", "EarlyStopping", "RichModelSummary"]
    assert config["model"]["init_args"]["parts"] == ["a", "b"]
    assert fit("--config", "experiments/put.yaml") == 0
    assert callbacks_of(effective("runs/put")) == ["EarlyStopping"]


def test_value_references_see_the_merged_config() -> None:
    write("experiments/refer.yaml", "model: {init_args: {width: '${data.init_args.batch_size}'}}")
    assert fit("--config", "experiments/refer.yaml", "--data.batch_size", "2") == 0
    assert effective("runs/refer")["model"]["init_args"]["width"] == 2


def test_value_references_on_the_command_line_as_inline_yaml() -> None:
    inline = '{model: {init_args: {width: "${trainer.max_steps}"}}}'
    assert fit("--config", inline) == 0
    assert effective()["model"]["init_args"]["width"] == 3


def test_error_without_a_checkout(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("mpma_lightning.cli.config_files.__file__", "/nowhere/mpma_lightning/cli/config_files.py")
    assert fit() == 2
    assert "/nowhere/experiments/defaults.yaml not found" in capsys.readouterr().err


def test_value_defaults_come_first() -> None:
    assert fit("--trainer.log_every_n_steps", "2") == 0
    config = effective()
    assert config["seed_everything"] == 42 and config["ckpt_path"] == "last"
    assert config["trainer"]["gradient_clip_val"] == 1.0 and config["trainer"]["log_every_n_steps"] == 2
    assert config["trainer"]["use_distributed_sampler"] is False


# run folders


@pytest.mark.parametrize(
    ("config", "folder"),
    [("experiments/deep/er/x.yaml", "runs/deep/er/x"), ("elsewhere/y.yaml", "runs/y"), ("z.yaml", "runs/z")],
)
def test_value_run_folder_follows_the_config(config: str, folder: str) -> None:
    assert main(["fit", "--config", write(config, EXPERIMENT)]) == 0
    assert effective(folder)["trainer"]["default_root_dir"] == folder
    assert Path(folder, "checkpoints/last.ckpt").is_file() and list(Path(folder).glob("events.*"))
    assert json.loads(Path(folder, "versions.json").read_text())["torch"] == version("torch")


def test_value_run_folder_can_be_given() -> None:
    assert fit("--trainer.default_root_dir", "mine") == 0
    assert Path("mine/checkpoints/last.ckpt").is_file() and not Path("runs").exists()


def test_smoke_logger_and_checkpoints_can_be_switched_off() -> None:
    assert fit("--trainer.logger", "false", "--trainer.enable_checkpointing", "false") == 0
    assert effective()["trainer"]["callbacks"] == []


@pytest.mark.parametrize("overlay", sorted(Path(__file__).parents[3].glob("experiments/debug/*.yaml")))
def test_smoke_debug_overlays(overlay: Path) -> None:
    assert "fit, after an experiment" in overlay.read_text().splitlines()[0]
    assert fit("--config", str(overlay), "--trainer.max_steps", "2", "--trainer.limit_val_batches", "1") == 0


LOGGERS = Path(__file__).parents[3] / "experiments" / "loggers"
PACKAGES = {"csv": "lightning", "wandb": "wandb", "mlflow": "mlflow"}


@pytest.mark.parametrize("name", PACKAGES)
def test_value_logger_overlays(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package is there, values are in the run folder, offline; else one line says what is missing."""
    overlay = LOGGERS / f"{name}.yaml"
    assert "fit, before an experiment" in overlay.read_text().splitlines()[0]
    monkeypatch.setenv("WANDB_MODE", "offline")
    words = ["fit", "--config", str(overlay), "--config", write("experiments/toy/first.yaml", EXPERIMENT)]
    code = main(words)
    if find_spec(PACKAGES[name]) is None:
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert code == 1 and line.startswith("error: ") and name in line and "Traceback" not in line
        return
    assert code == 0 and [*RUN.glob("events.*")], "beside TensorBoard"
    assert [*RUN.glob(f"{name}*/**/*")] or [*RUN.glob(f"{name}.db")]
    if name == "csv":
        written = pd.read_csv(RUN / "csv/version_0/metrics.csv")["val/loss"].dropna().tolist()
        assert written == pytest.approx([value for _, value in read_curves(RUN)["val/loss"]]) and written
        assert main([*words, "--trainer.max_steps", "5"]) == 0, "the same command continues"
        assert [path.parent.name for path in sorted(RUN.glob("csv/*/metrics.csv"))] == ["version_0", "version_1"]


def test_value_pictures_of_the_overlays() -> None:
    """W&B gets them because its overlay says so; MLflow because its files are on this machine."""
    wandb, mlflow = (yaml.safe_load((LOGGERS / f"{name}.yaml").read_text())["trainer"] for name in ("wandb", "mlflow"))
    assert wandb["logger"][1]["init_args"]["offline"] is True
    assert wandb["callbacks+"] == [{"class_path": "Figures", "init_args": {"send": True}}]
    assert "callbacks+" not in mlflow and mlflow["logger"][1]["init_args"]["tracking_uri"].startswith("sqlite:")


# continuing a run


def test_value_same_command_continues(caplog: pytest.LogCaptureFixture) -> None:
    assert fit() == 0
    assert "continuing" not in caplog.text and "last checkpoint" not in caplog.text
    assert fit("--trainer.max_steps", "5") == 0
    assert f"continuing {RUN} at step 3" in caplog.text
    assert step_of(LAST) == 5
    assert [path.name for path in RUN.rglob("last*")] == ["last.ckpt"]


def test_value_last_step_is_saved_between_intervals() -> None:
    options = "{dirpath: runs/toy/first/checkpoints, save_last: true, every_n_train_steps: 2}"
    every = f"--trainer.callbacks=[{{class_path: ModelCheckpoint, init_args: {options}}}]"
    assert fit(every) == 0
    assert step_of(LAST) == 3


def test_error_other_settings_do_not_continue(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit() == 0
    before = effective()
    assert fit("--model.width", "5", "--seed_everything", "1") == 1
    said = capsys.readouterr().err
    assert "model.init_args.width 8 -> 5" in said and "seed_everything 42 -> 1" in said
    assert "--trainer.default_root_dir" in said and "batch_size" not in said
    assert effective() == before
    assert fit("--model.width", "5", "--trainer.default_root_dir", "other") == 0
    assert fit("--data.num_workers", "0", "--trainer.max_steps", "4") == 0


def test_error_start_anew_over_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--ckpt_path", "null") == 0
    assert fit("--ckpt_path", "null") == 1
    assert "would overwrite" in capsys.readouterr().err


def test_value_written_config_wins_over_a_checkpoint() -> None:
    assert fit() == 0
    stored = torch.load(LAST, weights_only=True)["hyper_parameters"]
    assert stored["width"] == 8
    assert fit("--model.width", "5", "--trainer.default_root_dir", "b", "--ckpt_path", str(LAST)) == 0
    assert ToyTask.seen[-1].width == 5
    assert main(["test", "--config", "experiments/toy/first.yaml", "--model.width=6", "--ckpt_path", str(LAST)]) == 0
    assert ToyTask.seen[-1].width == 6 and effective(name="test.yaml")["model"]["init_args"]["width"] == 6


def test_value_lightning_still_has_the_method_we_override() -> None:
    assert callable(getattr(LightningCLI, "_parse_ckpt_path", None)), "see TrainingCLI._parse_ckpt_path"


def test_value_best_is_found_by_a_later_command(caplog: pytest.LogCaptureFixture) -> None:
    write(
        "experiments/best.yaml",
        "trainer: {callbacks: [{class_path: ModelCheckpoint, init_args: {dirpath: "
        "'${trainer.default_root_dir}/checkpoints', "
        "monitor: val/loss, save_last: true}}], max_steps: -1, max_epochs: 2}",
    )
    assert fit("--config", "experiments/best.yaml") == 0
    words = ["test", "--config", "experiments/toy/first.yaml", "--config", "experiments/best.yaml"]
    assert main([*words, "--ckpt_path", "best"]) == 0
    assert "Loaded model weights from the checkpoint at runs/best/checkpoints/epoch=1" in caplog.text
    assert "Restoring states" not in caplog.text  # the same in other words


def test_error_no_checkpoint_to_test(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("last", "absent.ckpt"):
        assert main(["test", "--config", "experiments/toy/first.yaml", "--ckpt_path", name]) == 1
    assert "run fit first" in capsys.readouterr().err


def test_value_ctrl_c(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(ToyTask, "interrupt_at", 4)
    try:
        assert fit() == 0
        assert fit("--trainer.max_steps", "6") == 130
    finally:
        signal.signal(signal.SIGINT, handler)
    assert f"the same command continues from {LAST}" in capsys.readouterr().err


def test_value_sigterm_is_not_success(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A scheduler's signal: the status says that the run has not ended, and the same command ends it."""
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(ToyTask, "terminate_at", 2)
    try:
        with pytest.raises(SystemExit) as leaving:
            fit()
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert leaving.value.code == 128 + signal.SIGTERM
    assert "stopped by SIGTERM: the same command" in capsys.readouterr().err
    monkeypatch.setattr(ToyTask, "terminate_at", -1)
    assert fit() == 0


# the small commands


def test_smoke_phantom(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import data_modules.phantom

    asked: dict = {}

    def write_phantom(out: Path, patients: int = 400, seed: int = 0) -> dict[str, int]:
        asked.update(out=out, patients=patients, seed=seed)
        return {"images_test": 3}

    monkeypatch.setattr(data_modules.phantom, "write_phantom", write_phantom)
    assert main(["phantom", "--out", "ph", "--patients", "5"]) == 0
    assert asked == {"out": Path("ph"), "patients": 5, "seed": 0}
    assert capsys.readouterr().out == "3 images test\n"


def test_smoke_backbones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backbones", "mpma_vit_t16"]) == 0
    assert capsys.readouterr().out.startswith("mpma_vit_t16")
    assert main(["backbones", "no_such_thing"]) == 2
    assert main(["backbones"]) == 0
    whole, _, parts = capsys.readouterr().out.partition("\nparts of a backbone, written below model.backbone:\n")
    assert "mpma_vit_b16 " in whole and "image: {encoder: timm/<model>} " in parts and "fusion: {kind: cross} " in parts


def test_smoke_tokenizer(capsys: pytest.CaptureFixture[str]) -> None:
    from data_modules.text.tokenizer import Tokenizer

    texts = ["No acute disease.", "Small left effusion."]
    write("folder/a/1.txt", texts[0]), write("folder/b/2.txt", texts[1])
    write("lines.txt", "\n".join(texts))
    write("rows.jsonl", "\n".join(json.dumps({"report": text}) for text in texts))
    write("table.csv", "id,text\n" + "\n".join(f"{number},{text}" for number, text in enumerate(texts)))
    made = []
    for source in ("folder", "lines.txt", "rows.jsonl", "table.csv"):
        command = ["tokenizer", "--texts", source, "--out", "out/t.json", "--vocab_size", "300"]
        assert main(command) == 0 and "effusion" not in Path("out/t.json").read_text()  # of one text, not of five
        assert main([*command, "--min_count", "1"]) == 0
        made.append(Path("out/t.json").read_text())
    assert set(made) == {made[0]} and "effusion" in made[0]
    assert Tokenizer.load("out/t.json").to_json() == made[0]
    assert "from 2 texts" in capsys.readouterr().out
    write("bad.csv", "a,b\n1,2")
    for source, word in [
        ("bad.csv", "found columns a, b"),
        ("absent", "does not exist"),
        ("table.xyz", "does not exist"),
    ]:
        assert main(["tokenizer", "--texts", source, "--out", "t.json"]) == 1
        assert word in capsys.readouterr().err


__all__ = ["toy"]


def test_value_slurm_without_lightnings_requeue(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ``hpc_ckpt_*.ckpt`` would win over a newer ``last.ckpt``."""
    names = {"NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0", "JOB_ID": "77", "JOB_NAME": "fit"}
    for name, value in names.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert fit() == 0
    environment = ToyTask.seen[-1].trainer._accelerator_connector.cluster_environment
    assert isinstance(environment, SLURMEnvironment) and not environment.auto_requeue
