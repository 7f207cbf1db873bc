/* The quality of the release: errors by horizon and by stock, calibration, embedding, the five questions. */
import { get } from "../api.js";
import { horizonOf, horizons, remember } from "../controls.js";
import { h, prose } from "../dom.js";
import { day } from "../format.js";
import { loaded } from "../states.js";
import { title } from "../title.js";
import { answers } from "./answers.js";
import { calibration } from "./calibration.js";
import { embedding } from "./embedding.js";
import { byHorizon, cards } from "./by_horizon.js";
import { matrix } from "./matrix.js";
import { modelCard } from "./model_card.js";
import { worth } from "./worth.js";

function section(id, title, ...content) {
  return h("section", { "aria-labelledby": id }, h("h2", { id }, title), ...content);
}

export async function view(container, [requested], signal) {
  title("Performance");
  let horizon = horizonOf(requested);
  const head = h("div", { class: "head" }, h("h1", {}, "Performance"));
  const body = h("div", {});
  container.append(head, body);

  async function load() {
    const [insights, table] = await Promise.all([get("insights", { signal }), get("matrix", { signal })]);
    return { insights, table };
  }

  function show({ insights, table }) {
    const there = insights.pooled.map((each) => each.horizon);
    if (!there.includes(horizon)) horizon = there[0];
    const changing = [matrix(table), calibration(insights)];
    const picker = horizons(horizon, (chosen) => {
      horizon = chosen;
      remember("performance", horizon);
      changing.forEach((each) => each.show(horizon));
    }, there);
    head.replaceChildren(
      h("div", {}, h("h1", {}, "Performance"),
        h("p", { class: "lead" }, `Measured from ${day(insights.valid_end)} to ${day(insights.test_end)}, after all data that the models were `,
          `fitted and selected on. ${insights.networks} Naive is the last price; a ratio below 1 is better.`)),
      picker);
    changing.forEach((each) => each.show(horizon));
    return [
      insights.note ? h("p", { class: "state" }, prose(insights.note)) : null,
      section("by-horizon", "Error by horizon", cards(insights), byHorizon(insights)),
      section("worth", "What is it worth?", worth(insights), modelCard(signal)),
      section("matrix", "Every stock", changing[0].element),
      section("calibration", "Calibration", changing[1].element),
      section("embedding", "Similar stocks in the general model", embedding(insights, table)),
      section("questions", "The five questions", answers(insights)),
    ].filter(Boolean);
  }

  return loaded(body, "the quality of the release", load, show, signal);
}
