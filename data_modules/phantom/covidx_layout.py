"""The phantom as COVIDx 9A and CXR-4: ``train/``, ``val/``, ``test/`` and the lists of both."""

from pathlib import Path

from data_modules.files import write_whole
from data_modules.phantom.layouts import link
from data_modules.phantom.truth import PhantomFilm


def write(films: list[PhantomFilm], out: Path) -> None:
    """Frontal films without a finding (normal), with pneumonia, or with diffuse edema, which stands in for COVID-19."""
    lists: dict[str, list[str]] = {"train": [], "test": []}
    own: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for film in films:
        name = None if film.view == "LATERAL" else _class(film.labels)
        if name is None:
            continue
        split = "test" if film.split == "test" else "train"
        link(film.image, out / split / f"{film.id}.jpg")
        lists[split].append(f"{film.patient} {film.id}.jpg {name} phantom")
        if film.split == "validate":
            link(film.image, out / "val" / f"{film.id}.jpg")
        kind = "positive" if name == "COVID-19" else "negative"
        own["val" if film.split == "validate" else film.split].append(f"{film.patient} {film.id}.jpg {kind} phantom")
    for split, lines in lists.items():
        write_whole(out / f"{split}_COVIDx9A.txt", "\n".join(lines) + "\n")
    for split, lines in own.items():
        write_whole(out / f"{split}.txt", "\n".join(lines) + "\n")


def _class(labels: dict[str, int]) -> str | None:
    if labels["No Finding"]:
        return "normal"
    if labels["Pneumonia"] + labels["Edema"] != 1:
        return None
    return "pneumonia" if labels["Pneumonia"] else "COVID-19"
