/* Charts by plotly.js, which is fetched with the first chart; colours are CSS variables of the page. */
import { h } from "./dom.js";
import { appearance, colour } from "./theme.js";

const narrow = matchMedia("(max-width: 600px)");
const touched = matchMedia("(pointer: coarse)");
const drawn = new Map();
let fetched = null;

function plotly() {
  fetched ??= new Promise((done, fail) => {
    const script = h("script", { src: document.querySelector("[data-plotly]").dataset.plotly });
    script.addEventListener("load", () => done(window.Plotly));
    script.addEventListener("error", () => {
      fetched = null;
      script.remove();
      fail(new Error("the chart library could not be fetched"));
    });
    document.head.append(script);
  });
  return fetched;
}

/* Replace colours such as "--c-ours" and "--c-ours/20" (percent of opacity) anywhere in a figure. */
function coloured(value) {
  if (typeof value === "string") {
    if (!value.startsWith("--c-")) return value;
    const [name, opacity] = value.split("/");
    const solid = colour(name);
    return opacity ? solid.replace("rgb(", "rgba(").replace(")", `, ${opacity / 100})`) : solid;
  }
  if (Array.isArray(value)) return value.map(coloured);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, coloured(each)]));
}

/* Escape text, in which plotly would interpret some HTML. */
export const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

const axis = {
  gridcolor: "--c-grid", linecolor: "--c-line", zeroline: false, automargin: true, fixedrange: true, title: { standoff: 8 },
};
const theme = {
  layout: {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 13, color: "--c-text" },
    margin: { l: 52, r: 16, t: 8, b: 36 },
    xaxis: axis, yaxis: axis, yaxis2: axis, dragmode: false, hovermode: "closest",
    hoverlabel: { bgcolor: "--c-page", bordercolor: "--c-line", font: { color: "--c-text" }, align: "left" },
    legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom", font: { size: 12 } },
  },
};

async function paint(place, figure) {
  const Plotly = await plotly();
  for (const each of drawn.keys()) if (!each.isConnected) forget(each);
  if (!place.isConnected) return;
  const { data, layout } = coloured({ data: figure.data, layout: { ...figure.layout, template: theme } });
  if (narrow.matches) {
    layout.font = { size: 12 };
    layout.margin = { l: 40, r: 8, t: 8, b: 32, ...layout.margin };
    for (const trace of data) if (trace.mode === "markers+text") trace.mode = "markers";
  }
  if (touched.matches) layout.dragmode = false;
  await Plotly.react(place, data, layout, { displayModeBar: false, responsive: true });
  place.querySelector(".chart-wait")?.remove();
}

/* Draw or redraw a plotly figure; `label` describes it. */
export async function draw(place, figure, label) {
  place.setAttribute("aria-label", `Chart: ${label}`);
  drawn.set(place, figure);
  try {
    await paint(place, figure);
  } catch (error) {
    drawn.delete(place);
    console.error(error);
    place.replaceChildren(h("p", { class: "state" }, `No chart: ${error.message}. The tables below have the same figures.`));
  }
}

function forget(place) {
  drawn.delete(place);
  window.Plotly?.purge(place);
}

/* Create the element of a chart. */
export function chart(kind = "") {
  const wait = h("p", { class: "chart-wait" }, "Drawing…");
  return h("div", { class: `chart ${kind}`.trim(), role: "img", "aria-label": "Chart" }, wait);
}

for (const each of [appearance, narrow]) {
  each.addEventListener("change", () => {
    for (const [place, figure] of drawn) if (place.isConnected) paint(place, figure);
  });
}
