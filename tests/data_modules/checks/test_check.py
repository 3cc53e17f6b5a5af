"""`check`: planted faults are found and named, a clean phantom raises no alarm, known leaks of real data are told."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_modules.checks import check
from data_modules.checks.images import check_images, look_at
from data_modules.checks.result import CheckResult
from data_modules.images.perceptual import near_pairs, perceptual_hash
from data_modules.mimic_cxr import MIMICCXRDataModule
from data_modules.openi import OpenIDataModule
from data_modules.pairs import PairsDataModule
from data_modules.phantom import write_phantom
from data_modules.prepare import prepare
from data_modules.vqa_rad import VQARADDataModule
from mpma_lightning.cli.main import main


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("clean")
    write_phantom(out, patients=40, seed=5, size=96, workers=1, layouts="pairs")
    return out


@pytest.fixture
def phantom(clean: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clean, tmp_path / "phantom"))


def items(result: CheckResult, kind: str) -> list[str]:
    """The cases of one kind; it must have been found exactly once."""
    (finding,) = [finding for finding in result.findings if finding.kind == kind]
    return finding.items


def mimic(root: Path) -> CheckResult:
    return check("mimic_cxr", root, MIMICCXRDataModule.from_root(root), decode_all=True)


def table(root: Path, name: str) -> Path:
    return root / "mimic-cxr-jpg" / f"mimic-cxr-2.0.0-{name}.csv.gz"


def test_value_a_clean_phantom_raises_no_alarm(clean: Path) -> None:
    pairs = PairsDataModule.from_root(clean / "layouts" / "pairs")
    for result in (mimic(clean), check("pairs", clean, pairs, decode_all=True)):
        assert not [finding for finding in result.findings if finding.severity != "info"]
        assert not result.failed and result.counts["patients"] == 40


def test_value_every_planted_fault_is_found_and_named(phantom: Path) -> None:
    jpg = phantom / "mimic-cxr-jpg"
    split = pd.read_csv(table(phantom, "split"), dtype=str)
    split["path"] = [
        jpg / f"files/p{r.subject_id[:2]}/p{r.subject_id}/s{r.study_id}/{r.dicom_id}.jpg" for r in split.itertuples()
    ]
    train = split[split.split == "train"].reset_index(drop=True)
    test = split[split.split == "test"].reset_index(drop=True)
    truncated, missing = list(train.path[:3]), list(train.path[3:5])
    for path in truncated:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for path in missing:
        path.unlink()
    copies = list(zip(train.path[5:9], test.path[:4], strict=True))
    for source, target in copies:
        target.write_bytes(source.read_bytes())
    Image.open(train.path[9]).save(train.path[9], "PNG")  # a PNG called .jpg

    reports = sorted((phantom / "mimic-cxr" / "mimic-cxr-reports").rglob("s5*.txt"))
    for path in reports[:5]:
        path.write_text("\n  \n")
    reports[5].write_bytes(reports[5].read_bytes() + b"\xff\xfe caf\xe9")

    labels = gzip.decompress(table(phantom, "chexpert").read_bytes()).decode()
    table(phantom, "chexpert").write_bytes(gzip.compress(labels.replace("Atelectasis", "Atelectsis", 1).encode()))
    moved = train.iloc[-1].dicom_id  # one study of a training patient goes to test: a patient, and its study, in two
    rows = [
        line.replace(",train", ",test") if line.startswith(moved) else line
        for line in gzip.decompress(table(phantom, "split").read_bytes()).decode().splitlines()
    ]
    patient = train.iloc[-1].subject_id
    if sum(patient in line and ",train" in line for line in rows) == 0:
        rows.append(f"{'0' * 8}-extra,{train.iloc[-1].study_id},{patient},train")
    table(phantom, "split").with_suffix("").write_text("\n".join(rows))  # plain, the others gzipped
    table(phantom, "split").unlink()

    result = mimic(phantom)
    assert result.failed
    assert sorted(item.split(":")[0] for item in items(result, "broken image")) == sorted(map(str, truncated))
    extra = [item for item in items(result, "missing image") if "extra" not in item]
    assert sorted(extra) == sorted(map(str, missing))
    assert items(result, "misnamed image") == [f"{train.path[9]}: its content is PNG"]
    across = items(result, "image in two splits (byte-identical)")
    assert len(across) == 4
    for source, target in copies:
        assert sum(str(source) in item and str(target) in item for item in across) == 1
    assert [Path(item).name for item in items(result, "report empty")] == [path.name for path in reports[:5]]
    (unread,) = items(result, "report that cannot be read")
    assert reports[5].name in unread and "0xff" in unread
    assert items(result, "patient in two splits") == [f"{patient}: test and train"]
    (wrong,) = [finding.message for finding in result.findings if finding.kind == "table"]
    assert "chexpert" in wrong and "no column Atelectasis (nearest: Atelectsis)" in wrong
    read = [finding.message for finding in result.findings if finding.kind == "table read"]
    assert any("split.csv:" in line for line in read) and any("metadata.csv.gz:" in line for line in read)
    assert "picture in two splits (near-duplicate)" not in [finding.kind for finding in result.findings]


def test_value_label_values_and_twin_tables(phantom: Path) -> None:
    text = gzip.decompress(table(phantom, "chexpert").read_bytes()).decode().splitlines()
    first = text[1].split(",")
    text[1] = ",".join([*first[:2], "2.0", *first[3:]])
    table(phantom, "chexpert").write_bytes(gzip.compress("\n".join(text).encode()))
    rows = gzip.decompress(table(phantom, "split").read_bytes()).decode().replace(",test", ",train")
    table(phantom, "split").with_suffix("").write_text(rows)
    result = mimic(phantom)
    (odd,) = items(result, "label other than 1, 0, -1 and blank")
    assert "'2.0' in row 2, column Atelectasis" in odd
    assert [finding.severity for finding in result.findings if finding.kind == "two tables"] == ["error"]


def test_error_missing_tables_are_named_all(phantom: Path) -> None:
    table(phantom, "negbio").unlink()  # a run that takes its labels from CheXpert does not read it
    assert not [finding.message for finding in mimic(phantom).findings if "negbio" in finding.message]
    table(phantom, "split").unlink()
    table(phantom, "chexpert").unlink()
    messages = [finding.message for finding in mimic(phantom).findings if finding.severity == "error"]
    assert sum("chexpert.csv.gz" in message for message in messages) == 1
    assert any("split.csv.gz" in message and "complete the download" in message for message in messages)


def test_value_near_duplicates_are_found_across_splits(phantom: Path) -> None:
    root = phantom / "layouts" / "pairs"
    rows = pd.read_csv(root / "pairs.csv", dtype=str).to_dict("records")
    train = next(row for row in rows if row["split"] == "train")
    test = next(row for row in rows if row["split"] == "test")
    with Image.open(root / train["image"]) as image:
        image.resize((88, 92)).save(phantom / "again.jpg", quality=70)
    (root / test["image"]).unlink()
    shutil.copy(phantom / "again.jpg", root / test["image"])
    result = check("pairs", root, PairsDataModule.from_root(root), decode_all=True)
    (item,) = items(result, "picture in two splits (near-duplicate)")
    assert train["image"] in item and test["image"] in item and result.failed


@pytest.mark.parametrize("sample", [None, 30])
def test_value_hashes_are_whole_beside_images_without_one(phantom: Path, sample: int | None) -> None:
    """A broken image, or one that is not looked at, has no hash; every bit of the others' counts."""
    data = MIMICCXRDataModule.from_root(phantom)
    rows = data.read_index()
    Path(rows["image"][0]).write_bytes(b"no picture")
    files = check_images(rows, CheckResult("mimic_cxr", str(phantom)), sample)
    known = files[files["phash"].notna()]
    assert len(known) > 20 and (sample is None or len(known) < len(files))
    assert known["phash"].to_numpy(np.int64).tolist() == [look_at(file)[1] for file in known["file"]]


