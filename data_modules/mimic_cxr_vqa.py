"""MIMIC-CXR-VQA: about 377,000 questions on MIMIC-CXR-JPG images, many with several answers or none."""

from typing import ClassVar

from data_modules.questions import QuestionsDataModule


class MIMICCXRVQADataModule(QuestionsDataModule):
    """``train.json``, ``valid.json``, ``test.json`` with answers; protocol ``mimic-cxr-vqa``.

    The root holds these files and MIMIC-CXR-JPG's ``files`` (or a link to it, or to ``mimic-cxr-jpg``). ``answer`` is a
    list: a prediction must give all of it. The released files that begin with ``_`` hold no answers; its builder adds
    them.
    """

    protocol = "mimic-cxr-vqa"
    images: ClassVar[tuple[str, ...]] = ("files", "mimic-cxr-jpg/files", ".")
