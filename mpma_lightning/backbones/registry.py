"""The registry of image encoders, text encoders, fusions and whole backbones, by name."""

import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import Any

from data_modules.errors import UserError, suggest

Builder = Callable[..., Any]
SETTINGS = {"backbone": "name", "image": "image.encoder", "text": "text.encoder", "fusion": "fusion.kind"}
"""The field of :class:`BackboneSpec` that names a builder, by kind."""


class Registry:
    """Builders by kind and name. A name that ends in ``/`` serves every name that begins with it, as ``timm/`` does.

    Args:
        package: every module of it is imported before the first look-up, so that what it registers is known.
    """

    def __init__(self, package: str) -> None:
        self._package, self._imported = package, False
        self._builders: dict[str, dict[str, tuple[Builder, str]]] = {kind: {} for kind in SETTINGS}

    def _known(self, kind: str) -> dict[str, tuple[Builder, str]]:
        if not self._imported:
            self._imported = True
            for module in pkgutil.iter_modules(import_module(self._package).__path__):
                import_module(f"{self._package}.{module.name}")
        return self._builders[kind]

    def register(self, kind: str, name: str) -> Callable[[Builder], Builder]:
        """Decorator: ``@REGISTRY.register("fusion", "cross")``; the first line of the docstring is the description."""

        def add(builder: Builder) -> Builder:
            summary = (builder.__doc__ or "").strip().splitlines()
            self._builders[kind][name] = (builder, summary[0] if summary else "")
            return builder

        return add

    def build(self, kind: str, name: str | None, *args: Any, **options: Any) -> Any:
        """Build ``name``; the builder of ``timm/`` receives the rest of the name as its first argument.

        Raises:
            UserError: no builder has that name.
        """
        known = self._known(kind)
        name = name or ""
        if name in known:
            return known[name][0](*args, **options)
        source, slash, rest = name.partition("/")
        if slash and rest and f"{source}/" in known:
            return known[f"{source}/"][0](rest, *args, **options)
        raise UserError(f"unknown {kind} '{name}'{suggest(name, known)} (a name that ends in / is a prefix)")

    def entries(self, kind: str) -> list[tuple[str, str]]:
        """Name and one-line description of everything registered under ``kind``, sorted."""
        return sorted((name, summary) for name, (_, summary) in self._known(kind).items())

    def names(self, kind: str) -> list[str]:
        """The exact names under ``kind``, sorted; without prefixes such as ``timm/``."""
        return [name for name, _ in self.entries(kind) if not name.endswith("/")]


def written(kind: str, name: str) -> str:
    """How a config names a part, below ``model.backbone``: ``image: {encoder: NAME}``."""
    part, _, field = SETTINGS[kind].partition(".")
    return f"{part}: {{{field}: {name}}}"


REGISTRY = Registry(__name__.rpartition(".")[0])