def test_value_sample_looks_at_some_images(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_modules.checks.SAMPLE", 7)
    result = check("mimic_cxr", clean, MIMICCXRDataModule.from_root(clean))
    (finding,) = [finding for finding in result.findings if finding.kind == "sampled"]
    assert finding.message.startswith("7 of ") and "near-duplicates were looked for among these only" in finding.message


def test_value_near_pairs_are_those_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(-(2**62), 2**62, 300)
    for i in range(0, 60, 2):  # flip 0 to 7 bits
        bits = rng.choice(62, i % 8, replace=False)
        hashes[i + 1] = hashes[i] ^ int(sum(1 << int(bit) for bit in bits))
    distance = np.array([[(int(a) ^ int(b)) & (2**64 - 1) for b in hashes] for a in hashes], dtype=np.uint64)
    near = np.argwhere(np.triu(np.bitwise_count(distance) <= 4, 1))
    assert len(near) > 10
    np.testing.assert_array_equal(near_pairs(hashes), near)
    assert near_pairs(np.zeros(0, np.int64)).shape == (0, 2)


def test_value_perceptual_hash_survives_scaling_and_light() -> None:
    rng = np.random.default_rng(1)
    image = np.asarray(Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).resize((256, 256)))
    half = np.asarray(Image.fromarray(image).resize((128, 128)))
    other = np.asarray(Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).resize((256, 256)))

    def bits(a: np.ndarray, b: np.ndarray) -> int:
        return ((perceptual_hash(a) ^ perceptual_hash(b)) & (2**64 - 1)).bit_count()

    assert bits(image, half) <= 4 and bits(image, (image * 0.8).astype(np.uint8)) <= 4 and bits(image, other) > 16


