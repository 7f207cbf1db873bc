/* The figure of one stock: closes, the fan of intervals ahead, and past forecasts. */
import { days, weekday } from "../format.js";

const LEVELS = ["95", "90", "80"];
const SHADES = { 95: 16, 90: 18, 80: 26 };

function band(xs, low, high, colour, name = "") {
  const line = { type: "scatter", mode: "lines", line: { width: 0 }, x: xs, hoverinfo: "skip" };
  return [
    { ...line, y: low, showlegend: false },
    { ...line, y: high, name, fill: "tonexty", fillcolor: colour, legendrank: 30, showlegend: Boolean(name) },
  ];
}

/* One band for each level from the last close to the target dates, unless the level is missing. */
function ahead(predictions, chosen) {
  if (!predictions.length) return [];
  const [{ last_date: start, last_price: from }] = predictions;
  const xs = [start, ...predictions.map((each) => each.target_date)];
  const found = LEVELS.filter((level) => predictions.every((each) => each.intervals[level])).flatMap((level) => {
    const side = (name) => [from, ...predictions.map((each) => each.intervals[level][name])];
    return band(xs, side("lower"), side("upper"), `--c-ours/${SHADES[level]}`, level === "80" ? "80, 90, 95 % intervals" : "");
  });
  const words = predictions.map((each) => `${days(each.horizon)}: ${weekday(each.target_date)}`);
  return [...found, {
    type: "scatter", mode: "lines+markers", name: "forecast", legendrank: 20, x: xs, y: [from, ...predictions.map((each) => each.prediction)],
    text: ["last close", ...words], hovertemplate: "%{text}<br>KES %{y:,.2f}<extra></extra>",
    line: { color: "--c-ours", width: 2.5 },
    marker: {
      color: "--c-ours", size: [0, ...predictions.map((each) => (each.horizon === chosen ? 12 : 7))],
      line: { color: "--c-page", width: 1.5 },
    },
  }];
}

function behind(forecasts, horizon) {
  if (!forecasts.length) return [];
  const xs = forecasts.map((each) => each.target_date);
  const hasIntervals = forecasts.every((each) => each.lower !== null && each.upper !== null);
  const around = hasIntervals
    ? band(xs, forecasts.map((each) => each.lower), forecasts.map((each) => each.upper), "--c-2/16")
    : [];
  return [...around, {
    type: "scatter", mode: "lines", name: `forecast ${days(horizon)} before${hasIntervals ? ", 90 % interval" : ""}`, legendrank: 50, x: xs, y: forecasts.map((each) => each.published),
    customdata: forecasts.map((each) => [weekday(each.target_date), each.actual]), line: { color: "--c-2", width: 1.75, dash: "dot" },
    hovertemplate: "for %{customdata[0]}<br>forecast KES %{y:,.2f}<br>actual KES %{customdata[1]:,.2f}<extra></extra>",
  }];
}

export function fan({ prices, forecasts }, predictions, horizon, withPast) {
  const closes = {
    type: "scatter", mode: "lines", name: "close", legendrank: 10, x: prices.map((each) => each.date), y: prices.map((each) => each.close),
    line: { color: "--c-text", width: 1.75 }, customdata: prices.map((each) => weekday(each.date)),
    hovertemplate: "%{customdata}<br>close KES %{y:,.2f}<extra></extra>",
  };
  const shown = [...(withPast ? behind(forecasts, horizon) : []), ...ahead(predictions, horizon), closes];
  const start = predictions[0]?.last_date;
  return {
    data: shown,
    layout: {
      xaxis: { type: "date", tickformatstops: TICKS },
      yaxis: { title: { text: "KES" }, tickformat: ",~r" },
      legend: { traceorder: "normal" },
      shapes: start ? [{ type: "line", x0: start, x1: start, yref: "paper", y0: 0, y1: 1, layer: "below", line: { color: "--c-muted", width: 1, dash: "dot" } }] : [],
    },
  };
}

const TICKS = [
  { dtickrange: [null, "M1"], value: "%-d %b\n%Y" },
  { dtickrange: ["M1", "M12"], value: "%b\n%Y" },
  { dtickrange: ["M12", null], value: "%Y" },
];
