// Boxes over pictures, with captions that leave each other room.
import { el, svg, text } from "./elements.js";
import { colorOf, layers } from "./overlays.js";

const MOST_RECTS = 12; // In small pictures; more boxes are drawn as a few paths, which is faster.

const scoreOf = (box) => Object.values(box[6]).find((value) => typeof value === "number");
const isTruth = (layer) => layer === "ground_truth";
const kindOf = (layer) => (isTruth(layer) ? "truth" : "prediction");

// W&B's captions hide other boxes there, so ours say no more than what is wrong.
export function captionOf({ box, name }) {
  const score = scoreOf(box), known = score === undefined ? name : `${name} ${score.toFixed(2)}`;
  if (!box[5]) return known;
  return box[5].startsWith(name) ? box[5] : `${known} (${box[5]})`;
}

// The boxes of a cell that are shown, each with a key.
export function boxesOf(cell, column, isShown) {
  return Object.entries(cell.boxes ?? {}).filter(([layer]) => isShown(layer, `${layer} box`)).flatMap(([layer, boxes]) => boxes
    .map((box, i) => ({ layer, box, key: `${layer} ${i}`, name: column.layers[layer]?.[box[4]] ?? text(box[4]) }))
    .filter(({ box, name }) => !layers.hidden.has(name) && !((scoreOf(box) ?? 1) < layers.score)));
}

export function drawBoxes(frame, boxes, { width, height }, large) {
  const drawing = svg("svg", { class: "boxes", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  drawing.append(...(large || boxes.length <= MOST_RECTS ? boxes.map(rectOf) : pathsOf(boxes)));
  frame.append(drawing);
  const percent = (value, of) => `${(100 * value) / of}%`;
  if (large && layers.captions) frame.append(...boxes.map((one) => el("bdi", {
    class: `caption ${isTruth(one.layer) ? "below" : "above"}`, "data-box": one.key,
    style: { left: percent(one.box[0], width), top: percent(one.box[isTruth(one.layer) ? 3 : 1], height), borderColor: colorOf(one.box[4]) },
  }, captionOf(one))));
}

const rectOf = ({ layer, box: [left, top, right, bottom, id], key }) => svg("rect", {
  x: left, y: top, width: Math.max(right - left, 0), height: Math.max(bottom - top, 0), stroke: colorOf(id), class: kindOf(layer), "data-layer": layer, "data-box": key });

// One path for all boxes of a kind and a color.
function pathsOf(boxes) {
  const outlines = new Map();
  for (const { layer, box: [left, top, right, bottom, id] } of boxes) {
    const key = `${kindOf(layer)} ${colorOf(id)}`;
    outlines.set(key, `${outlines.get(key) ?? ""}M${left} ${top}H${right}V${bottom}H${left}Z`);
  }
  return [...outlines].map(([key, d]) => {
    const [kind, stroke] = key.split(" ");
    return svg("path", { d, class: kind, stroke });
  });
}

// Hides captions that would lie over others. The ones of wrong boxes come first.
export function arrangeCaptions(frame) {
  const captions = [...frame.querySelectorAll(".caption")];
  for (const one of captions) one.classList.remove("covered");
  const isWrong = (one) => one.textContent.endsWith(")");
  captions.sort((a, b) => b.classList.contains("singled") - a.classList.contains("singled") || isWrong(b) - isWrong(a));
  const bounds = frame.getBoundingClientRect(), taken = [];
  const places = captions.map((one) => within(one.getBoundingClientRect(), bounds, one.style.translate));
  captions.forEach((one, i) => {
    const at = places[i];
    one.style.translate = at.translate;
    const isFree = taken.every((other) => at.right <= other.left || at.left >= other.right || at.bottom <= other.top || at.top >= other.bottom);
    one.classList.toggle("covered", !isFree);
    if (isFree) taken.push(at);
  });
}

// Where a caption lies so that all of it is in the picture.
function within(at, bounds, before) {
  const [x, y] = (before || "0px 0px").split(" ").map(parseFloat);
  const left = Math.max(Math.min(at.left - x, bounds.right - at.width), bounds.left);
  const top = Math.max(Math.min(at.top - (y || 0), bounds.bottom - at.height), bounds.top);
  return { left, top, right: left + at.width, bottom: top + at.height, translate: `${left - at.left + x}px ${top - at.top + (y || 0)}px` };
}

// Shows one box alone, by its key; all boxes without one.
export function singleOut(root, key) {
  for (const frame of root.querySelectorAll(".picture")) {
    frame.classList.toggle("one", Boolean(key));
    for (const part of frame.querySelectorAll("[data-box]")) part.classList.toggle("singled", part.dataset.box === key);
    arrangeCaptions(frame);
  }
  for (const one of root.querySelectorAll("button[data-box]")) one.setAttribute("aria-pressed", String(one.dataset.box === key));
}

// The key of the smallest box at a point of the window.
export function boxAt(frame, x, y) {
  let found = null, least = Infinity;
  for (const rect of frame.querySelectorAll("rect[data-box]")) {
    const { left, right, top, bottom, width, height } = rect.getBoundingClientRect();
    if (x >= left && x <= right && y >= top && y <= bottom && width * height < least) [found, least] = [rect.dataset.box, width * height];
  }
  return found;
}
