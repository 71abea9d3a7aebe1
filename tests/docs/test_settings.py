"""docs/settings.md says of every setting what it is."""

import pytest

from shared.settings.providers import ProviderSettings
from shared.settings.settings import Settings
from tests.docs.settings_page import PAGE, settings_page

__all__ = ()


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == settings_page(), "python -m tests.docs.settings_page"


@pytest.mark.parametrize("name", [*Settings.model_fields, *ProviderSettings.model_fields])
def test_every_setting_is_described(name: str) -> None:
    described = {**Settings.model_fields, **ProviderSettings.model_fields}
    assert described[name].description
    assert f"| `{name}` |" in PAGE.read_text()
