"""The forecast card: every number is the answer's, in both languages, and every caveat has its sentence."""

import datetime as dt
import json
import re
import string
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from support.releases.loaded_release import SETTINGS, TODAY
from support.releases.release import doctored, made_release
from typer.testing import CliRunner

from common.errors import UnknownSymbol
from common.prices.panel import Panel
from common.release.registry import Registry
from serve.card.card import WIDE, Card, make_card
from serve.card.text import Language, card_text, templates
from serve.cli.card import card as command
from serve.forecaster import Forecaster
from serve.inference import caveats
from serve.inference import response as answers
from serve.schemas.forecast import days_of

LANGUAGES = get_args(Language)
OF_BROUGHT_PRICES = {"unknown_symbol", "market_unknown", "closes_only", "dates_assumed", "clipped"}
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    made_release(home, **SETTINGS)
    made_release(home, "plain", preset="v4_log")
    Registry(home).promote("made")
    return home


@pytest.fixture(scope="module")
def forecaster(home):
    return Forecaster.from_release("made", home)


def numbers(line: str) -> list[str]:
    return NUMBER.findall(line)


def lines_of(text: str, words: dict[str, Any]) -> tuple[list[str], list[str], list[str]]:
    """The list items below each heading."""
    items = [line for line in text.splitlines() if line.startswith("  - ")]
    heads = text.splitlines()
    expect = heads.index(words["expect"]["heading"])
    past = next(n for n, line in enumerate(heads) if line.startswith(words["past"]["heading"].split("{")[0]))
    caution = heads.index(words["cautions"]["heading"])
    count = past - expect - 1
    assert count == caution - past - 1
    return items[:count], items[count : 2 * count], items[2 * count :]


@settings(max_examples=40, deadline=None)
@given(
    symbol=st.sampled_from(["MOVES", "THIN", "GAPS", "SPLITS", "FROZEN"]),
    day=st.none() | st.dates(dt.date(2021, 6, 1), dt.date(2022, 3, 20)),
    language=st.sampled_from(LANGUAGES),
)
def test_every_number_of_the_text_is_the_answers(forecaster, symbol, day, language):
    text = card_text(make_card(forecaster, symbol, as_of=day, today=TODAY), language)
    expect, past, _ = lines_of(text, templates(language))
    matrix = forecaster.matrix().set_index(["symbol", "horizon"])
    for horizon, forecast, error in zip(forecaster.horizons, expect, past, strict=True):
        answer = forecaster.one(symbol, horizon, as_of=day)
        target = answer.target_date
        should = [str(days_of(horizon)), str(target.day), str(target.year), f"{answer.prediction:,.2f}"]
        if round(answer.change_percent, 1):
            should.append(f"{abs(answer.change_percent):.1f}")
        bounds = answer.confidence_interval
        if bounds and bounds.lower < bounds.upper:
            should += [f"{bounds.lower:,.2f}", f"{bounds.upper:,.2f}"]
        probabilities = (answer.probability_up, answer.probability_unchanged, answer.probability_down)
        should += [f"{100 * value:.0f}" for value in probabilities]
        assert numbers(forecast) == should
        row, should = matrix.loc[(symbol, horizon)], [str(days_of(horizon))]
        if row["n"]:
            should += [f"{row['mape']:.2f}", f"{row['naive_mape']:.2f}"]
            should += [f"{100 * row['cover90']:.0f}", "100"]
        assert numbers(error) == should
    last = forecaster.one(symbol, as_of=day)
    assert f"{last.last_price:,.2f}" in text.splitlines()[2]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_invented_says_so_in_the_first_line(forecaster, language):
    first = card_text(make_card(forecaster, "MOVES", today=TODAY), language).splitlines()[0]
    assert first.startswith({"en": "SYNTHETIC DATA", "sw": "DATA YA KUBUNI"}[language])


def codes(card: Card) -> set[str]:
    return {caution.code for caution in card.cautions}


def test_a_price_that_stands_still_is_no_forecast_and_has_no_range(forecaster):
    card = make_card(forecaster, "FROZEN", today=TODAY)
    assert "frozen" in codes(card) and {each.confidence for each in card.outlook} == {"low"}
    text = card_text(card, "en")
    assert f"has not moved for {forecaster.loaded.spec.size} trading days" in text and "between" not in text


def test_old_prices_are_counted_in_sessions(forecaster):
    end = forecaster.loaded.data_end
    (caution,) = [
        each for each in make_card(forecaster, "MOVES", today=TODAY).cautions if each.code == "old_data"
    ]
    weekdays = sum((end + dt.timedelta(n)).weekday() < 5 for n in range(1, (TODAY - end).days + 1))
    assert caution.values == {"date": end, "sessions": weekdays}
    assert "old_data" not in codes(make_card(forecaster, "MOVES", today=end))


