"""The phantom as COVIDx 9A: ``train/``, ``test/`` and the two lists."""

from pathlib import Path

from data_modules.files import write_whole
from data_modules.phantom.layouts import link
from data_modules.phantom.truth import PhantomFilm


def write(films: list[PhantomFilm], out: Path) -> None:
    """Frontal films without a finding (normal), with pneumonia, or with diffuse edema, which stands in for COVID-19."""
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for film in films:
        name = None if film.view == "LATERAL" else _class(film.labels)
        if name is None:
            continue
        split = "test" if film.split == "test" else "train"
        link(film.image, out / split / f"{film.id}.jpg")
        lists[split].append(f"{film.patient} {film.id}.jpg {name} phantom")
    for split, lines in lists.items():
        write_whole(out / f"{split}_COVIDx9A.txt", "\n".join(lines) + "\n")


def _class(labels: dict[str, int]) -> str | None:
    if labels["No Finding"]:
        return "normal"
    if labels["Pneumonia"] + labels["Edema"] != 1:
        return None
    return "pneumonia" if labels["Pneumonia"] else "COVID-19"
