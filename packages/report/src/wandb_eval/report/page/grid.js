// A grid of images, of which only the visible ones are in the page.
import { button, el, isolated, text, verdict, words } from "./elements.js";
import { summary } from "./data.js";
import { picture } from "./overlays.js";

export const SIZES = { small: 96, medium: 160, large: 256, huge: 400 };
const GAP = 10, WIDE_GAP = 24, SPARE_LINES = 1; // Pixels, and rows above and below.
const LINE_HEIGHT = 17, NAMES_HEIGHT = 18, LETTER_WIDTH = 6.6; // Pixels: of a line of text, of the names of images, of a letter.
const MOST_IMAGES = 4, MEASURED = 60; // Side by side; and rows of which the texts are measured.

export class Grid {
  constructor({ open }) {
    Object.assign(this, { open, rows: [], current: 0 });
    this.tiles = el("div", { class: "tiles" });
    this.space = el("div", { class: "space" }, this.tiles);
    this.box = el("div", { class: "grid", role: "region", "aria-label": "Images", onscroll: () => this.draw(), onkeydown: (event) => this.key(event) }, this.space);
    new ResizeObserver(() => (this.width === this.box.clientWidth ? this.draw() : this.layout())).observe(this.box);
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
    const room = (this.width = this.box.clientWidth) - GAP;
    const wanted = this.size * Math.max(Math.sqrt(ratio), 1);
    this.across = Math.min(wanted * names.length, room - GAP); // Of a tile, with all of its images.
    const isSeveral = names.length > 1, gap = isSeveral ? WIDE_GAP : GAP;
    this.columns = Math.max(1, Math.round(room / (this.across + gap)));
    const width = (room - GAP - (this.columns - 1) * gap) / this.columns;
    this.down = Math.round(width / names.length / ratio);
    // Names that are cut would often be alike.
    const isLong = rows.slice(0, MEASURED).some((row) => linesOf(view, row).some((line) => line.length * LETTER_WIDTH > width));
    const below = 2 * LINE_HEIGHT * (isLong ? 2 : 1) + GAP;
    this.step = this.down + below + (isSeveral ? NAMES_HEIGHT : 0) + GAP;
    this.tiles.classList.toggle("long", isLong);
    this.tiles.style.columnGap = `${gap}px`;
    this.tiles.style.setProperty("--below", `${below}px`);
    this.tiles.style.setProperty("--names", `${isSeveral ? NAMES_HEIGHT : 0}px`);
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
    const images = view.pictures.slice(0, MOST_IMAGES).map((name, _, all) => {
      const cell = view.get(row, name);
      return el("span", { class: "image" }, cell ? picture(cell, view.columns.get(name), "") : null, all.length > 1 ? el("small", {}, words(name)) : null);
    });
    const lines = linesOf(view, row);
    return button(() => { this.current = place; this.open(place); }, {
      class: `thumb tile ${state}`, tabindex: isReached ? 0 : -1, "data-row": row, "data-place": place,
      "aria-label": `Open sample ${key}${state && `, ${state}`}: ${lines.join(", ")}`,
    }, el("span", { class: "images" }, ...images), ...lines.map((line) => el("bdi", { dir: "ltr" }, line)));
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
    return view.wrong(row) ? [`✗ ${isolated(pred || "nothing")}`, `not ${isolated(label || "nothing")}`] : [`✓ ${isolated(label || "nothing")}`, ...known.slice(1, 2)];
  }
  if (known.length) return known.slice(0, 2);
  const others = [...view.columns].filter(([name, { type }]) => ["text", "number", "boolean"].includes(type) && name !== "epoch");
  return others.slice(0, 2).map(([, column]) => isolated(column.values[row]));
}
