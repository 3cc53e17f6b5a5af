"""Turns exceptions of other packages that a user's mistake causes into errors of one line."""

import argparse
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from traceback import walk_tb

from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf.errors import OmegaConfBaseException

from data_modules.errors import UsageError, UserError
from mpma_lightning.cli.explain import Explainer, one_line


@contextmanager
def one_line_errors(subcommand: str, explainer: Callable[[], Explainer]) -> Iterator[None]:
    """Turn exceptions that a user's mistake causes in other packages into UserError and UsageError.

    Args:
        subcommand: dropped from the front of keys.
        explainer: builds the object that explains errors of the parser.
    """
    try:
        yield
    except argparse.ArgumentError as error:
        raise UsageError(explainer().explain(str(error))) from None
    except OmegaConfBaseException as error:
        raise UsageError(_explain_reference(str(error), subcommand)) from None
    except MisconfigurationException as error:
        raise UserError(one_line(str(error))) from None
    except ValueError as error:
        raise _user_error_behind(error) or _missing_package(error) or _error_of_lightning(error) or error from None


def _user_error_behind(error: BaseException) -> UserError | None:
    """The UserError of a constructor, or what one says that misses its package, as that of WandbLogger; jsonargparse
    wraps it into errors about types."""
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, UserError):
            return behind
        if isinstance(behind, ModuleNotFoundError) and behind.name is None:  # with a name, an import has failed
            return UserError(one_line(str(behind)))
        behind = behind.__cause__ or behind.__context__
    return None


def _missing_package(error: ValueError) -> UserError | None:
    """What jsonargparse says of a class in a list, such as one of several loggers, whose package is not there."""
    found = re.search(r"class_path '[\w.]*?(\w+)':\s*(Requirement [^\n]*not met[^\n]*)", str(error))
    return UserError(one_line(f"{found[1]}: {found[2]}")) if found else None


def _error_of_lightning(error: ValueError) -> UserError | None:
    """A ValueError of Lightning is about a setting, such as more steps between validations than an epoch has."""
    *_, last = walk_tb(error.__traceback__)
    inside = last[0].f_globals["__name__"].startswith("lightning.")
    return UserError(f"trainer: {one_line(str(error))}") if inside else None


def _explain_reference(message: str, subcommand: str) -> str:
    """``model.init_args.width: ${data.size} refers to a key that does not exist``."""
    place = re.search(r"full_key: (\S+)", message)
    where = f"{place[1].removeprefix(f'{subcommand}.')}: " if place else ""
    target = re.search(r"resolved to '([^']+)'", message) or re.search(r"Interpolation key '([^']+)'", message)
    if target is None:
        return f"{where}{one_line(message.partition('full_key')[0])}"
    name = target[1].removeprefix(f"{subcommand}.")
    return f"{where}${{{name}}} refers to a key that does not exist (in a part file, keys count from that file's top)"
