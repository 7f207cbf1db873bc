"""``nsecast card``: a stock's forecast in plain words, in English and Swahili."""

import datetime as dt
import json
from typing import Annotated, Literal, get_args

import typer

from common.options import Home, ReleaseName
from serve.card.card import make_card
from serve.card.text import Language, card_text
from serve.cli.predict import HORIZONS, parse_horizon
from serve.forecaster import Forecaster
from serve.schemas.forecast import Horizon


def card(
    symbol: Annotated[str, typer.Argument(help="A stock by symbol or name, such as SCOM.")],
    horizon: Annotated[
        Horizon | None,
        typer.Option(parser=parse_horizon, metavar=HORIZONS, help="Trading days ahead; default: all."),
    ] = None,
    lang: Annotated[Literal["en", "sw", "both"], typer.Option(help="English, Swahili or both.")] = "both",
    as_of: Annotated[
        dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="As known on the evening of that day.")
    ] = None,
    release: ReleaseName = "production",
    home: Home = None,
    as_json: Annotated[bool, typer.Option("--json", help="The numbers and the texts, for machines.")] = False,
) -> None:
    """Show a stock's forecasts, the errors of such forecasts so far, and reasons for caution."""
    forecaster = Forecaster.from_release(release, home)
    horizons = [horizon] if horizon else None
    content = make_card(forecaster, symbol, horizons, as_of=as_of.date() if as_of else None)
    languages: tuple[Language, ...] = get_args(Language) if lang == "both" else (lang,)
    texts = {language: card_text(content, language) for language in languages}
    if as_json:
        typer.echo(
            json.dumps(content.model_dump(mode="json") | {"text": texts}, indent=1, ensure_ascii=False)
        )
    else:
        typer.echo("\n\n".join(texts.values()))
