"""Matches annotation files to images: by the same relative path, else by a file name that is unique."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from data_modules.errors import UserError
from data_modules.index.files import same_name


def partners(images: Sequence[str], files: Sequence[str], kind: str) -> list[int | None]:
    """(len(images),) place of each image's file among ``files``; ``None`` where it has none.

    A file of the same path in its folder comes first, of the same ending where several differ in that alone. Where
    that is wanting, the name alone decides if no other image and no other file has it.

    Args:
        images: paths relative to the folder of the images.
        files: paths relative to theirs.
        kind: what the files are, for errors.

    Raises:
        UserError: two files of one path, or two images that only the ending tells apart and one file; a file that only
            the name could tell, and two of that name.
    """
    whole = _by_key(files, same_name)
    places, namesakes = _by_key(files, _path), _by_key(images, _path)
    exact = [_exact(image, images, files, (whole, places, namesakes), kind) for image in images]
    taken = {same[0] for same in exact if same}
    ours, theirs = _by_key(images, _stem), _by_key(files, _stem)
    found: list[int | None] = []
    for image, same in zip(images, exact, strict=True):
        named = theirs.get(_stem(image), [])
        if same is None and not taken.issuperset(named):
            alike = ("images", [images[i] for i in ours[_stem(image)]]), (kind, [files[i] for i in named])
            for what, rival in alike:
                if len(rival) > 1:
                    raise UserError(
                        f"found {what} {rival[0]} and {rival[1]}: the name does not tell what is of image {image}; "
                        f"give {kind} the folders of their images, or every image a name of its own"
                    )
            same = named
        found.append(same[0] if same else None)
    return found


Places = dict[str, list[int]]


def _exact(
    image: str, images: Sequence[str], files: Sequence[str], places: tuple[Places, Places, Places], kind: str
) -> list[int] | None:
    """The file of the image's whole path, or of its path without the ending."""
    whole, bare, namesakes = places
    same, rivals = whole.get(same_name(image), []), bare.get(_path(image), [])
    if len(same) == 1 and (len(rivals) == 1 or len(namesakes[_path(image)]) > 1):
        rivals = same
    if len(rivals) > 1:
        names = f"{files[rivals[0]]} and {files[rivals[1]]}"
        raise UserError(f"found {kind} {names}, expected one of this name; remove or rename one")
    twins = namesakes[_path(image)]
    if rivals and len(twins) > 1 and not same:
        raise UserError(
            f"found images {images[twins[0]]} and {images[twins[1]]} and of {kind} only {files[rivals[0]]}: the name "
            "does not tell whose it is; rename one of the images"
        )
    return rivals or None


def _by_key(names: Sequence[str], key: Callable[[str], str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        found[key(name)].append(place)
    return dict(found)


def _path(name: str) -> str:
    path = PurePosixPath(same_name(name))
    return str(path.parent / path.stem)


def _stem(name: str) -> str:
    return PurePosixPath(same_name(name)).stem
