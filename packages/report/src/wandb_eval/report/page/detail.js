// The large view of a sample, with the sample at all times side by side.
import { button, checkbox, classButton, el, isInUse, text, verdict, words } from "./elements.js";
import { OF_CLASSES, partOf, picturesAt, summary, timesOf, viewAt } from "./data.js";
import { layerControls, layers, picture, updateMasks } from "./overlays.js";
import { boxesOf, captionOf, singleOut } from "./boxes.js";
import { Zoom } from "./zoom.js";

const MOST = 60; // Versions side by side.
const LONG_TEXT = 60; // Characters, from which on a text is shown large.

export class Detail {
  constructor({ changed, moved }) {
    Object.assign(this, { changed, moved, inStep: false, single: null, zoom: new Zoom({ pick: (key) => this.pick(key) }) });
    this.dialog = el("dialog", { class: "detail", "aria-label": "Sample", onkeydown: (event) => this.key(event), onclose: () => this.back(),
      onclick: (event) => { if (event.target === this.dialog) this.dialog.close(); } });
    Object.assign(this, { top: el("div"), controls: el("div", { class: "tools" }), aside: el("div", { class: "aside" }), versions: el("div") });
    this.large = el("div", { class: "large" }, this.zoom.box, this.aside);
    this.dialog.append(this.top, this.controls, this.large, this.versions);
    document.body.append(this.dialog);
  }

  // `rows`: those that one steps through.
  open(view, rows, place, time) {
    Object.assign(this, { view, rows, place, time: time ?? view.time, single: null });
    this.zoom.whole();
    this.draw();
    if (!this.dialog.open) this.dialog.showModal();
    this.zoom.layout();
    this.scrollStrip();
  }

  close() { if (this.dialog.open) this.dialog.close(); }

  // The time of the open sample, if it is another one than the page's.
  get then() { return this.dialog.open && this.time !== this.view.time ? String(this.time) : ""; }

  // The key of the open sample.
  get sample() { return this.dialog.open ? text(this.view.key(this.rows[this.place])) : ""; }

