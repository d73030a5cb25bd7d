"""Texts and pages from templates that lie beside the code."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2


def render(
    template: Path,
    values: Mapping[str, Any],
    *,
    autoescape: bool = False,
    filters: Mapping[str, Callable[[str], str]] | None = None,
) -> str:
    """Fill in a template; a value that is missing is an error.

    Args:
        autoescape: escape the values for HTML.
        filters: what the template may apply to a text, by name.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= filters or {}
    return environment.get_template(template.name).render(values)
