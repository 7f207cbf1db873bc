"""When each alert has to fire, and when not: series of one value a minute, in promtool's notation."""

HEALTHY = 'ray_serve_deployment_replica_healthy{application="nsecast",deployment="Router"}'
SERVED_A, SERVED_B = (f'ray_nsecast_requests_total{{release="{name}"}}' for name in "ab")
ERRORS, REQUESTS = "ray_nsecast_errors_total", "ray_nsecast_requests_total"
BUCKET = "ray_nsecast_latency_ms_bucket"
REFUSED, TAKEN = (
    f'ray_nsecast_reloads_total{{release="b",outcome="{outcome}"}}' for outcome in ("refused", "taken")
)
COLD = 'ray_nsecast_model_cache_total{hit="false"}'
FAILED, COMPLETE = (
    f'kuberay_job_deployment_status{{namespace="nsecast",name="n",deployment_status="{status}"}}'
    for status in ("Failed", "Complete")
)
LOOKED = "nsecast_monitor_last_run_timestamp_seconds"
BREACHES = 'nsecast_monitor_breaches{kind="error"}'

CASES = [
    ("NsecastNoRouterReady", {}, 3, True),
    ("NsecastNoRouterReady", {HEALTHY: "1x9"}, 3, False),
    ("NsecastNothingServes", {}, 6, True),
    ("NsecastNothingServes", {TAKEN: "1x9"}, 6, False),
    ("NsecastErrors", {ERRORS + '{status="500"}': "0+2x20", REQUESTS: "0+100x20"}, 15, True),
    ("NsecastErrors", {ERRORS + '{status="422"}': "0+50x20", REQUESTS: "0+100x20"}, 15, False),
    ("NsecastErrors", {ERRORS + '{status="500"}': "0+0x20", REQUESTS: "0+0x20"}, 15, False),
    (
        "NsecastSlow",
        {
            BUCKET + '{le="500"}': "0+50x30",
            BUCKET + '{le="1000"}': "0+100x30",
            BUCKET + '{le="+Inf"}': "0+100x30",
        },
        20,
        True,
    ),
    ("NsecastSlow", {BUCKET + '{le="500"}': "0+100x30", BUCKET + '{le="+Inf"}': "0+100x30"}, 20, False),
    # born at 1: `increase` alone would not see it
    ("NsecastReloadRefused", {REFUSED: "_x9 1x20"}, 12, True),
    ("NsecastReloadRefused", {REFUSED: "1x9 2x5"}, 12, True),
    ("NsecastReloadRefused", {REFUSED: "1x60"}, 50, False),
    ("NsecastReloadRefused", {TAKEN: "1x60"}, 5, False),
    ("NsecastTwoReleases", {SERVED_A: "0+9x30", SERVED_B: "0+9x30"}, 25, True),
    ("NsecastTwoReleases", {SERVED_A: "9x30", SERVED_B: "0+9x30"}, 25, False),
    ("NsecastModelsNotLoaded", {COLD: "0+100x40"}, 35, True),
    ("NsecastModelsNotLoaded", {COLD: "0+1x40"}, 35, False),
    ("NsecastJobFailed", {FAILED: "1x5"}, 1, True),
    ("NsecastJobFailed", {COMPLETE: "1x5"}, 1, False),
    ("NsecastStaleData", {"nsecast_monitor_sessions_old": "3x5"}, 1, True),
    ("NsecastStaleData", {"nsecast_monitor_sessions_old": "2x5"}, 1, False),
    ("NsecastMonitorBreach", {BREACHES: "1x5"}, 1, True),
    ("NsecastMonitorBreach", {BREACHES: "0x5"}, 1, False),
    ("NsecastMonitorSilent", {}, 70, True),
    ("NsecastMonitorSilent", {LOOKED: "0x100"}, 70, False),
]
"""Alert, series, minute to look at, whether it fires then."""
