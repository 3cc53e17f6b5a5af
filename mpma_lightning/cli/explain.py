"""Turns a long error message of jsonargparse into one line with the nearest correct spelling."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from data_modules.errors import nearest, suggest

_KEY = re.compile(r'Parser key "([^"]+)":')
_CLASS = re.compile(r"Problem with given class_path '([^']+)'")
# Sentences of jsonargparse that name the cause, the most specific first.
_CAUSES = [
    ("key", re.compile(r"Option '([^']+)' is not accepted")),
    ("key", re.compile(r"Group '([^']+)' does not accept option '([^']+)'")),
    ("key", re.compile(r"Subcommand '[^']+' does not accept option '([^']+)'")),
    ("key", re.compile(r"unrecognized arguments: --([^\s=]+)")),
    ("stray", re.compile(r"unrecognized arguments: (.+)")),
    ("file", re.compile(r"Expected a path but (\S+\.ya?ml) either not accessible or invalid")),
    ("class", re.compile(r"Expected a dot import path string: (\S+)")),
    ("import", re.compile(r"No module named|has no attribute")),
    ("group", re.compile(r'Unable to load config "([^"]+)"')),
    ("missing", re.compile(r"the following arguments are required: (.+)")),
    ("type", re.compile(r"Expected a (.+?)\. Got value: (.*)")),
]
_PLAIN = {
    "NoneType": "null",
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "list": "a list",
    "dict": "a mapping",
}


@dataclass(frozen=True)
class Explainer:
    """Explains the messages of one command.

    Args:
        command: ``fit``, …; dropped from the front of keys.
        bases: base class by key, for the keys that take a class, e.g. ``{"model": Task}``.
        options: dotted names of the options known before any class is chosen.
    """

    command: str
    bases: dict[str, type]
    options: list[str]

    def explain(self, message: str) -> str:
        """``message`` of an ``argparse.ArgumentError`` as one line."""
        lines = message.splitlines()
        for kind, pattern in _CAUSES:
            for number, line in enumerate(lines):
                if match := pattern.search(line):
                    above = list(_enclosing(lines, number))
                    key = ".".join(found[1] for found in map(_KEY.search, above) if found)
                    classes = [found[1] for found in map(_CLASS.search, above) if found]
                    text: str = getattr(self, f"_{kind}")(match, key, classes[-1] if classes else "")
                    return f"{key}: {text}" if key else text
        return self._choice(message)

    def _key(self, match: re.Match[str], at: str, class_path: str) -> str:
        key = ".".join(match.groups()).removeprefix(f"{self.command}.")
        if key == "class_path":
            return "the arguments of a class belong under init_args, beside class_path"
        if not class_path:
            return f"unknown key '{key}'{self._suggest_option(key)}"
        name = class_path.rpartition(".")[2]
        if name == "BackboneSpec" and (new := _new_names().get(key)):
            return f"'{key}' of a backbone is now '{new}', as in {_nested(new)}"
        if any(name == base.__name__ for base in self.bases.values()):
            return f"'{key}' is given before its class; name the class first (class_path, or an earlier --config)"
        return f"{name} has no argument '{key}'{suggest(key, _arguments_of(class_path))}"

    def _suggest_option(self, key: str) -> str:
        """The nearest option; beside a known group its members, else the nearest or all top-level keys."""
        head, dot, _ = key.partition(".")
        members = [option for option in self.options if option.startswith(f"{head}{dot}")] if dot else self.options
        return (
            suggest(key, members) if members else suggest(head, {option.partition(".")[0] for option in self.options})
        )

    def _stray(self, match: re.Match[str], at: str, class_path: str) -> str:
        hint = ", configs with --config" if self.bases else ""
        return f"unexpected argument {match[1]!r}; options start with --{hint}"

    def _file(self, match: re.Match[str], at: str, class_path: str) -> str:
        return f"file {match[1]} does not exist (paths count from the file that names them)"

    def _class(self, match: re.Match[str], at: str, class_path: str) -> str:
        return self._unknown_class(match[1], at)

    def _import(self, match: re.Match[str], at: str, class_path: str) -> str:
        return self._unknown_class(class_path, at)

    def _unknown_class(self, path: str, at: str) -> str:
        roots = [self.bases[at]] if at in self.bases else self.bases.values()
        known = {cls.__name__ for root in roots for cls in _family(root)}
        return f"unknown class '{path}'{suggest(path.rpartition('.')[2], known)}"

    def _group(self, match: re.Match[str], at: str, class_path: str) -> str:
        part = at.rpartition(".")[2]
        if class_path.endswith(".BackboneSpec") and (new := _new_names().get(part)):
            return f"expected a mapping, got {match[1]!r}; this is now '{new}', as in {_nested(new)}"
        return f"expected a mapping, got {match[1]!r}"

    def _missing(self, match: re.Match[str], at: str, class_path: str) -> str:
        missing = match[1].replace(f"{self.command}.", "")
        if class_path:
            return f"{class_path.rpartition('.')[2]} needs {missing}"
        hint = "; name an experiment with --config FILE, or set it on the command line" if self.bases else ""
        return f"missing: {missing}{hint}"

    def _type(self, match: re.Match[str], at: str, class_path: str) -> str:
        if choices := _choices([match[1]]):
            return _not_among(match[2], choices)
        return f"expected {_plain(match[1])}, got {match[2]!r}"

    def _choice(self, message: str) -> str:
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
    from importlib import import_module

    from jsonargparse import ArgumentParser

    module, _, name = class_path.rpartition(".")
    parser = ArgumentParser(exit_on_error=False)
    groups = parser.add_class_arguments(getattr(import_module(module), name), fail_untyped=False)
    return [*dict.fromkeys([*groups, *parser.get_defaults().keys()])]


def _family(root: type) -> Iterator[type]:
    children: list[type] = root.__subclasses__()
    for child in children:
        yield child
        yield from _family(child)


def _new_names() -> dict[str, str]:
    from mpma_lightning.backbones.flat_spec import NEW_NAMES  # imports torch, which the small commands do without

    return NEW_NAMES


def _nested(name: str) -> str:
    """``text.depth`` as YAML."""
    part, _, inner = name.partition(".")
    return f"{part}: {{{inner}: …}}"


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
