// The large view of a sample, with the sample at all times side by side.
import { button, el, isInUse, text, verdict, words } from "./elements.js";
import { picturesAt, timesOf, viewAt } from "./data.js";
import { layerControls, picture, updateMasks } from "./overlays.js";

const MOST = 60; // Versions side by side.

export class Detail {
  constructor(changed) {
    this.changed = changed;
    this.dialog = el("dialog", { class: "detail", "aria-label": "Sample", onkeydown: (event) => this.key(event), onclose: () => this.back(),
      onclick: (event) => { if (event.target === this.dialog) this.dialog.close(); } });
    Object.assign(this, { top: el("div"), controls: el("div"), versions: el("div") });
    this.dialog.append(this.top, this.controls, this.versions);
    document.body.append(this.dialog);
  }

  open(view, rows, place, column) {
    Object.assign(this, { view, rows, place, column });
    this.draw();
    if (!this.dialog.open) this.dialog.showModal();
  }

  key(event) {
    if (event.target.matches("input")) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) { event.preventDefault(); this.step(step); }
    event.stopPropagation();
  }

  // To the row of the sample, if it is visible.
  back() {
    document.querySelector(`tr[data-row="${this.rows[this.place]}"] .thumb`)?.focus();
  }

  step(by) {
    if (this.place + by in this.rows) { this.place += by; this.draw(); }
  }

  draw() {
    const { view, rows, place } = this, row = rows[place];
    const name = view.columns.has(this.column) ? this.column : view.picture;
    const column = view.columns.get(name), cell = column?.values[row];
    const key = view.key(row), again = () => { updateMasks(); this.changed(); this.draw(); };
    const values = [...view.columns].filter(([, one]) => ["number", "text", "boolean"].includes(one.type));
    const focused = this.top.contains(document.activeElement) ? document.activeElement.dataset.step : "";
    const step = (by, sign, label) => button(() => this.step(by), { "data-step": by, "aria-label": label, disabled: !(place + by in rows) }, sign);
    const close = button(() => this.dialog.close(), { "data-step": "close", "aria-label": "Close" }, "✕");
    this.top.replaceChildren(
      el("header", {}, el("h2", {}, `Sample ${text(key)}`, el("small", {}, ` ${view.label} · ${place + 1} of ${rows.length}`)),
        el("nav", {}, step(-1, "‹", "Previous sample"), step(1, "›", "Next sample"), close)),
      el("div", { class: "large" }, cell ? picture(cell, column, `sample ${text(key)}`, true) : null,
        el("dl", {}, ...values.flatMap(([label, one]) => [el("dt", {}, words(label)), el("dd", {}, text(one.values[row]))]))));
    if (!isInUse(this.controls)) this.controls.replaceChildren(cell ? layerControls(view, again, true) : "");
    this.versions.replaceChildren(this.strip(key));
    if (focused) this.top.querySelector(`[data-step="${focused}"]`)?.focus();
  }

  strip(key) {
    const { view } = this, times = timesOf(view.run);
    if (!view.columns.has("idx") || times.length < 2) return el("div");
    const shown = times.length > MOST ? times.filter((_, i) => i % Math.ceil(times.length / MOST) === 0 || i === times.length - 1) : times;
    const tiles = shown.map(({ time, label }) => {
      const found = picturesAt(view.run, time).get(key);
      const known = found ?? this.scores(time, key);
      if (!known) return el("figure", { class: "tile none" }, el("figcaption", {}, el("b", {}, label), "not shown then"));
      return el("figure", { class: `tile ${verdict(known.view.wrong(known.row))} ${time === view.time ? "now" : ""}` },
        found ? picture(found.cell, found.column, `sample ${text(key)}, ${label}`, false) : null,
        el("figcaption", {}, el("b", {}, label), ...summary(known.view, known.row).map((line) => el("span", {}, line))));
    });
    return el("section", {}, el("h3", {}, "In all versions"), el("div", { class: "strip" }, ...tiles));
  }

  // A sample that has no picture at that time may still have its scores.
  scores(time, key) {
    const table = this.view.run.tables.find((one) => one.name === "scores" && one.versions.some((version) => version.time === time));
    const view = table && viewAt(this.view.run, table, time);
    const row = view ? view.columns.get("idx")?.values.indexOf(key) ?? -1 : -1;
    return row < 0 ? null : { view, row };
  }
}

// Describes a row in two or three lines.
export function summary(view, row) {
  const lines = [];
  const mark = { wrong: "✗ ", right: "✓ " }[verdict(view.wrong(row))] ?? "";
  if (view.columns.has("pred")) lines.push(`${mark}${text(view.get(row, "pred"))}`);
  const names = ["score", "loss", "missed", "wrong", "errors", "true_positives", "false_positives", "false_negatives", "mean_iou", "mean_dice", "error"];
  for (const name of names) {
    if (view.columns.has(name) && lines.length < 3) lines.push(`${words(name)} ${text(view.get(row, name)) || "–"}`);
  }
  return lines;
}
