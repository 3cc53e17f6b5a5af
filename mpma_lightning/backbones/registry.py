"""The one registry: names of image, text, fusion and alignment parts and of whole backbones."""

import difflib
from collections.abc import Callable
from typing import Any

from data_modules.errors import UserError

Builder = Callable[..., Any]
KINDS = ("backbone", "image", "text", "fusion")


class Registry:
    """Names to builders, by kind. A name ending in ``/`` is a source: it serves every name that begins with it."""

    def __init__(self) -> None:
        self._builders: dict[str, dict[str, tuple[Builder, str]]] = {kind: {} for kind in KINDS}

    def register(self, kind: str, name: str) -> Callable[[Builder], Builder]:
        """Decorator: ``@REGISTRY.register("fusion", "cross")``; the docstring's first line is the description."""

        def add(builder: Builder) -> Builder:
            summary = (builder.__doc__ or "").strip().splitlines()
            self._builders[kind][name] = (builder, summary[0] if summary else "")
            return builder

        return add

    def build(self, kind: str, name: str | None, *args: Any, **options: Any) -> Any:
        """Build ``name``; a source such as ``timm/`` receives the rest of the name as its first argument."""
        known = self._builders[kind]
        name = name or ""
        if name in known:
            return known[name][0](*args, **options)
        source, slash, rest = name.partition("/")
        if slash and rest and f"{source}/" in known:
            return known[f"{source}/"][0](rest, *args, **options)
        near = difflib.get_close_matches(name, list(known), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise UserError(
            f"unknown {kind} '{name}'{hint} Known: {', '.join(sorted(known))} (a name ending in / takes more)"
        )

    def entries(self, kind: str) -> list[tuple[str, str]]:
        """(name, one-line description) of everything registered under ``kind``, sorted."""
        return sorted((name, summary) for name, (_, summary) in self._builders[kind].items())


REGISTRY = Registry()
