/* The model card of the release, loaded when it is opened. */
import { getText } from "../api.js";
import { h } from "../dom.js";
import { failed } from "../states.js";
import { folded } from "../table.js";

export function modelCard(signal) {
  const body = h("div", {});
  const element = folded("Model card: data, recipe, figures, limits, intended use (Markdown)", body);

  async function load() {
    try {
      body.replaceChildren(h("pre", { class: "document", tabindex: "0" }, await getText("models/card", { signal })));
    } catch (error) {
      if (!signal?.aborted) body.replaceChildren(failed(error, load));
    }
  }

  element.addEventListener("toggle", () => element.open && !body.childElementCount && load());
  return element;
}
