"""The registry of image encoders, text encoders, fusions and whole backbones, by name."""

from collections.abc import Callable
from typing import Any

from data_modules.errors import UserError, suggest

Builder = Callable[..., Any]
KINDS = ("backbone", "image", "text", "fusion")


class Registry:
    """Builders by kind and name. A name that ends in ``/`` serves every name that begins with it, as ``timm/`` does."""

    def __init__(self) -> None:
        self._builders: dict[str, dict[str, tuple[Builder, str]]] = {kind: {} for kind in KINDS}

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
        known = self._builders[kind]
        name = name or ""
        if name in known:
            return known[name][0](*args, **options)
        source, slash, rest = name.partition("/")
        if slash and rest and f"{source}/" in known:
            return known[f"{source}/"][0](rest, *args, **options)
        raise UserError(f"unknown {kind} '{name}'{suggest(name, known)} (a name that ends in / is a prefix)")

    def entries(self, kind: str) -> list[tuple[str, str]]:
        """Name and one-line description of everything registered under ``kind``, sorted."""
        return sorted((name, summary) for name, (_, summary) in self._builders[kind].items())


REGISTRY = Registry()
