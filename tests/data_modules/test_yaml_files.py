"""YAML files that people write: what is read, and what is refused with its line."""

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_modules.errors import UsageError
from data_modules.yaml_files import LARGEST, read_yaml
from mpma_lightning.cli.main import main
from mpma_lightning.evaluation.zero_shot import load_prompts


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "t.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model: 1\ndata: 2\nmodel: 3", r"t.yaml:3: key 'model' was given in line 1; remove one"),
        ("model:\n  lr: 1\n  optim: {lr: 1, lr: 2}", r"t.yaml:3: key 'lr' was given in line 3"),
        ("list:\n- a: 1\n  b: 2\n  a: 3", r"t.yaml:4: key 'a' was given in line 2"),
        (BOMB, rf"t.yaml: holds [0-9,]+ values with its aliases written out; expected at most {LARGEST:,}"),
        ("a: &a\n  b: *a", r"t.yaml:1: an alias names the value that holds it"),
        ("[" * 5000, r"t.yaml: nested too deeply"),
        ("a: [1, 2", r"t.yaml:1: not valid YAML: "),
        ("a: !!python/object/apply:os.system [id]", r"t.yaml:1: not valid YAML: could not determine a constructor"),
        ("d: 2020-99-99", r"t.yaml: not valid YAML: month must be in 1..12"),
        (b"\xff\xfe\x00a", r"t.yaml cannot be read: "),
    ],
)
def test_error(text: str | bytes, says: str, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(UsageError, match=says):
        read_yaml(written(tmp_path, text))
    assert time.monotonic() - start < 20


def test_value_aliases_merge_keys_and_like_names_stay(tmp_path: Path) -> None:
    text = "base: &base {a: 1, b: 2}\nown: {<<: *base, b: 3}\n1: number\n'1': text\n"
    assert read_yaml(written(tmp_path, text)) == {
        "base": {"a": 1, "b": 2},
        "own": {"a": 1, "b": 3},
        1: "number",
        "1": "text",
    }
    assert read_yaml(written(tmp_path, "# nothing\n")) is None


TEXT = st.text(st.characters(exclude_characters="\x85", exclude_categories=["Cs"]))  # PyYAML reads NEL as a new line
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
EXAMPLES = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@EXAMPLES
@given(PLAIN)
def test_value_reads_what_was_written(tmp_path: Path, content: object) -> None:
    assert read_yaml(written(tmp_path, yaml.safe_dump(content, allow_unicode=True))) == content


@EXAMPLES
@given(st.binary(max_size=200) | st.text("&*a:- [{}],!<|>\n'\"#%?01\t", max_size=60).map(str.encode))
def test_error_anything_else_is_one_error(tmp_path: Path, content: bytes) -> None:
    try:
        read_yaml(written(tmp_path, content))
    except UsageError as error:
        assert "t.yaml" in str(error)


def test_error_twice_in_config_part_sweep_and_prompts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("optim.yaml").write_text("lr: 1.0e-3\nlr: 1.0e-4\n")
    Path("config.yaml").write_text("trainer:\n  max_steps: 1\n  max_steps: 2\n")
    Path("naming.yaml").write_text("model: {class_path: PretrainingTask, init_args: {optim: optim.yaml}}\n")
    for words, says in [
        (["fit", "--config", "config.yaml"], "error: config.yaml:3: key 'max_steps' was given in line 2; remove one"),
        (["fit", "--config", "naming.yaml"], "error: optim.yaml:2: key 'lr' was given in line 1; remove one"),
        (["sweep", "config.yaml"], "error: config.yaml:3: key 'max_steps' was given in line 2; remove one"),
    ]:
        assert main(words) == 2
        assert capsys.readouterr().err.strip() == says
    with pytest.raises(UsageError, match=r"optim.yaml:2"):
        load_prompts("optim.yaml")
