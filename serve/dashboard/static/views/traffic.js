/* Live: replicas, request rate and latency over the last ten minutes. */
import { chart, draw } from "../charts.js";
import { h } from "../dom.js";
import { capital, clock, count, number, percent, plural, wallTime } from "../format.js";
import { plainTable } from "../table.js";

const NEWEST = 6;
const rate = (slice) => (slice.forecasts + slice.other) / slice.seconds;

function line(name, slices, value, colour, yaxis, extra = {}) {
  return {
    type: "scatter", mode: "lines", name, x: slices.map((each) => wallTime(each.at)), y: slices.map(value), yaxis, connectgaps: false,
    line: { color: colour, width: 2 }, ...extra,
  };
}

function figure(slices) {
  const [start, end] = [slices[0], slices.at(-1)].map((each) => wallTime(each.at));
  return {
    data: [
      line("requests a second", slices, rate, "--c-1", "y", { fill: "tozeroy", fillcolor: "--c-1/15", hovertemplate: "%{x|%H:%M:%S}: %{y:.1f} a second<extra></extra>" }),
      line("median", slices, (each) => each.p50_ms, "--c-3", "y2", { mode: "lines+markers", marker: { size: 4 }, hovertemplate: "%{x|%H:%M:%S}: median %{y:.1f} ms<extra></extra>" }),
      line("99th percentile", slices, (each) => each.p99_ms, "--c-2", "y2", { mode: "lines+markers", marker: { size: 4 }, hovertemplate: "%{x|%H:%M:%S}: 99 %% within %{y:.1f} ms<extra></extra>" }),
    ],
    layout: {
      xaxis: { type: "date", range: [start, end], anchor: "y2", nticks: 6, tickformatstops: TICKS, ticks: "outside", ticklen: 6 },
      yaxis: { title: { text: "a second" }, domain: [0.56, 1], rangemode: "tozero" },
      yaxis2: { title: { text: "ms" }, domain: [0, 0.42], rangemode: "tozero", nticks: 4 },
    },
  };
}

/* Ticks less than a minute apart need seconds. */
const TICKS = [{ dtickrange: [null, 59_000], value: "%H:%M:%S" }, { dtickrange: [60_000, null], value: "%H:%M" }];

const sum = (slices, value) => slices.reduce((total, each) => total + value(each), 0);

function tiles(slices, stats) {
  const newest = slices.slice(-NEWEST);
  const seconds = sum(newest, (each) => each.seconds) || 1;
  const requests = sum(newest, (each) => each.forecasts + each.other);
  const timed = newest.filter((each) => each.p50_ms !== null).at(-1);
  const tile = (label, value, note) => h("li", { class: "card" }, h("h3", {}, label), h("p", { class: "big" }, value), h("p", { class: "note" }, note));
  return [
    tile("Requests", `${number(requests / seconds, 1)} a second`, `over the last ${seconds} s; ${count(stats.requests)} since the start`),
    tile("Errors", requests ? percent((100 * sum(newest, (each) => each.errors)) / requests, 1) : "none", `${count(stats.errors)} since the start`),
    tile("Median", timed ? `${number(timed.p50_ms, 1)} ms` : "no forecasts", "of requests that called a model, in the newest 5 s with any"),
    tile("99th percentile", timed ? `${number(timed.p99_ms, 1)} ms` : "no forecasts", "of the same"),
  ];
}

function running(deployment) {
  const states = Object.entries(deployment.replicas).map(([state, amount]) => `${count(amount)} ${state.toLowerCase()}`);
  return states.join(", ") || "none";
}

function deployments({ deployments: found, replicas }) {
  if (!found.length) {
    return h("p", { class: "state" }, `Ray Serve reports no deployments; ${plural(replicas.length, "model replica")} responded.`);
  }
  return plainTable("Replicas by deployment", [
    { label: "Deployment", value: (row) => row.name },
    { label: "Replicas", value: running },
    { label: "State", value: (row) => row.status, show: (row) => (row.status === "HEALTHY" ? "healthy" : h("span", {}, h("span", { class: "flag warn" }, row.status.toLowerCase()), ` ${row.message}`)) },
  ], found, { quiet: true });
}

function processes({ replicas }) {
  return plainTable("Model replicas", [
    { label: "Process", value: (row) => String(row.pid) },
    { label: "Models", value: (row) => row.tier, kind: "whole", show: (row) => (row.tier === "general" ? "general" : "specific") },
    { label: "Loaded", number: true, value: (row) => row.loaded.length, show: (row) => count(row.loaded.length) },
    { label: "Requests", number: true, value: (row) => row.requests, show: (row) => count(row.requests) },
    { label: "Errors", number: true, value: (row) => row.errors, show: (row) => count(row.errors) },
    { label: "Memory", number: true, value: (row) => row.rss_mb, show: (row) => `${count(row.rss_mb)} MB` },
  ], replicas, { quiet: true });
}

export function traffic() {
  const note = h("p", { class: "note" });
  const cards = h("ul", { class: "cards small", "aria-live": "off" });
  const plot = chart("low");
  const quiet = h("p", { class: "state" }, "The first five seconds are not over yet.");
  const [first, second] = [h("div", {}), h("div", {})];
  let drawn = false;

  function show(stats, error) {
    if (error) {
      note.textContent = drawn ? "Not live: the server does not respond. These are the last known figures." : "";
      note.classList.toggle("worse", drawn);
      return;
    }
    drawn = true;
    note.classList.remove("worse");
    const several = stats.deployments.find((each) => each.name === "Router")?.replicas.RUNNING > 1;
    note.textContent = `Live, every 3 s, last at ${clock(new Date())}.${several ? " There are several routers; the traffic is that of the responding one." : ""} Up for ${plural(Math.floor(stats.uptime_s / 60), "minute")}.`;
    cards.replaceChildren(...tiles(stats.traffic, stats));
    plot.hidden = !stats.traffic.length;
    quiet.hidden = !plot.hidden;
    if (stats.traffic.length) draw(plot, figure(stats.traffic), "requests a second and their latency over the last ten minutes");
    first.replaceChildren(deployments(stats));
    second.replaceChildren(processes(stats));
  }

  const element = h("div", {}, note, cards, quiet, h("figure", {}, plot), h("div", { class: "pair" },
    h("div", {}, h("h3", {}, "Deployments"), first), h("div", {}, h("h3", {}, capital("model replicas")), second)));
  return { element, show, drawn: () => drawn };
}
