"""The age of a monitored market's prices: one stock is newly stale, one is frozen."""

import datetime as dt

from cluster.monitor.freshness import Freshness


def made_freshness(data_end: dt.date, due: dt.date) -> Freshness:
    return Freshness(
        data_end=data_end,
        due=due,
        sessions_old=1,
        counters=5,
        without_data=[],
        stale=["NEW"],
        newly_stale=["NEW"],
        frozen=["HALT"],
        frozen_share=0.25,
        frozen_share_then=0.2,
        unknown_closes=0,
    )
