"""Examples for the OpenAPI description; tests validate them against the schemas."""

from typing import Any

CLOSES = [15.0, 15.05, 14.95, 15.1, 15.2, 15.15] * 10

PREDICT: list[dict[str, Any]] = [
    {"symbol": "SCOM"},
    {"symbol": "KCB", "horizon": "5d", "as_of": "2024-06-03"},
    {"symbol": "NEWCO", "recent_prices": CLOSES, "allow_unknown": True},
]
BATCH: list[dict[str, Any]] = [
    {"symbols": ["SCOM", "KCB", "EQTY"], "horizon": "5d"},
    {"symbols": ["SCOM", "KCB"], "recent_prices": {"SCOM": CLOSES}},
]
SECTOR: list[dict[str, Any]] = [{"sector": "Banking", "horizon": "10d"}]
PRICES: dict[str, Any] = {
    "rows": [
        {
            "date": "2024-01-02",
            "symbol": "SCOM",
            "low": 13.7,
            "high": 14.0,
            "close": 13.9,
            "previous": 13.9,
            "volume": "4,102,300",
        }
    ]
}
ANSWER: dict[str, Any] = {
    "symbol": "SCOM",
    "name": "Safaricom Plc",
    "sector": "Telecommunication",
    "prediction": 18.0,
    "mean_prediction": 17.942157745586524,
    "horizon": "5d",
    "target_date": "2024-06-10",
    "last_price": 18.0,
    "last_date": "2024-06-03",
    "change_percent": 0.0,
    "expected_change_percent": -0.32134585246375574,
    "probability_up": 0.3461278529052734,
    "probability_unchanged": 0.2217389345169067,
    "probability_down": 0.4321332125778199,
    "model_type": "stock_specific",
    "confidence": "medium",
    "confidence_reasons": ["its own model did not beat the last price on the test part"],
    "confidence_interval": {"lower": 16.373715846233946, "upper": 19.720686191964614, "level": 0.9},
    "intervals": {
        "80": {"lower": 16.846932803940327, "upper": 19.051534647313808, "level": 0.8},
        "90": {"lower": 16.373715846233946, "upper": 19.720686191964614, "level": 0.9},
        "95": {"lower": 15.829962499869147, "upper": 20.565155113606767, "level": 0.95},
    },
    "mape": 3.2160027447387094,
    "mape_source": "stock",
    "naive_mape": 3.2160027447387094,
    "forecast_source": "model",
    "warnings": [
        {
            "code": "old_data",
            "message": "The release's prices end on 2024-10-31; 11 sessions have closed since then.",
        }
    ],
    "model_version": "residual_specific",
    "release": "20241031-residual-f9409cd3",
    "cached": True,
    "execution_time": 0.0031,
    "timestamp": "2024-11-18T09:30:00Z",
    "request_id": "0cd80b3da2624f1e8d45901a5e7b886b",
}
ANSWERS: dict[str, Any] = {
    "predictions": [ANSWER],
    "summary": {
        "total": 2,
        "successful": 1,
        "failed": 1,
        "errors": [
            {
                "symbol": "SCMO",
                "status": 404,
                "title": "Unknown symbol",
                "detail": "SCMO: not one of the 66 stocks. Did you mean SCOM (Safaricom Plc)?",
            }
        ],
    },
    **{name: ANSWER[name] for name in ("release", "execution_time", "timestamp", "request_id")},
}
PROBLEM: dict[str, Any] = {
    "type": "urn:nsecast:unknown-symbol",
    "title": "Unknown symbol",
    "status": 404,
    "detail": "SCMO: not one of the 66 stocks. Did you mean SCOM (Safaricom Plc)?",
    "instance": "/api/v4/predict",
    "request_id": "0cd80b3da2624f1e8d45901a5e7b886b",
    "near": ["SCOM"],
}
