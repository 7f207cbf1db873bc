"""Render templates of a package that extend the shared base template."""

import re
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from common.pages.tables import SIGNIFICANT, missing, ratio, verdict_of

DATE, UNBROKEN = re.compile(r"(\d{4}-\d{2}-\d{2})"), Markup('<span class="whole">{}</span>')


def render(package: str, template: str, **values: Any) -> str:
    """Render a page that extends ``base.html``; every value is escaped unless it is `markupsafe.Markup`.

    Parameters
    ----------
    package : dotted name of the package whose ``templates`` folder holds ``template``
    values : the values used by the template and ``base.html``: ``data`` (JSON values for the scripts, without
        NaN), ``plotly`` (plotly.js) and others

    Raises
    ------
    jinja2.UndefinedError
        If a value is missing.
    """
    return _environment(package).get_template(template).render(values)


@cache
def _environment(package: str) -> Environment:
    loader = ChoiceLoader([PackageLoader(package), PackageLoader("common.pages")])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.filters |= {"percent_signs": percent_signs, "dates": unbroken_dates, "number": format}
    environment.tests["missing"] = missing
    environment.globals |= {
        "days": days,
        "ratio": ratio,
        "verdict_of": verdict_of,
        "significant": SIGNIFICANT,
    }
    environment.globals["source"] = lambda name: loader.get_source(environment, name)[0]
    return environment


def script(code: str) -> str:
    """Escape JavaScript, so that it cannot end its script element."""
    return code.replace("</script", "<\\/script")


def days(horizon: float) -> str:
    return "1 day" if horizon == 1 else f"{horizon:.0f} days"


def percent_signs(text: str) -> str:
    """Keep percent signs on the line of their number."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def unbroken_dates(text: Any) -> Markup:
    """Keep dates on one line."""
    parts = enumerate(DATE.split(str(text)))
    return Markup("").join(UNBROKEN.format(part) if position % 2 else part for position, part in parts)
