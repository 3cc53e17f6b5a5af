"""The phantom as CheXpert Plus: the table of reports, PNG images under names that end in .jpg, CheXbert's labels."""

import json
from collections import defaultdict
from pathlib import Path

from PIL import Image

from data_modules.files import write_whole
from data_modules.phantom.chexpert_layout import LABELS
from data_modules.phantom.tables import Row, write_table
from data_modules.phantom.truth import PhantomFilm
from data_modules.text.sections import split_sections

COLUMNS = (
    "path_to_image",
    "path_to_dcm",
    "frontal_lateral",
    "ap_pa",
    "deid_patient_id",
    "patient_report_date_order",
    "report",
    "section_findings",
    "section_impression",
    "split",
)


def write(films: list[PhantomFilm], out: Path) -> None:
    """Training and validation patients; the table has no test split."""
    studies: dict[str, list[str]] = defaultdict(list)
    views: dict[str, int] = defaultdict(int)
    numbers: dict[str, int] = {}
    rows: list[Row] = []
    labels: list[str] = []
    for film in (film for film in films if film.split != "test"):
        number = numbers.setdefault(film.patient, len(numbers) + 1)
        if film.study not in studies[film.patient]:
            studies[film.patient].append(film.study)
        views[film.study] += 1
        order = studies[film.patient].index(film.study) + 1
        split, side = (
            ("train" if film.split == "train" else "valid"),
            ("lateral" if film.view == "LATERAL" else "frontal"),
        )
        stem = f"{split}/patient{number:05d}/study{order}/view{views[film.study]}_{side}"
        target = out / "PNG" / f"{stem}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(film.image) as image:
            image.save(target)
        report = film.report.read_text()
        sections = dict(split_sections(report))
        name = f"{stem}.jpg"
        rows.append(
            {
                "path_to_image": name,
                "path_to_dcm": f"{stem}.dcm",
                "frontal_lateral": side.capitalize(),
                "ap_pa": "" if side == "lateral" else film.view,
                "deid_patient_id": f"patient{number:05d}",
                "patient_report_date_order": order,
                "report": report,
                "section_findings": sections.get("findings", ""),
                "section_impression": sections.get("impression", ""),
                "split": split,
            }
        )
        known = {label: float(film.labels[label]) if film.labels[label] else None for label in LABELS}
        labels.append(json.dumps({"path_to_image": name, **known}))
    write_table(out / "df_chexpert_plus_240401.csv", COLUMNS, rows)
    (out / "chexbert_labels").mkdir()
    write_whole(out / "chexbert_labels" / "report_fixed.json", "\n".join(labels) + "\n")
