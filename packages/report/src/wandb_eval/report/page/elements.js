// Builds elements one by one, so that no text of a run becomes markup.
document.documentElement.dispatchEvent(new Event("booting")); // See early.js.

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(made.style, value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export const button = (onclick, attributes, ...children) => el("button", { type: "button", ...attributes, onclick }, ...children);

export function checkbox(checked, change, attributes, ...label) {
  const onchange = (event) => change(event.target.checked);
  return el("label", { class: "switch" }, el("input", { type: "checkbox", checked, ...attributes, onchange }), ...label);
}

// options: [[value, label]]
export function select(options, chosen, change, attributes) {
  const onchange = (event) => change(event.target.value);
  const made = options.map(([value, label]) => el("option", { value, selected: value === chosen }, label));
  return el("select", { ...attributes, onchange }, ...made);
}

// Draws a part of the page. If it fails, the other parts stay.
export function attempt(box, draw) {
  try { draw(); } catch (error) {
    box.hidden = false;
    box.replaceChildren(el("p", { class: "empty" }, `This part can't be shown: ${error.message}`));
  }
}

export function attemptFigure(title, draw) {
  const box = el("figure", { class: "chart" });
  let made = box;
  attempt(box, () => { made = draw(); });
  if (made === box) box.prepend(el("figcaption", {}, title));
  return made;
}

export const isNumber = (value) => typeof value === "number";

// Formats a value: numbers with three digits, from 1,000 on with six.
export function text(value) {
  if (value === null || value === undefined) return "";
  if (isNumber(value)) {
    const size = Math.abs(value);
    if (Number.isInteger(value)) return String(value);
    return size >= 1e-3 && size < 1e5 ? String(Number(value.toPrecision(size < 1e3 ? 3 : 6))) : value.toExponential(2);
  }
  if (Array.isArray(value)) return value.map(text).join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

// A name inside of a sentence, whatever the direction of its script.
export const isolated = (name) => `\u2068${text(name)}\u2069`;

// The name of a class. A click shows all that is known of the class; see classes.js.
export function classButton(name, attributes) {
  const ask = () => document.dispatchEvent(new CustomEvent("about-class", { detail: name }));
  return button(ask, { class: "of-class", "data-of-class": name, title: `About the class ${isolated(name)}`, ...attributes }, name);
}

// Whether the user is using an element, which must then stay as it is.
export const isInUse = (box) => box.matches(":focus-within, :active");

// The name of a column or a layer, in words; and what it means that a row is wrong, or not.
export const words = (name) => name.replaceAll("_", " ");
export const verdict = (wrong) => ({ true: "wrong", false: "right" })[wrong] ?? "";
