"""The adjusted closes of the real price files, which nsecast itself never reads."""

from pathlib import Path

import pandas as pd


def adjust_factors(folder: Path) -> pd.DataFrame:
    """``symbol, date, close, factor``: the adjusted close over the close; 1 where the former is empty."""
    parts = []
    for path in sorted(folder.glob("NSE_data_all_stocks_20[12]*.csv")):
        table = pd.read_csv(path, encoding="utf-8-sig", dtype=str)
        close, adjusted = (
            pd.to_numeric(table.iloc[:, place].str.strip().str.replace(",", ""), errors="coerce")
            for place in (7, 12)
        )
        date = pd.to_datetime(table.iloc[:, 0].str.strip(), format="mixed", errors="coerce")
        parts.append(
            pd.DataFrame(
                {
                    "symbol": table.iloc[:, 1],
                    "date": date,
                    "close": close,
                    "factor": adjusted.fillna(close) / close,
                }
            )
        )
    result = pd.concat(parts).dropna()
    result = result[~result["symbol"].str.startswith("^") & (result["date"] < "2023")]
    return result[result["date"] != "2015-05-09"].sort_values(["symbol", "date"])
