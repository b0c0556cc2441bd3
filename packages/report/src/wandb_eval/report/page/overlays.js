// Pictures with their boxes and masks, drawn by the browser.
import { checkbox, classButton, el, svg, words } from "./elements.js";
import { page, urlOf } from "./data.js";
import { boxesOf, drawBoxes } from "./boxes.js";

// What is shown of the layers, on all pictures alike.
export const layers = { off: new Set(["ground_truth mask", "errors mask"]), hidden: new Set(["background", ...(page.columns.some((column) => column.layers?.errors) ? ["right", "not counted"] : []), ...page.hidden]),
  score: 0, opacity: 0.6, captions: true };

const PALETTE = ["#4477ee", "#ee7733", "#009988", "#cc3377", "#aa9911", "#7755cc", "#33aadd", "#774411"];
export const colorOf = (id) => page.colors[id] ?? PALETTE[Math.abs(Number(id) || 0) % PALETTE.length];
const channels = (id) => [1, 3, 5].map((at) => parseInt(colorOf(id).slice(at, at + 2), 16) / 255);

const filters = new Map();
const definitions = svg("svg", { width: 0, height: 0, "aria-hidden": "true", class: "filters" });
document.body.append(definitions);

// A filter that converts class ids to colors, so that the pixels of a mask need not be read,
// which is forbidden for files beside a page. The browser applies it to visible masks.
function filterOf(names) {
  const key = JSON.stringify(names);
  if (!filters.has(key)) {
    const id = `mask-${filters.size}`;
    const parts = ["R", "G", "B", "A"].map((channel) => svg(`feFunc${channel}`, { type: "discrete" }));
    definitions.append(svg("filter", { id, x: 0, y: 0, width: 1, height: 1, "color-interpolation-filters": "sRGB" },
      svg("feComponentTransfer", { in: "SourceGraphic", result: "colors" }, ...parts.slice(0, 3)),
      svg("feColorMatrix", { in: "SourceGraphic", values: "0 0 0 0 0  0 0 0 0 0  0 0 0 0 0  1 0 0 0 0" }),
      svg("feComponentTransfer", { result: "shown" }, parts[3]),
      svg("feComposite", { in: "colors", in2: "shown", operator: "in" })));
    filters.set(key, { id, names, parts });
    fill(filters.get(key));
  }
  return filters.get(key).id;
}

function fill({ names, parts }) {
  const known = Object.keys(names).length;
  const shown = (id) => (known ? id in names && !layers.hidden.has(names[id]) : id > 0);
  const ids = [...Array(256).keys()];
  const colors = ids.map(channels);
  parts.forEach((part, i) => {
    part.setAttribute("tableValues", ids.map((id) => (i < 3 ? colors[id][i].toFixed(4) : Number(shown(id)))).join(" "));
  });
}

export function updateMasks() {
  for (const filter of filters.values()) fill(filter);
  document.documentElement.style.setProperty("--mask-opacity", layers.opacity);
}

// The layers of all columns with images: { name, kind, names } by "<name> <kind>".
export function layersOf(view) {
  if (view.layers) return view.layers;
  const found = view.layers = new Map();
  for (const column of view.columns.values()) {
    if (column.type !== "image") continue;
    for (const cell of column.values) {
      for (const [kind, group] of [["box", cell?.boxes], ["mask", cell?.masks]]) {
        for (const name of Object.keys(group ?? {})) found.set(`${name} ${kind}`, { name, kind, names: column.layers[name] ?? {} });
      }
    }
  }
  return found;
}

