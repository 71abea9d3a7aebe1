"""Is every setting one that we know, and does it hold what it may? Each fault with its line or its variable."""

import difflib
import os
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from services.cli.checks.finding import Finding, failed, ok, warning
from services.cli.checks.places import Places
from shared.errors import InvalidConfiguration
from shared.settings.providers import ProviderSettings
from shared.settings.settings import CONFIG_VARIABLE, ENVIRONMENT_PREFIX, Settings

__all__ = ("check_configuration", "configuration_places")

_CHECK: Final = "configuration"
_DEFAULT_FILE: Final = "tailrace.toml"
_UNKNOWN: Final = "extra_forbidden"


def configuration_places(environment: Mapping[str, str]) -> Places:
    """Return the places where the settings of this process were written."""
    return Places.read(Path(environment.get(CONFIG_VARIABLE, _DEFAULT_FILE)), environment)


def check_configuration(environment: Mapping[str, str]) -> tuple[Settings | None, Sequence[Finding]]:
    """The settings, if they can be used, and one finding for each fault; what only looks wrong is a warning."""
    places = configuration_places(environment)
    faults = list(_syntax(places.path)) or [*_unknown_variables(environment), *_values(places)]
    if faults:
        return None, faults
    try:
        settings = Settings.load()
    except InvalidConfiguration as error:
        return None, [failed(_CHECK, error.message, "correct the variable or the line in the file")]
    return settings, [*_doubts(settings, places)] or [ok(_CHECK, _summary(settings, places))]


def _syntax(path: Path) -> Iterator[Finding]:
    try:
        tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if CONFIG_VARIABLE in os.environ:
            yield failed(
                _CHECK, f"{CONFIG_VARIABLE} names a file that is not there: {path}", f"unset {CONFIG_VARIABLE}"
            )
    except OSError as error:
        yield failed(_CHECK, f"{path} cannot be read: {error.strerror}", "let this user read it")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        yield failed(_CHECK, f"{path} is not TOML: {error}", "text stands in quotes, a list in [brackets]")


def _unknown_variables(environment: Mapping[str, str]) -> Iterator[Finding]:
    for name in Settings.unknown_variables(environment):
        known = [f"{ENVIRONMENT_PREFIX}{field.upper()}" for field in Settings.model_fields]
        yield failed(_CHECK, f"the variable {name} is no setting", _suggestion(name, known) or f"unset {name}")


def _values(places: Places) -> Iterator[Finding]:
    try:
        Settings()
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            yield _fault(problem, places)
    except ValueError as error:
        # A list in a variable that is no JSON. The words name the setting and repeat nothing of its value.
        yield failed(_CHECK, str(error), "lists in variables are JSON; a file is easier to write")


def _fault(problem: Any, places: Places) -> Finding:
    where = problem["loc"]
    name = str(where[-1]) if where else ""
    place = places.of(where) if where else str(places.path)
    prefix = f"{place}: " if place else ""
    if problem["type"] == _UNKNOWN:
        model = ProviderSettings if where[0] == "providers" else Settings
        fix = _suggestion(name, list(model.model_fields)) or "docs/settings.md lists every setting"
        return failed(_CHECK, f"{prefix}{name} is no setting", fix)
    return failed(_CHECK, f"{prefix}{name}: {problem['msg']}".replace(": : ", ": "), "docs/settings.md has its values")


def _suggestion(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return f"did you mean {close[0]}?" if close else ""


def _doubts(settings: Settings, places: Places) -> Iterator[Finding]:
    for variable, line in places.said_twice():
        yield warning(_CHECK, f"{variable} overrules {line}", f"unset {variable}, or take the line out")
    names = Counter(provider.name for provider in settings.providers)
    for name in (name for name, count in names.items() if count > 1):
        lines = [places.of(("providers", at)) for at, each in enumerate(settings.providers) if each.name == name]
        yield warning(_CHECK, f"{len(lines)} providers are called {name} ({', '.join(lines)})", "name one otherwise")


def _summary(settings: Settings, places: Places) -> str:
    variables = sum(places.is_variable((name,)) for name in settings.model_fields_set)
    file = f"{len(places.lines)} lines of {places.path}" if places.lines else f"no {places.path}"
    return f"every setting is known: {file}, {variables} from variables"
