// A grid of images, of which only the visible ones are in the page.
import { button, el, text, verdict } from "./elements.js";
import { summary } from "./data.js";
import { picture } from "./overlays.js";

export const SIZES = { small: 96, medium: 160, large: 256, huge: 400 };
const GAP = 10, SPARE_LINES = 1, TEXT_LINES = 44; // Pixels, rows above and below, and pixels of text.
const MOST_IMAGES = 4; // Side by side.

export class Grid {
  constructor({ open }) {
    Object.assign(this, { open, rows: [], current: 0 });
    this.tiles = el("div", { class: "tiles" });
    this.space = el("div", { class: "space" }, this.tiles);
    this.box = el("div", { class: "grid", role: "region", "aria-label": "Images", onscroll: () => this.draw(), onkeydown: (event) => this.key(event) }, this.space);
    new ResizeObserver(() => this.layout()).observe(this.box);
  }

  show(view, rows, size) {
    const isOther = this.view?.name !== view.name || this.view?.run !== view.run;
    Object.assign(this, { view, rows, size: SIZES[size] ?? SIZES.medium });
    if (isOther) { this.box.scrollTop = 0; this.current = 0; }
    this.current = Math.min(this.current, Math.max(rows.length - 1, 0));
    this.layout();
  }

  layout() {
    if (!this.view || !this.box.clientWidth) return;
    const { view, rows } = this, names = view.pictures.slice(0, MOST_IMAGES);
    const first = rows.map((row) => view.get(row, names[0])).find(Boolean);
    const ratio = Math.min(Math.max((first?.width ?? 1) / (first?.height ?? 1), 0.5), 2.5);
    const room = this.box.clientWidth - GAP;
    const wanted = this.size * Math.max(Math.sqrt(ratio), 1);
    this.across = Math.min(wanted * names.length, room - GAP); // Of a tile, with all of its images.
    this.columns = Math.max(1, Math.round(room / (this.across + GAP)));
    this.down = Math.round(Math.min(this.across, room / this.columns - GAP) / names.length / ratio);
    this.step = this.down + TEXT_LINES + GAP;
    this.lines = Math.ceil(rows.length / this.columns);
    this.space.style.height = `${this.lines * this.step + GAP}px`;
    this.tiles.style.gridTemplateColumns = `repeat(${this.columns}, minmax(0, 1fr))`;
    this.tiles.style.setProperty("--down", `${this.down}px`);
    this.drawn = null;
    this.draw();
  }

  draw(whole = false) {
    if (!this.view || !this.step) return;
    const { box, step, columns } = this;
    const start = whole ? 0 : Math.max(0, Math.floor(box.scrollTop / step) - SPARE_LINES);
    const end = whole ? this.lines : Math.min(this.lines, Math.ceil((box.scrollTop + box.clientHeight) / step) + SPARE_LINES);
    if (this.drawn?.[0] === start && this.drawn?.[1] === end) return;
    this.drawn = [start, end];
    const focused = this.tiles.contains(document.activeElement);
    const places = this.rows.slice(start * columns, end * columns).map((row, i) => [row, start * columns + i]);
    this.tiles.style.top = `${start * step}px`;
    const reached = places.some(([, place]) => place === this.current) ? this.current : places[0]?.[1];
    this.tiles.replaceChildren(...places.map(([row, place]) => this.tile(row, place, place === reached)));
    if (focused) this.tiles.querySelector('[tabindex="0"]')?.focus({ preventScroll: true });
  }

  tile(row, place, isReached) {
    const { view } = this, key = text(view.key(row)), state = verdict(view.wrong(row));
    const images = view.pictures.slice(0, MOST_IMAGES).map((name) => {
      const cell = view.get(row, name);
      return el("span", { class: "image" }, cell ? picture(cell, view.columns.get(name), "") : null);
    });
    const lines = linesOf(view, row);
    return button(() => { this.current = place; this.open(place); }, {
      class: `thumb tile ${state}`, tabindex: isReached ? 0 : -1, "data-row": row, "data-place": place,
      "aria-label": `Open sample ${key}${state && `, ${state}`}: ${lines.join(", ")}`,
    }, el("span", { class: "images" }, ...images), ...lines.map((line) => el("bdi", {}, line)));
  }

  key(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns, Home: -Infinity, End: Infinity }[event.key];
    if (!by || !event.target.dataset.place) return;
    event.preventDefault();
    event.stopPropagation();
    const place = Number(event.target.dataset.place) + by;
    this.reach(Math.min(Math.max(place, 0), this.rows.length - 1));
  }

  // Makes a tile visible, and gives it the focus.
  reach(place) {
    this.current = place;
    const top = Math.floor(place / this.columns) * this.step, { box } = this;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + this.step > box.scrollTop + box.clientHeight) box.scrollTop = top + this.step - box.clientHeight;
    this.drawn = null;
    this.draw();
    this.tiles.querySelector(`[data-place="${place}"]`)?.focus({ preventScroll: true });
  }
}

// What is said of a sample below its images: two lines.
export function linesOf(view, row) {
  const known = summary(view, row);
  if (view.has("label", "pred")) {
    const [label, pred] = [text(view.get(row, "label")), text(view.get(row, "pred"))];
    return view.wrong(row) ? [`✗ ${pred || "nothing"}`, `not ${label || "nothing"}`] : [`✓ ${label || "nothing"}`, ...known.slice(1, 2)];
  }
  if (known.length) return known.slice(0, 2);
  const others = [...view.columns].filter(([name, { type }]) => ["text", "number", "boolean"].includes(type) && name !== "epoch");
  return others.slice(0, 2).map(([, column]) => text(column.values[row]));
}
