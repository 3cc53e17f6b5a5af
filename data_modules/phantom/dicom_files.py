"""A film of the phantom as a DICOM file: its JPEG bytes, encapsulated as they are."""

from pathlib import Path

from data_modules.phantom.truth import PhantomFilm


def write_dicom(film: PhantomFilm, target: Path) -> None:
    """8-bit MONOCHROME2 in JPEG baseline, as RSNA and SIIM ship theirs."""
    import pydicom
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit

    target.parent.mkdir(parents=True, exist_ok=True)
    header = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"  # secondary capture
    header.SOPInstanceUID = f"1.2.826.0.1.{int(film.id.replace('-', ''), 16) % 10**30}"
    header.PatientID, header.Modality, header.ViewPosition = film.patient, "CR", film.view
    header.Rows, header.Columns, header.SamplesPerPixel = film.rows, film.columns, 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 8, 8, 7, 0
    header.PixelData = encapsulate([film.image.read_bytes()])
    header.save_as(target, enforce_file_format=True)