def test_value_audit_against_a_pre_training_store(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test patient by name, and a training film as another's picture: both are found, and end in the manifest.

    Every image is compared, without --all too.
    """
    monkeypatch.setattr("data_modules.checks.SAMPLE", 1)
    root = phantom / "layouts" / "pairs"
    store = tmp_path / "store"
    prepare(PairsDataModule.from_root(root), store, workers=1)
    rows = pd.read_csv(root / "pairs.csv", dtype=str).to_dict("records")
    train = [row for row in rows if row["split"] == "train"]
    tests = [row for row in rows if row["split"] == "test"]
    named, pictured = train[0]["patient"], train[-1]["patient"]
    assert named != pictured
    tests[0] |= {"patient": named, "group": "x"}
    tests[1] |= {"image": "copy.jpg", "patient": "stranger", "group": "y"}
    downstream = tmp_path / "downstream"
    shutil.copytree(root, downstream)
    shutil.copy(root / train[-1]["image"], downstream / "copy.jpg")
    pd.DataFrame(tests).to_csv(downstream / "pairs.csv", index=False)
    command = ["check", "pairs", "--root", str(downstream), "--against", str(store)]
    command += ["--exclude_to", str(tmp_path / "exclude.json"), "--json", str(tmp_path / "report.json")]
    assert main(command) == 1
    result = json.loads((tmp_path / "report.json").read_text())
    found = {finding["kind"]: finding["items"] for finding in result["findings"]}
    assert result["failed"] and found["patient also in pre-training"] == [named]
    (picture,) = found["image also in pre-training (byte-identical)"]
    assert "copy.jpg" in picture
    assert json.loads((tmp_path / "exclude.json").read_text()) == sorted({named, pictured})
    data = PairsDataModule(str(store), exclude=[str(tmp_path / "exclude.json")], image_size=32)
    data.setup()
    assert data.index is not None and not set(data.index["patient"]) & {named, pictured}
    assert data.spec.dropped["excluded patient"] > 0
    ((manifest, patients),) = data.spec.excluded.items()
    assert patients == 2 and manifest.startswith("exclude.json (")
    assert main([*command[:6], "--against", str(root)]) == 1  # not a store


def test_value_vqa_rad_known_leaks(sample_data: Path) -> None:
    result = check("vqa_rad", sample_data / "vqa_rad", VQARADDataModule(str(sample_data / "vqa_rad")))
    assert result.failed and result.counts["images"] == 314
    assert len(items(result, "image in two splits")) == 203
    assert len(items(result, "test question with a twin in training (same image and answer)")) == 72
    assert len(items(result, "answer that is no text")) == 10 and len(items(result, "answer type with spaces")) == 2
    assert items(result, "unused image") == ["synpic35356.jpg"]
    messages = "\n".join(finding.message for finding in result.findings)
    assert "1,267 of 3,064 training questions are `frame`" in messages
    assert "47 test answers" in messages and "115 test answers" in messages


@pytest.mark.parametrize("name", ["pairs.jsonl", "metadata.csv"])
def test_value_covid_cxr_known_repeats(sample_data: Path, name: str) -> None:
    root = sample_data / "covid_cxr"
    result = check("pairs", root, PairsDataModule(str(root), table=name), decode_all=True)
    assert not result.failed
    assert len(items(result, "byte-identical images in one split")) == 6
    assert len(items(result, "near-duplicate pictures in one split")) == 4
    if name == "pairs.jsonl":
        (repeated,) = [finding.message for finding in result.findings if finding.kind == "repeated text"]
        assert "49 texts" in repeated and "110 samples" in repeated and "0 of them are in two splits" in repeated


def test_value_openi_statistics(sample_data: Path) -> None:
    root = sample_data / "openi_reports"
    result = check("openi", root, OpenIDataModule(str(root)))
    expected = {
        "reports": 3955,
        "with findings and impression": 3419,
        "with impression only": 502,
        "with findings only": 6,
        "with neither": 28,
        "median words of findings": 29,
        "median words of impression": 5,
        "reports with XXXX": 1855,
        "images named": 7470,
    }
    assert {name: result.counts[name] for name in expected} == expected and not result.failed
    assert any("53 have one text" in finding.message for finding in result.findings)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["check", "pears", "--root", "x"], 2, "did you mean 'pairs'"),
        (["check", "pairs"], 2, "root"),
        (["check", "pairs", "--root", "nowhere"], 1, "nowhere"),
        (["check", "vqa_rad", "--root", "nowhere"], 1, "nowhere"),
        (["check", "openi", "--root", "."], 1, "NLMCXR_reports.tgz"),
        (["check", "pairs", "--root", "x", "--data.tabel", "y"], 2, "tabel"),
    ],
)
def test_error_command_line(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert message in out + err and "Traceback" not in err
