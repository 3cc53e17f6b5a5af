"""Matches annotation files to images: by the same relative path, else by a file name that is unique."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from data_modules.errors import UserError
from data_modules.index.files import same_name


def partners(images: Sequence[str], files: Sequence[str], kind: str) -> list[int | None]:
    """(len(images),) position of each image's file in ``files``; None where it has none.

    Tried in this order: the same path without its ending (of several, the file with the image's ending); the same file
    name without its ending, in any folder, if only one image and one file have it.

    Args:
        images: paths relative to the folder of the images.
        files: paths relative to theirs.
        kind: what the files are, for errors.

    Raises:
        UserError: two files could belong to one image, or two images to one file.
    """
    found: dict[int, int] = {}
    theirs = _by_key(files, _path)
    for path, own in _by_key(images, _path).items():
        candidates = theirs.get(path, [])
        for i in own:
            exact = [j for j in candidates if same_name(files[j]) == same_name(images[i])]
            if len(own) > 1 and len(exact) == 1:
                found[i] = exact[0]
            elif len(candidates) > 1:
                names = f"{files[candidates[0]]} and {files[candidates[1]]}"
                raise UserError(f"found {kind} {names}, expected one of this name; remove or rename one")
            elif candidates and len(own) > 1:
                raise UserError(
                    f"found images {images[own[0]]} and {images[own[1]]} and of {kind} only {files[candidates[0]]}, "
                    "expected one for each; rename one of the images"
                )
            elif candidates:
                found[i] = candidates[0]
    taken, ours, theirs = set(found.values()), _by_key(images, _stem), _by_key(files, _stem)
    for i, image in enumerate(images):
        named = theirs.get(_stem(image), [])
        if i in found or taken.issuperset(named):
            continue
        for what, rivals in (("images", [images[k] for k in ours[_stem(image)]]), (kind, [files[k] for k in named])):
            if len(rivals) > 1:
                raise UserError(
                    f"found {what} {rivals[0]} and {rivals[1]}: both have the name that is of image {image}; put "
                    f"{kind} into folders named as those of the images, or give every image a different name"
                )
        found[i] = named[0]
    return [found.get(i) for i in range(len(images))]


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
