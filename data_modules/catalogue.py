"""Data sets by the name that `check` and `prepare` take."""

from importlib import import_module
from typing import TYPE_CHECKING

from data_modules.errors import UsageError, suggest

if TYPE_CHECKING:
    from data_modules.base import DataModule

DATA_MODULES = {
    "annotated": "AnnotatedDataModule",
    "chestx_det": "ChestXDetDataModule",
    "chexpert": "CheXpertDataModule",
    "chexpert_500": "CheXpert500DataModule",
    "chexpert_plus": "CheXpertPlusDataModule",
    "covidx": "COVIDxDataModule",
    "cxr_lt": "CXRLTDataModule",
    "mimic_cxr": "MIMICCXRDataModule",
    "mimic_cxr_expert": "MIMICCXRExpertDataModule",
    "mimic_cxr_vqa": "MIMICCXRVQADataModule",
    "ms_cxr": "MSCXRDataModule",
    "ms_cxr_t": "MSCXRTDataModule",
    "nih_chestxray14": "NIHChestXray14DataModule",
    "nih_google": "NIHGoogleDataModule",
    "openi": "OpenIDataModule",
    "padchest": "PadChestDataModule",
    "padchest_gr": "PadChestGRDataModule",
    "pairs": "PairsDataModule",
    "path_vqa": "PathVQADataModule",
    "pmc_vqa": "PMCVQADataModule",
    "questions": "QuestionsDataModule",
    "rexgradient": "ReXGradientDataModule",
    "roco": "ROCODataModule",
    "rsna_pneumonia": "RSNAPneumoniaDataModule",
    "siim_pneumothorax": "SIIMPneumothoraxDataModule",
    "slake": "SLAKEDataModule",
    "vindr_cxr": "VinDrCXRDataModule",
    "vqa_med_2019": "VQAMed2019DataModule",
    "vqa_rad": "VQARADDataModule",
    "web_shards": "WebShardsDataModule",
}
"""Module of this package -> its class."""


def data_module(name: str) -> "type[DataModule]":
    """The class of a data set; UsageError with the nearest name."""
    if name not in DATA_MODULES:
        raise UsageError(f"found data set {name!r}, expected a known one{suggest(name, DATA_MODULES)}")
    return getattr(import_module(f"data_modules.{name}"), DATA_MODULES[name])
