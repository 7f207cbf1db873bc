"""The route of API v4 that takes new prices."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fastapi import FastAPI

from common import storage
from common.release.posted_prices import read_posted
from common.release.posted_sessions import SOURCE
from common.release.refresh_production import refresh_production
from serve.ingress.responses import V4
from serve.schemas.posted_prices import PostedPrices, PricesResponse, RejectedRow
from serve.schemas.problems import responses

if TYPE_CHECKING:
    from serve.model_client.client import ModelClient


def add_price_routes(api: FastAPI, model_client: ModelClient, admin: Any) -> None:
    home = storage.home(model_client.settings.home)

    @api.post(
        f"{V4}/prices",
        response_model=PricesResponse,
        responses=responses(400, 404, 409, 413, 415, 422, 423),
        dependencies=[admin],
    )
    async def prices(body: PostedPrices) -> PricesResponse:
        """Add the rows of one trading day to production, and forecast from them with the same networks.

        Rows are accepted, repaired or rejected as those of a file. The new release goes to production if the
        day is newer, complete and plausible (otherwise 409), and routers load it within seconds. Posting the
        same rows again changes nothing. One refresh runs at a time (otherwise 423), also during a
        training. If the work exceeds the request time limit, the response is 503 and the work continues: send
        the same request again.
        """
        return await asyncio.to_thread(_refresh, home, body)


def _refresh(home: Path, body: PostedPrices) -> PricesResponse:
    rows = [row.texts() for row in body.rows]
    result, rejects = refresh_production(
        home, lambda before: read_posted(rows, before), evidence={"source": SOURCE}
    )
    without_new: Literal["rejected", "current"] = "rejected" if len(rejects) == len(rows) else "current"
    return PricesResponse(
        state=without_new if result.state == "current" else "refreshed",
        release=result.release,
        before=result.before,
        data_end=dt.date.fromisoformat(result.last or result.last_before),
        rows=result.rows,
        rejected=[
            RejectedRow(row=row.line, symbol=row.symbol, reason=row.reason) for row in rejects.itertuples()
        ],
        differences=result.differences,
        stocks=result.stocks,
        forecasts=result.forecasts,
    )
