// Panes with pictures that are zoomed and moved together.
import { button, el } from "./elements.js";
import { arrangeCaptions, boxAt } from "./boxes.js";

const BETWEEN = 8, TITLE = 22, NEAREST = 16; // Pixels; and the size of a pixel when nearest.

export class Zoom {
  constructor({ pick }) {
    this.pick = pick;
    Object.assign(this, { panes: [], pointers: new Map(), moved: 0 });
    this.box = el("div", { class: "stage", tabindex: 0, role: "group", "aria-label": "Pictures: + and - zoom, 0 fits, 1 is the natural size, arrow keys move" });
    this.percent = el("span", { class: "percent", role: "status" });
    this.buttons = el("div", { class: "zoom", role: "group", "aria-label": "Zoom" },
      button(() => this.by(1 / 1.5), { "data-zoom": "out", "aria-label": "Zoom out" }, "−"), this.percent,
      button(() => this.by(1.5), { "data-zoom": "in", "aria-label": "Zoom in" }, "+"),
      button(() => this.reset(), { "data-zoom": "fit" }, "fit"), button(() => this.natural(), { "data-zoom": "natural" }, "1:1"));
    this.box.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    for (const name of ["down", "move", "up", "cancel"]) this.box.addEventListener(`pointer${name}`, (event) => this[name](event));
    new ResizeObserver(() => this.layout()).observe(this.box);
    this.whole();
  }

  whole() { Object.assign(this, { zoom: 1, x: 0.5, y: 0.5 }); }

  reset() { this.whole(); this.layout(); }

  // panes: [{ title, frame, width, height }]; sizes of 0 are unknown until the image is there.
  show(panes) {
    this.panes = panes.map((pane) => {
      const view = el("div", { class: "view" }, pane.frame);
      const title = pane.title ? el("figcaption", {}, pane.title) : null;
      return { ...pane, view, box: el("figure", { class: "pane" }, title, view) };
    });
    for (const pane of this.panes.filter(({ width }) => !width)) {
      const image = pane.frame.querySelector("img"), known = () => {
        [pane.width, pane.height] = [image.naturalWidth, image.naturalHeight];
        this.layout();
      };
      if (image.complete && image.naturalWidth) known(); else image.addEventListener("load", known);
    }
    this.box.replaceChildren(...this.panes.map(({ box }) => box));
    this.layout();
  }

  // The columns of panes with which the pictures are largest.
  layout() {
    const { panes, box } = this, across = box.clientWidth, down = box.clientHeight;
    if (!panes.length || !across || !panes[0].width) return;
    const titles = panes.some(({ title }) => title) ? TITLE : 0;
    const sizes = (columns) => {
      const lines = Math.ceil(panes.length / columns);
      const width = (across - BETWEEN * (columns - 1)) / columns, height = (down - BETWEEN * (lines - 1)) / lines - titles;
      return { columns, width, height, fit: Math.min(width / panes[0].width, height / panes[0].height) };
    };
    const best = panes.map((_, i) => sizes(i + 1)).reduce((a, b) => (b.fit > a.fit ? b : a));
    box.style.gridTemplateColumns = `repeat(${best.columns}, minmax(0, 1fr))`;
    this.fit = best.fit;
    for (const pane of panes) {
      pane.view.style.height = `${Math.max(best.height, 1)}px`;
      Object.assign(pane, { across: best.width, down: best.height });
    }
    this.place();
  }

  // Small pictures are enlarged to fit, so that their natural size is less.
  bounded(zoom) { return Math.min(Math.max(zoom, Math.min(1, 1 / this.fit)), Math.max(8, NEAREST / this.fit)); }

