"""DICOM: the documented ranges of real files, a window by hand, and the error path."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from data_modules.errors import UserError
from data_modules.images.dicom import read_dicom


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
