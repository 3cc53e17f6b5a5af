"""DICOM: the documented ranges of real files, a window by hand, and the error path."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from data_modules.errors import UserError
from data_modules.images.decode import decode


def read_dicom(path: Path) -> np.ndarray:
    return decode(path, path)


def test_value_real_files(sample_data: Path) -> None:
    folder = sample_data / "dicom_samples"
    for name, shape, low, high in (("RG1_J2KI", (1955, 1841), 803, 26512), ("RG3_J2KI", (1760, 1760), 0, 1023)):
        stored = pydicom.dcmread(folder / f"{name}.dcm").pixel_array
        assert sorted(stored.shape) == sorted(shape) and (stored.min(), stored.max()) == (low, high)
        image = read_dicom(folder / f"{name}.dcm")
        assert image.dtype == np.uint8 and image.shape == stored.shape
        assert image[stored == low].min() > image[stored == high].max()  # MONOCHROME1 is inverted


def test_error_no_pixel_data(sample_data: Path) -> None:
    with pytest.raises(UserError, match=r"chrKoreanMulti.dcm: found a DICOM header without pixel data"):
        read_dicom(sample_data / "dicom_samples" / "chrKoreanMulti.dcm")


def test_error_not_dicom(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"no")
    with pytest.raises(UserError, match=r"a.dcm: not a DICOM file"):
        read_dicom(tmp_path / "a.dcm")


@pytest.mark.parametrize(("kind", "expected"), [("MONOCHROME2", [0, 0, 128, 255]), ("MONOCHROME1", [255, 255, 127, 0])])
def test_value_window(tmp_path: Path, kind: str, expected: list[int]) -> None:
    """12 bits; window centre 2000.5, width 1001: 1500 is black, 2000 the middle, 2500 white."""
    header = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3"
    header.Rows, header.Columns, header.SamplesPerPixel, header.PhotometricInterpretation = 1, 4, 1, kind
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    header.WindowCenter, header.WindowWidth = 2000.5, 1001
    header.PixelData = np.array([[0, 1500, 2000, 2500]], "<u2").tobytes()
    header.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert read_dicom(tmp_path / "a.dcm")[0].tolist() == expected


def radiograph(path: Path, values: np.ndarray, **elements: object) -> Path:
    """A MONOCHROME2 file of 16 bits, ``elements`` on top."""
    header = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3"
    header.Rows, header.Columns = values.shape
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 0
    for name, value in elements.items():
        setattr(header, name, value)
    header.PixelData = values.astype("<u2").tobytes()
    header.save_as(path, enforce_file_format=True)
    return path


RAMP = np.arange(0, 4096, 64).reshape(8, 8)


def voi_table(bits: int) -> list[pydicom.Dataset]:
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, bits])
    item.add_new("LUTData", "OW", np.arange(4096, dtype="<u2").tobytes())
    return [item]


def test_value_a_table_that_announces_more_bits_than_it_has(tmp_path: Path) -> None:
    films = [read_dicom(radiograph(tmp_path / "a.dcm", RAMP, VOILUTSequence=voi_table(bits))) for bits in (12, 16)]
    assert (films[0] == films[1]).all() and films[0].max() >= 250


def test_value_padding_does_not_squeeze_the_film(tmp_path: Path) -> None:
    padded = RAMP.copy()
    padded[0] = 65535
    plain = read_dicom(radiograph(tmp_path / "a.dcm", RAMP[1:]))
    for kind in ("MONOCHROME2", "MONOCHROME1"):
        film = read_dicom(
            radiograph(tmp_path / "b.dcm", padded, PixelPaddingValue=65535, PhotometricInterpretation=kind)
        )
        assert (film[0] == 0).all() and (film[1:] == (plain if kind == "MONOCHROME2" else 255 - plain)).all()


def test_value_a_window_narrower_than_one(tmp_path: Path) -> None:
    scaled = {"RescaleSlope": 1 / 4096, "RescaleIntercept": 0, "WindowCenter": 0.5, "WindowWidth": 0.5}
    film = read_dicom(radiograph(tmp_path / "a.dcm", RAMP, **scaled)).astype(float)
    expected = np.clip((RAMP / 4096 - 0.5) / 0.5 + 0.5, 0, 1) * 255
    assert np.abs(film - expected).max() <= 1


def test_error_headers(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.dcm: found window width -4096, expected more than 0"):
        read_dicom(radiograph(tmp_path / "a.dcm", RAMP, WindowCenter=2048, WindowWidth=-4096))
    table = voi_table(16)
    del table[0].LUTData
    with pytest.raises(UserError, match=r"a\.dcm: found pixels that its header does not fit"):
        read_dicom(radiograph(tmp_path / "a.dcm", RAMP, VOILUTSequence=table))
    with pytest.raises(UserError, match="image not found"):
        read_dicom(tmp_path / "absent.dcm")


def test_error_a_deflated_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = radiograph(tmp_path / "a.dcm", RAMP)
    header = pydicom.dcmread(path)
    header.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    header.save_as(tmp_path / "deflated.dcm", enforce_file_format=True)
    assert (read_dicom(tmp_path / "deflated.dcm") == read_dicom(path)).all()
    header.PatientComments = "x" * 60_000
    header.save_as(tmp_path / "bomb.dcm", enforce_file_format=True)
    monkeypatch.setattr("data_modules.images.dicom.MOST_BYTES", 50_000)
    with pytest.raises(UserError, match=r"bomb\.dcm: unpacks to more than 50,000 bytes, the limit"):
        read_dicom(tmp_path / "bomb.dcm")
    monkeypatch.setattr("data_modules.images.dicom.MOST_PIXELS", 63)
    with pytest.raises(UserError, match=r"a\.dcm: found 64 pixels, expected at most 63"):
        read_dicom(path)


def test_value_table_cases(sample_cases: Path) -> None:
    films = {path.stem: read_dicom(path) for path in (sample_cases / "dicom_lut/images").iterdir()}
    assert (films["agfa"] == films["right"]).all() and films["agfa"].max() == 255
    assert films["padded"].max() == 255 and (films["inverse_shape"] == 255 - films["right"]).all()
    windows = sample_cases / "dicom_windows/images"
    assert read_dicom(windows / "fraction_window.dcm").max() == 255
    with pytest.raises(UserError, match="window width -4096"):
        read_dicom(windows / "negative_window.dcm")
