// All that is known of a class: its numbers, their curves, and its samples.
import { button, el, isNumber, text, verdict } from "./elements.js";
import { picturesAt, viewAt } from "./data.js";
import { lineChart } from "./charts.js";
import { linesOf } from "./grid.js";
import { picture } from "./overlays.js";

const TILES_AT_ONCE = 24; // Pictures of each kind.
const KINDS = { wrong: "wrong: taken for this class", missed: "missed", right: "right" };

// A table whose rows are of classes: the column with their names.
const namesIn = (table) => (/per_class$/.test(table.name.split(" (")[0]) ? table.versions.at(-1).columns.map(([name]) => name).find((name) => ["class", "label", "name"].includes(name)) : undefined);

export class ClassView {
  constructor({ now, show, open, moved }) {
    Object.assign(this, { now, show, open, moved, name: "" });
    this.dialog = el("dialog", { class: "class-view", "aria-label": "Class", onkeydown: (event) => event.stopPropagation(), onclose: () => { if (!this.dialog.open) { this.name = ""; this.moved(); } },
      onclick: (event) => { if (event.target === this.dialog) this.dialog.close(); } });
    document.body.append(this.dialog);
    document.addEventListener("about-class", ({ detail }) => this.about(detail));
  }

  about(name) {
    this.name = name;
    this.draw();
    if (!this.dialog.open) this.dialog.showModal();
    this.moved();
  }

  close() { if (this.dialog.open) this.dialog.close(); }

  draw() {
    const { run, time, label } = this.now();
    const close = button(() => this.dialog.close(), { "aria-label": "Close" }, "✕");
    this.dialog.replaceChildren(
      el("header", {}, el("h2", {}, "Class ", el("bdi", {}, this.name), el("small", {}, ` ${label}`)), el("nav", { "aria-label": "Dialog" }, close)),
      ...this.numbers(run, time), ...this.samples(run, time));
  }

  numbers(run, time) {
    const values = new Map(), series = new Map(), tables = run.tables.filter(namesIn);
    for (const table of tables) {
      const column = namesIn(table), of = tables.length > 1 ? `${table.name.split("/")[0]} ` : "";
      for (const version of table.versions) {
        const view = viewAt(run, table, version.time), row = view.columns.get(column)?.values.map(text).indexOf(this.name) ?? -1;
        for (const [name, { type, values: cells }] of row < 0 ? [] : view.columns) {
          const key = of + name;
          if (type !== "number" || ["epoch", "batch", "idx"].includes(name) || !isNumber(cells[row])) continue;
          if (version.time <= time) values.set(key, cells[row]);
          if (!series.has(key)) series.set(key, []);
          series.get(key).push([version.time, cells[row]]);
        }
      }
    }
    for (const { key, points } of run.curves) {
      const parts = key.split("/");
      if (parts.at(-1) !== this.name) continue;
      series.set(parts.slice(0, -1).join("/"), points);
      values.set(parts.slice(0, -1).join("/"), (points.filter(([x]) => x <= time).at(-1) ?? points[0])[1]);
    }
    const curves = [...series].filter(([, points]) => points.length > 1);
    return [
      values.size ? el("dl", { class: "numbers" }, ...[...values].flatMap(([key, value]) => [el("dt", {}, key.replaceAll("_", " ")), el("dd", {}, text(value))])) : "",
      curves.length ? el("div", { class: "charts" }, ...curves.map(([key, points]) => lineChart({ title: key.replaceAll("_", " "), series: [{ name: this.name, points }], x: "epoch", marker: time }))) : "",
    ];
  }

  samples(run, time) {
    const tables = run.tables.map((table) => viewAt(run, table, time)).filter((view) => view.tellsPairs);
    const view = tables.find((one) => one.name.split(" (")[0] === "scores") ?? tables[0];
    if (!view) return [el("p", { class: "empty" }, "No table tells the classes of samples.")];
    const known = picturesAt(run, view.time, view.name), groups = { wrong: [], missed: [], right: [] };
    for (let row = 0; row < view.rows; row += 1) groups[view.ofClass(row, this.name)]?.push(row);
    return Object.entries(groups).map(([kind, rows]) => {
      const shown = rows.filter((row) => !view.picture || view.get(row, view.picture) || known.has(view.key(row))).slice(0, TILES_AT_ONCE);
      const tile = (row) => {
        const cell = view.picture && view.get(row, view.picture);
        return button(() => this.open(view, rows, rows.indexOf(row)), { class: `thumb tile ${verdict(view.wrong(row))}`, "aria-label": `Open sample ${text(view.key(row))}` },
          cell ? picture(cell, view.columns.get(view.picture), "") : null, ...linesOf(view, row).map((line) => el("bdi", { dir: "ltr" }, line)));
      };
      const all = button(() => { const { name } = this; this.close(); this.show(view.name, [kind, name]); }, { "data-kind": kind, disabled: !rows.length }, "show in the table");
      return el("section", { "data-group-of": kind }, el("h3", {}, `${KINDS[kind]} `, el("b", {}, String(rows.length)), view.time === time ? " " : ` (${view.label}) `, all), el("div", { class: "strip" }, ...shown.map(tile)));
    });
  }
}
