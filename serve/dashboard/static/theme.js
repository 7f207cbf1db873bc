/* Light or dark appearance: of the system, or chosen on the page. */
const NAME = "nsecast-appearance";
const dark = matchMedia("(prefers-color-scheme: dark)");
export const appearance = new EventTarget();

export function follow(select) {
  const apply = () => {
    document.documentElement.dataset.theme = select.value;
    appearance.dispatchEvent(new Event("change"));
  };
  select.value = localStorage.getItem(NAME) || "";
  select.addEventListener("change", () => {
    localStorage.setItem(NAME, select.value);
    apply();
  });
  dark.addEventListener("change", apply);
  apply();
}

/* Return the current value of a CSS colour variable in a form that plotly understands. */
export function colour(name) {
  const probe = document.getElementById("announcement");
  probe.style.color = `var(${name})`;
  const found = getComputedStyle(probe).color;
  probe.style.color = "";
  return found;
}