def test_a_last_price_that_is_days_old_is_stale_by_as_many_sessions(tmp_path):
    def without_the_last_seven(folder: Path) -> None:
        panel = Panel.load(folder / "panel.parquet")
        gone = (panel.frame["symbol"] == "THIN") & (panel.frame["date"] >= panel.dates[-7])
        Panel.from_frame(panel.frame[~gone], panel.source).save(folder / "panel.parquet")

    doctored(made_release(tmp_path, **SETTINGS), without_the_last_seven)
    card = make_card(Forecaster.from_release("made", tmp_path), "THIN", today=TODAY)
    (caution,) = [each for each in card.cautions if each.code == "stale"]
    assert caution.values == {"date": card.last_date, "sessions": 7}
    written = f"{card.last_date.day} {card.last_date:%B %Y}"
    assert f"The last price is of {written}, 7 trading days ago." in card_text(card, "en")


def test_a_wide_range_is_named_with_its_horizons(forecaster):
    for symbol in ("MOVES", "THIN", "GAPS", "SPLITS"):
        card = make_card(forecaster, symbol, today=TODAY)
        widths = {
            days_of(each.horizon): (each.upper - each.lower) / card.last_price
            for each in card.outlook
            if each.lower is not None
        }
        too_wide = [days for days, width in widths.items() if width > WIDE]
        found = [each.values for each in card.cautions if each.code == "wide"]
        assert [each["horizons"] for each in found] == ([too_wide] if too_wide else [])
        if too_wide:
            assert found[0]["percent"] == pytest.approx(100 * max(widths.values()))
            assert f"up to {100 * max(widths.values()):.0f} % of the last price" in card_text(card, "en")


def test_a_model_without_a_range_says_so(home):
    card = make_card(Forecaster.from_release("plain", home), "MOVES", today=TODAY)
    assert "no_range" in codes(card) and card.outlook[0].lower is None
    assert "This model has no range of prices." in card_text(card, "en")


def test_both_languages_have_the_same_sentences_with_the_same_blanks():
    def blanks(words: Any) -> Any:
        if isinstance(words, dict):
            return {name: blanks(value) for name, value in words.items()}
        if isinstance(words, list):
            return len(words)
        return {name for _, name, _, _ in string.Formatter().parse(words) if name}

    english, swahili = map(templates, LANGUAGES)
    assert blanks(english) == blanks(swahili)
    assert all(english[part] != swahili[part] for part in ("last", "expect", "past", "cautions", "release"))


def test_every_caveat_of_an_answer_from_the_releases_own_prices_has_a_sentence():
    source = "".join(Path(module.__file__).read_text() for module in (answers, caveats))
    known = set(re.findall(r'\(\s*"([a-z_]+)",', source)) | set(re.findall(r'code="([a-z_]+)"', source))
    assert {"stale", "frozen", "synthetic"} <= known
    assert known - OF_BROUGHT_PRICES <= templates("en")["cautions"].keys()


def test_the_command_prints_both_languages_or_one_and_json_holds_numbers_and_texts(home):
    app = typer.Typer()
    app.command()(command)

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, [*words, "--home", str(home)])

    both = run("moves")
    assert both.exit_code == 0, both.output
    assert "What to expect" in both.stdout and "Kinachotarajiwa" in both.stdout
    assert "Kinachotarajiwa" not in run("MOVES", "--lang", "en").stdout
    found = json.loads(run("MOVES", "--horizon", "5d", "--as-of", "2022-01-10", "--json").stdout)
    assert [each["horizon"] for each in found["outlook"]] == ["5d"] and found["text"].keys() == {"en", "sw"}
    assert Card.model_validate(found).last_date == dt.date(2022, 1, 10)
    assert isinstance(run("NEWCO").exception, UnknownSymbol)
    assert run("MOVES", "--lang", "fr").exit_code == 2


@pytest.mark.parametrize(
    ("figures", "verdict", "said"),
    [
        (
            (1.20, 1.19, 0.999),
            "better",
            "1.20 % on average, the last price alone 1.19 %: but in percent of the last "
            "price, which decides, the forecast was better",
        ),
        ((1.19, 1.20, 1.002), "worse", "which decides, the last price was better"),
        ((1.19, 1.20, 1.0001), "same", "which decides, no difference"),
        ((1.19, 1.20, 0.99), "better", "the last price alone 1.20 %: the forecast was better"),
        ((1.20, 1.20, 0.99), "better", "the last price alone 1.20 %: the forecast was better"),
        ((1.20, 1.19, None), "worse", "the last price alone 1.19 %: the last price was better"),
    ],
)
def test_the_verdict_is_relmae_and_a_pair_that_points_elsewhere_is_explained(
    forecaster, monkeypatch, figures, verdict, said
):
    measured = forecaster.loaded.measured("MOVES", "1d")
    changed = measured.model_copy(update=dict(zip(("mape", "naive_mape", "rel_mae"), figures, strict=True)))
    monkeypatch.setattr(forecaster.loaded, "measured", lambda *_: changed)
    card = make_card(forecaster, "MOVES", ["1d"], today=TODAY)
    assert card.outlook[0].past.verdict == verdict
    assert said in card_text(card, "en")
    judged = "ambayo ndiyo kipimo"
    assert (judged in card_text(card, "sw")) == ("which decides" in said)
