// Two versions, or two runs, side by side: the fixed and the broken samples.
import { button, el, isNumber, select, text, verdict, words } from "./elements.js";
import { page, summary, timesOf, viewAt } from "./data.js";
import { picture } from "./overlays.js";

const AT_ONCE = 60;
const NO_MEASURES = ["idx", "epoch", "batch", "num_boxes"];
const LESS_IS_BETTER = /loss|error|false|missed|distance/;

// Measures by which two versions can be compared: whether right first, then numbers.
export function measuresOf(view) {
  const numbers = [...view.columns].filter(([name, column]) => column.type === "number" && !NO_MEASURES.includes(name));
  return [...(view.rows && view.wrong(0) !== undefined ? ["right or wrong"] : []), ...numbers.map(([name]) => name)];
}

function valueOf(view, row, measure) {
  if (measure === "right or wrong") return view.wrong(row) === undefined ? null : Number(!view.wrong(row));
  return view.get(row, measure);
}

const hasPicture = (view, row) => Number(Boolean(view.picture && view.get(row, view.picture)));

// Samples that are in both, in groups, each with those that changed most first.
export function compareViews(a, b, measure) {
  const rows = new Map();
  for (let row = 0; row < a.rows; row += 1) rows.set(a.key(row), row);
  const sign = LESS_IS_BETTER.test(measure) ? -1 : 1;
  const groups = { better: [], worse: [], same: [] };
  for (let row = 0; row < b.rows; row += 1) {
    const before = rows.get(b.key(row));
    if (before === undefined) continue;
    const [x, y] = [valueOf(a, before, measure), valueOf(b, row, measure)];
    if (!isNumber(x) || !isNumber(y)) continue;
    const change = sign * (y - x);
    groups[change > 0 ? "better" : change < 0 ? "worse" : "same"].push({ a: before, b: row, x, y, change });
  }
  const shown = (pair) => hasPicture(a, pair.a) || hasPicture(b, pair.b);
  const order = (one, other) => Math.abs(other.change) - Math.abs(one.change) || shown(other) - shown(one);
  for (const group of Object.values(groups)) group.sort(order);
  return groups;
}

function truthOf(cell) {
  const only = (layers) => (layers?.ground_truth === undefined ? {} : { ground_truth: layers.ground_truth });
  return { ...cell, boxes: only(cell.boxes), masks: only(cell.masks) };
}

export class Compare {
  constructor() {
    const last = page.runs.length - 1;
    const end = (run) => timesOf(page.runs[run]).at(-1)?.time;
    const first = last ? end(0) : timesOf(page.runs[0])[0]?.time;
    Object.assign(this, { sides: [[0, first], [last, end(last)]], group: null, measure: null, shown: AT_ONCE });
    this.box = el("section", { id: "compare", tabindex: -1 });
  }

  view([run, time]) {
    const tables = page.runs[run].tables;
    const table = tables.find((one) => one.name === "scores") ?? tables[0];
    const main = viewAt(page.runs[run], table, time);
    // Scores of all samples are of use only if they can tell right from wrong.
    return main.rows && main.wrong(0) === undefined ? viewAt(page.runs[run], tables[0], time) : main;
  }

  draw() {
    const isAlone = page.runs.length < 2 && timesOf(page.runs[0]).length < 2;
    this.box.hidden = isAlone || this.sides.some(([run]) => !page.runs[run].tables.length);
    if (this.box.hidden) return;
    const [a, b] = this.sides.map((side) => this.view(side));
    const measures = measuresOf(a).filter((name) => measuresOf(b).includes(name));
    if (!measures.includes(this.measure)) [this.measure] = measures;
    if (!measures.length) { this.box.hidden = true; return; }
    const groups = compareViews(a, b, this.measure);
    const changes = this.measure === "right or wrong" ? ["fixed", "broken"] : ["better", "worse"];
    const names = { better: changes[0], worse: changes[1], same: "unchanged" };
    this.group ??= ["worse", "better", "same"].find((group) => groups[group].length) ?? "worse";
    const again = (change) => (value) => { change(value); this.shown = AT_ONCE; this.draw(); };
    const sides = page.runs.flatMap((run, i) => timesOf(run).map(({ time, label }) => (
      [`${i} ${time}`, page.runs.length > 1 ? `${run.name} (${"AB"[i]}), ${label}` : label])));
    const chooser = (side) => select(sides, this.sides[side].join(" "),
      again((value) => { this.sides[side] = value.split(" ").map(Number); }), { "data-side": side });
    const measure = select(measures.map((name) => [name, words(name)]), this.measure,
      again((value) => { this.measure = value; }), { "data-measure": "" });
    const tab = ([group, name]) => button(again(() => { this.group = group; }),
      { "data-group": group, "aria-pressed": String(group === this.group), class: group },
      `${name} `, el("b", {}, String(groups[group].length)));
    const list = groups[this.group], left = Math.min(AT_ONCE, list.length - this.shown);
    const focused = document.activeElement?.dataset?.group;
    this.box.replaceChildren(
      el("h2", {}, "What changed"),
      el("div", { class: "filters" }, el("label", {}, "from ", chooser(0)), el("label", {}, "to ", chooser(1)), el("label", {}, "by ", measure)),
      el("div", { class: "tabs", role: "group", "aria-label": "Samples" }, ...Object.entries(names).map(tab)),
      list.length
        ? el("div", { class: "pairs" }, ...list.slice(0, this.shown).map((pair) => this.pair(a, b, pair)))
        : el("p", { class: "empty" }, `No sample is ${names[this.group]}.`),
      left > 0 ? button(() => { this.shown += AT_ONCE; this.draw(); }, {}, `Show ${left} more of ${list.length}`) : "");
    if (focused) this.box.querySelector(`[data-group=${focused}]`)?.focus();
  }

  pair(a, b, { a: before, b: after, x, y }) {
    const key = text(b.key(after));
    const known = (view, row) => ({ cell: view.picture && view.get(row, view.picture), column: view.columns.get(view.picture) });
    const side = (view, row, other) => {
      let { cell, column } = known(view, row);
      // The picture of the other version has the same pixels and truth, but other predictions.
      if (!cell && other.cell) [cell, column] = [truthOf(other.cell), other.column];
      return el("div", { class: `tile ${verdict(view.wrong(row))}` },
        cell ? picture(cell, column, `sample ${key}, ${view.label}`) : null,
        ...summary(view, row).map((line) => el("span", {}, line)));
    };
    const label = b.columns.has("label") ? ` · ${text(b.get(after, "label"))}` : "";
    const change = this.measure === "right or wrong" ? "" : `${words(this.measure)} ${text(x)} → ${text(y)}`;
    return el("figure", { class: "pair", "data-key": key },
      el("figcaption", {}, el("b", {}, `sample ${key}${label}`), el("span", {}, change)),
      el("div", { class: "sides" }, side(a, before, known(b, after)), side(b, after, known(a, before))));
  }
}
