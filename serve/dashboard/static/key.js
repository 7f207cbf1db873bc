/* The API key, where the server asks for one: kept for this tab alone, and only until it is closed. */
import { h } from "./dom.js";

const NAME = "nsecast-key";
let asking = null;

export const keyNow = () => sessionStorage.getItem(NAME);
export const forgetKey = () => sessionStorage.removeItem(NAME);

/* Resolves once a key was given; whoever asks meanwhile waits for the same one. */
export function askForKey(reason) {
  asking ??= new Promise((done) => {
    const dialog = document.getElementById("key");
    const field = h("input", {
      id: "key-field", type: "password", required: true, autocomplete: "off", spellcheck: "false",
      "aria-describedby": "key-help",
    });
    const form = h(
      "form", { method: "dialog" },
      h("h2", { id: "key-title" }, "This server asks for an API key"),
      reason ? h("p", { class: "wrong", role: "alert" }, reason) : null,
      h("div", { class: "field" }, h("label", { for: "key-field" }, "API key"), field),
      h("p", { id: "key-help", class: "note" },
        "It stays in this tab and is forgotten when the tab is closed. Whoever runs the server makes one with ",
        h("code", {}, "nsecast serve keys --add NAME"), "."),
      h("button", { type: "submit", class: "main" }, "Use this key"),
    );
    form.addEventListener("submit", () => {
      sessionStorage.setItem(NAME, field.value.trim());
      asking = null;
      done();
    });
    dialog.replaceChildren(form);
    dialog.onclose = () => asking && dialog.showModal(); // nothing can be shown without a key
    if (!dialog.open) dialog.showModal();
    field.focus();
  });
  return asking;
}
