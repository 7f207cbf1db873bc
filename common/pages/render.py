"""Render the templates of a package on top of the shared base template."""

import re
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from common.pages.tables import SIGNIFICANT, missing, ratio, verdict_of

DATE, UNBROKEN = re.compile(r"\d{4}-\d{2}-\d{2}"), r'<span class="whole">\g<0></span>'


def render(package: str, template: str, **values: Any) -> str:
    """Render a page that extends ``base.html``; every value is escaped unless it is `markupsafe.Markup`.

    Parameters
    ----------
    package : dotted name of the package whose ``templates`` folder holds ``template``
    values : what the template and ``base.html`` use: ``data`` (JSON values for the page's programs, without
        NaN), ``plotly`` (plotly.js) and the template's own

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
    environment.globals["source"] = lambda name: Markup(loader.get_source(environment, name)[0])
    return environment


def script(code: str) -> Markup:
    """JavaScript that cannot end the element it stands in."""
    return Markup(code.replace("</script", "<\\/script"))


def days(horizon: float) -> str:
    return "1 day" if horizon == 1 else f"{horizon:.0f} days"


def percent_signs(text: str) -> str:
    """Keep a percent sign on the line of its number."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def unbroken_dates(text: Any) -> Markup:
    """Keep a date on one line."""
    return Markup(DATE.sub(UNBROKEN, str(escape(text))))