  key(event) {
    event.stopPropagation();
    if (event.target.matches("input:not([type=checkbox])") || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (this.zoom.key(event)) event.preventDefault();
    else if (step) { event.preventDefault(); this.step(step); }
  }

  // To the row of the sample, if it is visible.
  back() {
    this.moved();
    document.querySelector(`main [data-row="${this.rows[this.place]}"]:is(.thumb), main tr[data-row="${this.rows[this.place]}"] .thumb`)?.focus();
  }

  step(by) {
    if (!(this.place + by in this.rows)) return;
    this.place += by;
    this.single = null;
    this.draw();
    this.scrollStrip();
    this.moved();
  }

  // The sample as it was at another time, if it has a picture there.
  get shown() {
    const { view, rows, place, time } = this, row = rows[place];
    if (time === view.time) return { view, row };
    const there = view.picture ? picturesAt(view.run, time, view.name).get(view.key(row)) : this.scores(time, view.key(row));
    return there ? { view: there.view, row: there.row } : { view, row };
  }

  pick(key) {
    this.single = key === this.single ? null : key;
    singleOut(this.dialog, this.single);
  }

  draw() {
    const { rows, place } = this, { view, row } = this.shown;
    const key = view.key(row), again = () => { updateMasks(); this.changed(); this.draw(); };
    const focused = this.top.contains(document.activeElement) ? document.activeElement.dataset.step : "";
    const step = (by, sign, label) => button(() => this.step(by), { "data-step": by, "aria-label": label, disabled: !(place + by in rows) }, sign);
    const close = button(() => this.dialog.close(), { "data-step": "close", "aria-label": "Close" }, "✕");
    this.top.replaceChildren(
      el("header", {}, el("h2", {}, "Sample ", el("bdi", {}, text(key)), el("small", {}, ` ${view.label} · ${place + 1} of ${rows.length}`)),
        el("nav", { "aria-label": "Samples" }, step(-1, "‹", "Previous sample"), step(1, "›", "Next sample"), close)));
    const panes = this.panes(view, row, key);
    this.zoom.box.hidden = !panes.length;
    this.zoom.show(panes);
    this.aside.replaceChildren(...this.values(view, row), ...this.boxList(view, row));
    if (!isInUse(this.controls)) {
      const isPaired = this.isPaired(view, row);
      this.controls.replaceChildren(panes.length ? this.zoom.buttons : "",
        isPaired ? checkbox(this.inStep, (on) => { this.inStep = on; this.draw(); this.moved(); }, { "data-control": "side" }, "truth | prediction") : "",
        panes.length ? layerControls(view, again, true) : "");
    }
    this.versions.replaceChildren(this.strip(this.view.key(rows[place])));
    singleOut(this.dialog, this.single);
    if (focused) this.top.querySelector(`[data-step="${focused}"]`)?.focus();
  }

  isPaired(view, row) {
    const cell = view.pictures.length === 1 && view.get(row, view.picture);
    const names = Object.keys({ ...cell?.boxes, ...cell?.masks });
    return names.includes("ground_truth") && names.length > 1;
  }

  panes(view, row, key) {
    const pane = (name, title, isShown) => {
      const cell = view.get(row, name);
      return cell && { title, frame: picture(cell, view.columns.get(name), `${words(name)} of sample ${text(key)}`, { large: true, isShown }),
        width: cell.width ?? 0, height: cell.height ?? 0 };
    };
    const names = view.pictures;
    if (names.length > 1) return names.map((name) => pane(name, words(name))).filter(Boolean);
    if (!names.length) return [];
    if (!this.inStep || !this.isPaired(view, row)) return [pane(names[0], "")].filter(Boolean);
    const isTruth = (layer) => layer === "ground_truth";
    return [pane(names[0], "truth", isTruth), pane(names[0], "prediction", (layer, name) => !isTruth(layer) && !layers.off.has(name))];
  }

  values(view, row) {
    const shown = [...view.columns].filter(([, one]) => ["number", "text", "boolean"].includes(one.type));
    const isLong = ([, one]) => text(one.values[row]).length > LONG_TEXT && one.type === "text";
    const value = (name, cell) => (OF_CLASSES.includes(name) && cell && !Array.isArray(cell) && view.names(cell).length === 1 ? classButton(text(cell)) : el("bdi", {}, text(cell)));
    return [...shown.filter(isLong).map(([name, one]) => el("section", { class: "text" }, el("h3", {}, words(name)), el("p", { dir: "auto" }, text(one.values[row])))),
      el("dl", {}, ...shown.filter((one) => !isLong(one)).flatMap(([name, one]) => [el("dt", {}, words(name)), el("dd", {}, value(name, one.values[row]))]))];
  }

  // All boxes as buttons, by which one is singled out.
  boxList(view, row) {
    const column = view.columns.get(view.picture), cell = column?.values[row];
    const boxes = cell?.boxes ? boxesOf(cell, column, (layer, key) => this.inStep || !layers.off.has(key)) : [];
    if (!boxes.length) return [];
    const opened = this.aside.querySelector("details")?.open ?? false;
    const one = (box) => el("li", {}, button(() => this.pick(box.key), { "data-box": box.key, "aria-pressed": "false" },
      el("bdi", {}, captionOf(box)), el("small", {}, ` ${words(box.layer)}`)));
    return [el("details", { class: "boxes-list", open: opened }, el("summary", {}, boxes.length > 1 ? `${boxes.length} boxes: single one out` : "1 box"), el("ul", {}, ...boxes.map(one)))];
  }

  strip(key) {
    const { view } = this, times = timesOf(view.run);
    if (!view.columns.has("idx") || times.length < 2) return el("div");
    const shown = times.length > MOST ? times.filter((_, i) => i % Math.ceil(times.length / MOST) === 0 || i === times.length - 1 || times[i].time === this.time) : times;
    const tiles = shown.map(({ time, label }) => {
      const found = picturesAt(view.run, time, view.name).get(key);
      const known = found ?? this.scores(time, key);
      const isNow = time === this.time ? "now" : "";
      if (!known) return el("div", { class: `tile none ${isNow}` }, el("b", {}, label), el("span", {}, "not shown then"));
      const go = () => { this.time = time; this.draw(); this.moved(); this.dialog.querySelector(`[data-time="${time}"]`)?.focus({ preventScroll: true }); };
      return button(go, { class: `tile ${verdict(known.view.wrong(known.row))} ${isNow}`, disabled: !found && view.picture !== undefined, "data-time": time, "aria-current": isNow ? "true" : null },
        found ? picture(found.cell, found.column, `sample ${text(key)}, ${label}`) : null,
        el("b", {}, label), ...summary(known.view, known.row).map((line) => el("bdi", { dir: "ltr" }, line)));
    });
    return el("section", {}, el("h3", {}, "In all versions"), el("div", { class: "strip" }, ...tiles));
  }

  // The strip begins at the version that is shown.
  scrollStrip() {
    const strip = this.versions.querySelector(".strip"), now = strip?.querySelector(".now");
    if (now) strip.scrollLeft = now.offsetLeft - strip.offsetLeft;
  }

  // A sample that has no picture at that time may still be in the table, or in the scores.
  scores(time, key) {
    for (const name of [this.view.name, `scores${partOf(this.view.name)}`, "scores"]) {
      const table = this.view.run.tables.find((one) => one.name === name && one.versions.some((version) => version.time === time));
      const view = table && viewAt(this.view.run, table, time);
      const row = view ? view.columns.get("idx")?.values.indexOf(key) ?? -1 : -1;
      if (row >= 0) return { view, row };
    }
    return null;
  }
}
