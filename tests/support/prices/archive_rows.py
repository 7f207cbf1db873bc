"""Rows of a small synthetic archive: look them up, change them."""

from support.prices.archive import at, weekdays

DAYS = weekdays("2023-03-06", 8)


def row(archive, symbol, day):
    outcome = archive.rows[(archive.rows["symbol"] == symbol) & (archive.rows["date"] == day)]
    assert len(outcome) == 1
    return outcome.iloc[0]


def set_field(frame, day, symbol, **values):
    for name, value in values.items():
        frame.loc[at(frame, day, symbol), name] = value
    return frame


def only_entry(archive):
    assert len(archive.ledger) == 1
    return archive.ledger.iloc[0]
