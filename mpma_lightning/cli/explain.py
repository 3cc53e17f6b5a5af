"""Turns a long error message of jsonargparse into one line with the nearest correct spelling."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import NamedTuple

from data_modules.errors import nearest, suggest

_KEY = re.compile(r'Parser key "([^"]+)":')
_CLASS = re.compile(r"Problem with given class_path '([^']+)'")
_PLAIN = {
    "NoneType": "null",
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "list": "a list",
    "dict": "a mapping",
}
"""Types in words."""


class Cause(NamedTuple):
    """What a sentence of jsonargparse says: the groups of its pattern, the key that it is about, and the class that has
    this key as an argument ('': none has)."""

    found: tuple[str, ...]
    key: str
    class_path: str

    @property
    def class_name(self) -> str:
        return self.class_path.rpartition(".")[2]


@dataclass(frozen=True)
class Explainer:
    """Explains the messages of one command.

    Args:
        command: ``fit``, …; removed from the front of keys.
        bases: base class by key, for the keys that take a class, e.g. ``{"model": Task}``.
        options: dotted names of the options known before any class is chosen.
    """

    command: str
    bases: dict[str, type]
    options: list[str]

    def explain(self, message: str) -> str:
        """``message`` of an ``argparse.ArgumentError`` as one line."""
        lines = message.splitlines()
        for pattern, explanation in _RULES:
            for number, line in enumerate(lines):
                if match := re.search(pattern, line):
                    above = list(_enclosing(lines, number))
                    key = ".".join(found[1] for found in map(_KEY.search, above) if found)
                    classes = [found[1] for found in map(_CLASS.search, above) if found]
                    text = explanation(self, Cause(match.groups(), key, classes[-1] if classes else ""))
                    return f"{key}: {text}" if key else text
        return self._no_form_fits(message)

    def unknown_key(self, cause: Cause) -> str:
        key = ".".join(cause.found).removeprefix(f"{self.command}.")
        if key == "class_path":
            return "the arguments of a class belong under init_args, beside class_path"
        if not cause.class_path:
            return f"unknown key '{key}'{self._suggest_option(key)}"
        if cause.class_name == "BackboneSpec" and (new := _new_name(key)):
            return f"'{key}' of a backbone is now {new}"
        if any(cause.class_name == base.__name__ for base in self.bases.values()):
            return f"'{key}' is given before its class; name the class first (class_path, or an earlier --config)"
        return f"{cause.class_name} has no argument '{key}'{suggest(key, _arguments_of(cause.class_path))}"

    def _suggest_option(self, key: str) -> str:
        """The nearest option, or all options of a known group, or all top-level keys."""
        head, dot, _ = key.partition(".")
        top_level = {option.partition(".")[0] for option in self.options}
        if not dot:
            return nearest(key, self.options) or suggest(key, top_level)
        members = [option for option in self.options if option.startswith(f"{head}.")]
        return suggest(key, members) if members else suggest(head, top_level)

    def unexpected_word(self, cause: Cause) -> str:
        hint = ", configs with --config" if self.bases else ""
        return f"unexpected argument {cause.found[0]!r}; options start with --{hint}"

    def unknown_class(self, cause: Cause) -> str:
        path = cause.found[0] if cause.found else cause.class_path
        roots = [self.bases[cause.key]] if cause.key in self.bases else self.bases.values()
        known = {cls.__name__ for root in roots for cls in _subclasses(root)}
        return f"unknown class '{path}'{suggest(path.rpartition('.')[2], known)}"

    def no_mapping(self, cause: Cause) -> str:
        new = _new_name(cause.key.rpartition(".")[2]) if cause.class_name == "BackboneSpec" else None
        return f"expected a mapping, got {cause.found[0]!r}{f'; this is now {new}' if new else ''}"

    def missing(self, cause: Cause) -> str:
        names = cause.found[0].replace(f"{self.command}.", "")
        if cause.class_path:
            return f"{cause.class_name} needs {names}"
        hint = "; name an experiment with --config FILE, or set it on the command line" if self.bases else ""
        return f"missing: {names}{hint}"

    def wrong_type(self, cause: Cause) -> str:
        form, value = cause.found
        if choices := _choices([form]):
            return _not_among(value, choices)
        return f"expected {_plain(form)}, got {value!r}"

    def _no_form_fits(self, message: str) -> str:
        """A value that fits no member of a union: the key, the accepted forms, the value."""
        forms = list(dict.fromkeys(re.findall(r"- Expected an? (.+)", message)))
        given = re.search(r"Given value: (.*)", message)
        if not (forms and given):
            return one_line(message)
        key, value = ".".join(_KEY.findall(message)), given[1].strip()
        if choices := _choices(forms):
            return f"{key}: {_not_among(value, choices)}"
        wanted = "a class_path with init_args" if key in self.bases else " or ".join(map(_plain, forms))
        return f"{key}: expected {wanted}, got {value!r}"


_RULES: list[tuple[str, Callable[[Explainer, Cause], str]]] = [
    (r"Option '([^']+)' is not accepted", Explainer.unknown_key),
    (r"Group '([^']+)' does not accept option '([^']+)'", Explainer.unknown_key),
    (r"Subcommand '[^']+' does not accept option '([^']+)'", Explainer.unknown_key),
    (r"unrecognized arguments: --([^\s=]+)", Explainer.unknown_key),
    (r"unrecognized arguments: (.+)", Explainer.unexpected_word),
    (
        r"Expected a path but (\S+\.ya?ml) either not accessible or invalid",
        lambda _, cause: f"file {cause.found[0]} does not exist (paths count from the file that names them)",
    ),
    (r"Expected a dot import path string: (\S+)", Explainer.unknown_class),
    (r"No module named|has no attribute", Explainer.unknown_class),
    (r'Unable to load config "([^"]+)"', Explainer.no_mapping),
    (r"the following arguments are required: (.+)", Explainer.missing),
    (r"Expected a (.+?)\. Got value: (.*)", Explainer.wrong_type),
]
"""Sentences of jsonargparse and what they mean to a user; the first that occurs in a message explains it."""


def one_line(message: str) -> str:
    """White space to single spaces, at most 300 characters."""
    text = " ".join(message.split())
    return text if len(text) <= 300 else f"{text[:297]}…"


def _enclosing(lines: list[str], number: int) -> Iterator[str]:
    """The lines that a line is nested under, outermost first, and the line itself."""
    stack, depth = [lines[number]], _depth(lines[number])
    for line in reversed(lines[:number]):
        if line.strip() and _depth(line) < depth:
            stack.append(line)
            depth = _depth(line)
    return reversed(stack)


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" -"))


def _arguments_of(class_path: str) -> list[str]:
    """Dotted names of the arguments of a class, those of plain dataclasses included."""
    from jsonargparse import ArgumentParser

    module, _, name = class_path.rpartition(".")
    parser = ArgumentParser(exit_on_error=False)
    groups = parser.add_class_arguments(getattr(import_module(module), name), fail_untyped=False)
    return [*dict.fromkeys([*groups, *parser.get_defaults().keys()])]


def _subclasses(root: type) -> Iterator[type]:
    children: list[type] = root.__subclasses__()
    for child in children:
        yield child
        yield from _subclasses(child)


def _new_name(old: str) -> str | None:
    """How a field of ``BackboneSpec`` that has moved is written today."""
    from mpma_lightning.backbones.flat_spec import NEW_NAMES  # imports torch, which the small commands do without

    if old not in NEW_NAMES:
        return None
    part, _, inner = NEW_NAMES[old].partition(".")
    return f"'{NEW_NAMES[old]}', as in {part}: {{{inner}: …}}"


def _choices(forms: Iterable[str]) -> list[str]:
    """Of the literals among ``forms``."""
    literals = [form[form.index("[") + 1 : form.rindex("]")] for form in forms if "Literal[" in form]
    return list(dict.fromkeys(choice.strip(" '") for form in literals for choice in form.split(",")))


def _not_among(value: str, choices: list[str]) -> str:
    return f"unknown choice {value!r}{nearest(value, choices)} (one of {', '.join(choices)})"


def _plain(form: str) -> str:
    """A type in words: ``<class 'float'>`` is a number."""
    name = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", form)
    return _PLAIN.get(name, name)