  place() {
    this.zoom = this.bounded(this.zoom);
    for (const pane of this.panes.filter(({ width }) => width)) {
      const scale = Math.min(pane.across / pane.width, pane.down / pane.height) * this.zoom;
      const [width, height] = [pane.width * scale, pane.height * scale];
      const start = (size, room, at) => (size <= room ? (room - size) / 2 : Math.min(Math.max(room / 2 - at * size, room - size), 0));
      Object.assign(pane, { scaled: [width, height], left: start(width, pane.across, this.x), top: start(height, pane.down, this.y) });
      Object.assign(pane.frame.style, { width: `${width}px`, height: `${height}px`, left: `${pane.left}px`, top: `${pane.top}px` });
    }
    const [{ scaled, left, top, across, down }] = this.panes;
    // The middle, within the picture.
    this.x = Math.min(Math.max((across / 2 - left) / scaled[0], 0), 1);
    this.y = Math.min(Math.max((down / 2 - top) / scaled[1], 0), 1);
    this.percent.textContent = `${Math.round(100 * this.fit * this.zoom)} %`;
    this.box.classList.toggle("zoomed", this.zoom > 1);
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.panes.forEach(({ frame }) => arrangeCaptions(frame)));
  }

  natural() { this.zoom = 1 / this.fit; this.place(); }

  // Zooms; a point of the window stays where it is.
  by(factor, event) {
    if (!this.panes[0]?.scaled) return;
    const pane = (event && this.panes.find(({ view }) => view.contains(event.target))) ?? this.panes[0];
    const place = pane.view.getBoundingClientRect();
    const px = event ? event.clientX - place.left : pane.across / 2, py = event ? event.clientY - place.top : pane.down / 2;
    const at = [(px - pane.left) / pane.scaled[0], (py - pane.top) / pane.scaled[1]];
    const before = this.zoom;
    this.zoom = this.bounded(before * factor);
    const [width, height] = pane.scaled.map((size) => (size * this.zoom) / before);
    this.x = (pane.across / 2 - px) / width + at[0];
    this.y = (pane.down / 2 - py) / height + at[1];
    this.place();
  }

  shift(dx, dy) {
    const [{ scaled }] = this.panes;
    this.x -= dx / scaled[0];
    this.y -= dy / scaled[1];
    this.place();
  }

  // Whether a key was for the pictures.
  key(event) {
    const size = { "+": () => this.by(1.5), "=": () => this.by(1.5), "-": () => this.by(1 / 1.5), 0: () => this.reset(), 1: () => this.natural() }[event.key];
    if (size && this.panes.length) { size(); return true; }
    const step = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
    if (!step || this.zoom <= 1 || document.activeElement !== this.box) return false;
    this.shift(...step);
    return true;
  }

  wheel(event) {
    if (event.deltaY > 0 && this.zoom <= 1) return; // The dialog scrolls.
    event.preventDefault();
    this.by(Math.exp(-event.deltaY * 0.002), event);
  }

  down(event) {
    this.pointers.set(event.pointerId, event);
    if (this.pointers.size === 1) this.moved = 0;
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const others = [...this.pointers.values()].filter((one) => one.pointerId !== event.pointerId);
    this.pointers.set(event.pointerId, event);
    const dx = event.clientX - before.clientX, dy = event.clientY - before.clientY;
    this.moved += Math.abs(dx) + Math.abs(dy);
    if (others.length) {
      const far = (one) => Math.hypot(one.clientX - others[0].clientX, one.clientY - others[0].clientY) || 1;
      const middle = { target: event.target, clientX: (event.clientX + others[0].clientX) / 2, clientY: (event.clientY + others[0].clientY) / 2 };
      this.by(far(event) / far(before), middle);
    } else if (this.zoom > 1 && this.moved > 3) {
      if (!this.box.hasPointerCapture(event.pointerId)) this.box.setPointerCapture(event.pointerId);
      this.shift(dx, dy);
    }
  }

  up(event) {
    const isClick = this.pointers.delete(event.pointerId) && this.moved <= 3 && !this.pointers.size;
    const pane = isClick && this.panes.find(({ view }) => view.contains(event.target));
    if (pane) this.pick(boxAt(pane.frame, event.clientX, event.clientY));
  }

  cancel(event) { this.pointers.delete(event.pointerId); }
}
