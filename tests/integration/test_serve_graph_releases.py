"""The graph in Serve's local testing mode while the release in production changes."""

import asyncio
from pathlib import Path

import pytest
from support.releases.release import doctored
from support.serving.server import run_scenario

from common.release.registry import Registry
from common.release.released_models import ReleasedModels

PREDICT = "/api/v4/predict"


def test_a_promotion_is_taken_and_no_answer_mixes_two_releases(home):
    truth = {
        name: {
            f.symbol: f
            for s in ("MOVES", "THIN")
            for f in ReleasedModels(Registry(home).open(name)).forecast(s)
            if f.horizon == 1
        }
        for name in ("one", "two")
    }

    async def scenario(model_client, client):
        stop, answers = asyncio.Event(), []

        async def load(symbol):
            while not stop.is_set():
                answers.append(await client.post(PREDICT, json={"symbol": symbol}))
                await asyncio.sleep(0)  # an answer that is remembered waits for nothing

        loads = [asyncio.create_task(load(symbol)) for symbol in ("MOVES", "THIN", "MOVES")]
        await asyncio.sleep(0.2)
        await asyncio.to_thread(Registry(home).promote, "two")
        taken = (await client.post("/api/v4/refresh")).json()
        assert (taken["outcome"], taken["release"], taken["status"]) == ("taken", "two", "success")
        await asyncio.sleep(0.2)
        stop.set()
        await asyncio.gather(*loads)
        return answers

    answers = run_scenario(home, scenario)
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["release"] for answer in answers} == {"one", "two"}
    for body in (answer.json() for answer in answers):
        assert body["mean_prediction"] == truth[body["release"]][body["symbol"]].raw
    assert truth["one"]["MOVES"].raw != truth["two"]["MOVES"].raw


def cut_short(folder: Path) -> None:
    path = folder / "general_residual" / "model.onnx"
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("published_so", [False, True])
def test_a_corrupt_release_is_refused_and_the_old_one_continues(home, published_so, caplog):
    """Once with files altered after publishing, once published with a network that does not load."""
    release = Registry(home).resolve("two")

    async def scenario(model_client, client):
        if published_so:
            doctored(release, cut_short)
            Registry(home).promote("two")
        else:
            Registry(home).promote("two")
            cut_short(release.path)
        refused = await client.post("/api/v4/refresh")
        answer = await client.post(PREDICT, json={"symbol": "MOVES"})
        health = (await client.get("/api/v4/health")).json()
        return refused, answer.json(), health, model_client.observer.snapshot()

    refused, answer, health, seen = run_scenario(home, scenario)
    assert refused.status_code == 409 and "one continues to serve" in refused.json()["detail"]
    assert answer["release"] == "one" and health["status"] == "degraded"
    assert seen["reloads_refused"] == 1 and "release refused release=two" in caplog.text


@pytest.mark.parametrize("ended_by", ["the client", "the time limit"])
def test_a_refresh_that_is_cut_off_while_it_rehearses_still_leads_to_the_new_release(home, ended_by):
    limits = {"limits": {"timeout_s": 0.2}} if ended_by == "the time limit" else {}

    async def scenario(model_client, client):
        rehearse, begun = model_client.watcher._rehearse, asyncio.Event()

        async def slow(loaded):
            begun.set()
            await asyncio.sleep(1)
            await rehearse(loaded)

        model_client.watcher._rehearse = slow
        Registry(home).promote("two")
        post = asyncio.create_task(client.post("/api/v4/refresh"))
        await begun.wait()
        await asyncio.sleep(0.2)
        if ended_by == "the client":
            post.cancel()
            with pytest.raises(asyncio.CancelledError):
                await post
        else:
            assert (await post).status_code == 503
        looks = [await model_client.watcher.check() for _ in range(2)]
        return looks[-1], (await client.get("/api/v4/health")).json()

    look, health = run_scenario(home, scenario, **limits)
    assert (look.outcome, look.release) == ("unchanged", "two")
    assert (health["status"], health["release"]) == ("healthy", "two")