// Draws a picture with its layers. `alt` describes it; `large`: with captions, and boxes
// that can be singled out; `isShown(layer, key)`: whether a layer is in this picture.
export function picture(cell, column, alt, { large = false, isShown = (layer, key) => !layers.off.has(key) } = {}) {
  const width = cell.width ?? 1, height = cell.height ?? 1;
  const image = el("img", { src: urlOf(cell.file), alt: cell.caption ?? alt, decoding: "async", draggable: "false" });
  const frame = el("span", { class: "picture", style: { aspectRatio: `${width} / ${height}` } }, image);
  frame.style.setProperty("--ratio", width / height);
  if (!cell.width) image.addEventListener("load", () => {
    frame.style.aspectRatio = `${image.naturalWidth} / ${image.naturalHeight}`;
    frame.style.setProperty("--ratio", image.naturalWidth / image.naturalHeight);
  });
  if (width < 200) frame.classList.add("pixels");
  for (const [name, file] of Object.entries(cell.masks ?? {})) {
    if (!isShown(name, `${name} mask`)) continue;
    const filter = `url(#${filterOf(column.layers[name] ?? {})})`;
    frame.append(el("img", { class: "mask", "data-layer": name, src: urlOf(file), alt: "", style: { filter } }));
  }
  const boxes = boxesOf(cell, column, isShown);
  if (boxes.length) drawBoxes(frame, boxes, { width, height }, large);
  return frame;
}

// Images, sounds and videos that were logged at once, each with its caption.
export function mediaStrip(media, title) {
  const one = (medium) => (medium.kind === "image" ? picture(medium, { layers: {} }, title)
    : el(medium.kind, { controls: true, preload: "none", src: urlOf(medium.file), "aria-label": medium.caption ?? title }));
  const tiles = media.map((medium) => el("div", { class: "tile" }, one(medium), medium.caption ? el("span", {}, medium.caption) : null));
  return tiles.length > 1 ? el("div", { class: "strip" }, ...tiles) : el("div", {}, ...tiles[0].childNodes);
}

// Switches for the layers, and the legend of the classes; none without layers.
export function layerControls(view, changed, large = false) {
  const found = [...layersOf(view)];
  if (!found.length) return el("div");
  const toggle = (set, key) => (on) => { if (on) set.delete(key); else set.add(key); changed(); };
  const range = (label, key, step) => {
    const output = el("output", {}, layers[key].toFixed(2));
    const oninput = (event) => { layers[key] = Number(event.target.value); output.textContent = layers[key].toFixed(2); changed(); };
    return el("label", {}, label, el("input", { type: "range", min: 0, max: 1, step, value: layers[key], "data-control": key, oninput }), output);
  };
  const captions = checkbox(layers.captions, (on) => { layers.captions = on; changed(); }, { "data-control": "captions" }, "captions");
  const has = (kind) => found.some(([, layer]) => layer.kind === kind);
  // The ids of errors are answers, and no classes.
  const isErrors = (layer) => layer.name === "errors";
  const namesOf = (some) => new Map(found.filter(([, layer]) => some(layer)).flatMap(([, layer]) => Object.entries(layer.names)).map(([id, name]) => [name, id]));
  const swatch = (id) => el("i", { class: "swatch", style: { background: colorOf(id) } });
  const legend = (title, names, label) => (names.size ? el("fieldset", { class: "legend" }, el("legend", {}, title),
    ...[...names].map(([name, id]) => el("span", { class: "switch" },
      checkbox(!layers.hidden.has(name), toggle(layers.hidden, name), { "data-class": name, "aria-label": `Show ${name}` }).firstChild, swatch(id), label(name)))) : null);
  return el("div", { class: "layers" },
    el("fieldset", {}, el("legend", {}, "Layers"),
      ...found.map(([key, { name }]) => checkbox(!layers.off.has(key), toggle(layers.off, key), { "data-layer": key }, words(name))),
      ...(large && has("box") ? [captions] : []), ...(has("box") ? [range("score from", "score", 0.01)] : []),
      ...(has("mask") ? [range("opacity", "opacity", 0.05)] : [])),
    legend("Classes", namesOf((layer) => !isErrors(layer)), (name) => classButton(name)),
    legend("Errors", namesOf(isErrors), (name) => el("bdi", {}, name)));
}
