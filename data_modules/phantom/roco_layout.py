"""The phantom as ROCO v1: captions.txt, licences.txt, images and the rest in `data/<split>/radiology/`."""

from pathlib import Path

from data_modules.files import write_whole
from data_modules.phantom.layouts import link
from data_modules.phantom.truth import PhantomFilm

SPLITS = {"train": "train", "validate": "validation", "test": "test"}
LOST = 97
"""One image in so many was never downloaded."""


def write(films: list[PhantomFilm], out: Path) -> None:
    """A figure a film, an article a patient; captions begin with a space, and some images are absent."""
    articles = {patient: 4_000_000 + i for i, patient in enumerate(sorted({film.patient for film in films}))}
    for split, folder in SPLITS.items():
        base = out / "data" / folder / "radiology"
        (base / "images").mkdir(parents=True)
        lines: dict[str, list[str]] = {name: [] for name in ("captions", "keywords", "cuis", "semtypes", "dlinks")}
        licences = ["ROCO_ID,PMC_ID,CC"]
        for number, film in enumerate(films, start=1):
            if film.split != split:
                continue
            name, article = f"ROCO_{number:05d}", f"PMC{articles[film.patient]}"
            figure = f"phantom-{article[3:]}-g{number % 10:03d}.jpg"
            words = sorted({finding["name"].lower() for finding in film.findings})
            lines["captions"].append(f"{name}\t {caption(film)}")
            lines["keywords"].append("\t".join([name, "", *words]))
            lines["cuis"].append(f"{name}\t")
            lines["semtypes"].append(f"{name}\t")
            archive = f"ftp://ftp.ncbi.nlm.nih.gov/pub/pmc/oa_package/00/00/{article}.tar.gz"
            lines["dlinks"].append(f"{name}\twget -r {archive} -P .\t{figure}")
            licences.append(f"{name},{article}_{figure},CC0")
            if number % LOST:
                link(film.image, base / "images" / f"{name}.jpg")
        for file, rows in lines.items():
            write_whole(base / f"{file}.txt", "".join(f"{row}\n" for row in rows))
        write_whole(base / "licences.txt", "\n".join(licences) + "\n")


def caption(film: PhantomFilm) -> str:
    """What the figure shows, as a legend would say it."""
    view = {"PA": "Posteroanterior", "AP": "Anteroposterior", "LATERAL": "Lateral"}[film.view]
    phrases = [str(finding["phrase"]) for finding in film.findings]
    if not phrases:
        return f"{view} chest radiograph without abnormal findings."
    head, last = ", ".join(phrases[:-1]), phrases[-1]
    return f"{view} chest radiograph showing {f'{head} and {last}' if head else last}."
