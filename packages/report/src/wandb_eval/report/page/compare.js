// Two versions, or two runs, side by side: the fixed and the broken samples.
import { button, classButton, el, isNumber, isolated, select, text, verdict, words } from "./elements.js";
import { page, summary, timesOf, viewAt } from "./data.js";
import { picture } from "./overlays.js";

const AT_ONCE = innerWidth < 640 ? 12 : 60;
// Columns on the sample, the earlier training or the prediction tell nothing of better and worse.
const NO_MEASURES = /^(idx|epoch|batch|content|score|learned_in|forgotten|mean_confidence|confidence_spread|mean_scaled_error|scaled_error_spread|pred.*|num_.*)$/;
const { higher_is_better: KNOWN, lower: LOWER, higher: HIGHER } = page.measures, FIRST_MEASURES = Object.keys(KNOWN);
const isMoreBetter = (name) => KNOWN[name] ?? (new RegExp(LOWER).test(name) ? false : new RegExp(HIGHER).test(name) ? true : undefined);
const SIGNED = /^error\b|error$/;

// Measures by which two versions can be compared: whether right first, then numbers.
export function measuresOf(view) {
  const { targets } = view;
  const numbers = [...view.columns].filter(([name, column]) => column.type === "number" && !NO_MEASURES.test(name) && !targets.includes(name));
  const place = ([name]) => (FIRST_MEASURES.indexOf(name) + FIRST_MEASURES.length + 1) % (FIRST_MEASURES.length + 1);
  numbers.sort((a, b) => place(a) - place(b));
  return [...(view.rows && view.wrong(0) !== undefined ? ["right or wrong"] : []), ...numbers.map(([name]) => name)];
}

function valueOf(view, row, measure) {
  if (measure === "right or wrong") return view.wrong(row) === undefined ? null : Number(!view.wrong(row));
  const value = view.get(row, measure);
  return isNumber(value) && SIGNED.test(measure) ? Math.abs(value) : value;
}

const hasPicture = (view, row) => Number(Boolean(view.picture && view.get(row, view.picture)));

// The key of each row: in two runs, the content of the sample, and which one of equal samples it is.
function keysOf(view, other) {
  const isOne = view.run === other.run || ![view, other].every(({ columns }) => columns.has("content"));
  const counts = new Map(), count = (name) => counts.set(name, (counts.get(name) ?? 0) + 1).get(name);
  const nth = (name) => `${name} ${count(name)}`;
  return Array.from({ length: view.rows }, (_, row) => (isOne ? view.key(row) : nth(view.get(row, "content"))));
}

// Samples that are in both, in groups, each with those that changed most first.
export function compareViews(a, b, measure) {
  const rows = new Map(keysOf(a, b).map((key, row) => [key, row])), keys = keysOf(b, a);
  const sign = isMoreBetter(measure) === false ? -1 : 1;
  const groups = { better: [], worse: [], same: [] };
  for (let row = 0; row < b.rows; row += 1) {
    const before = rows.get(keys[row]);
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
  constructor({ moved }) {
    const last = page.runs.length - 1;
    const end = (run) => timesOf(page.runs[run]).at(-1)?.time;
    const first = last ? end(0) : timesOf(page.runs[0])[0]?.time;
    Object.assign(this, { moved, usual: [[0, first], [last, end(last)]] });
    this.restore(null);
    this.box = el("section", { id: "compare", tabindex: -1 });
  }

  // What was chosen, as texts; nothing where all is as usual.
  get state() {
    return this.isChosen ? [...this.sides.map((side) => side.join(" ")), this.measure, this.group] : null;
  }

  restore(state) {
    const sides = state?.slice(0, 2).map((side) => side.split(" ").map(Number)) ?? [];
    const isKnown = ([run, time]) => page.runs[run] && timesOf(page.runs[run]).some((one) => one.time === time);
    this.isChosen = state?.length === 4 && sides.every(isKnown) && ["better", "worse", "same"].includes(state[3]);
    const [measure, group] = this.isChosen ? state.slice(2) : [null, null];
    Object.assign(this, { sides: this.isChosen ? sides : this.usual.slice(), measure, group, shown: AT_ONCE });
  }

  view([run, time]) {
    const tables = page.runs[run].tables;
    const table = tables.find((one) => one.name.split(" (")[0] === "scores") ?? tables[0];
    const main = viewAt(page.runs[run], table, time);
    // Scores of all samples are of use only if they can tell right from wrong.
    return page.runs.length < 2 && main.rows && main.wrong(0) === undefined ? viewAt(page.runs[run], tables[0], time) : main;
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
    const isKnown = isMoreBetter(this.measure) !== undefined;
    const changes = this.measure === "right or wrong" ? ["fixed", "broken"] : isKnown ? ["better", "worse"] : ["higher", "lower"];
    const names = { better: changes[0], worse: changes[1], same: "unchanged" };
    this.group ??= ["worse", "better", "same"].find((group) => groups[group].length) ?? "worse";
    const again = (change) => (value) => { change(value); this.isChosen = true; this.shown = AT_ONCE; this.draw(); this.moved(); };
    const sides = page.runs.flatMap((run, i) => timesOf(run).map(({ time, label }) => (
      [`${i} ${time}`, page.runs.length > 1 ? `${isolated(run.name)} (${"AB"[i]}), ${label}` : label])));
    const chooser = (side) => select(sides, this.sides[side].join(" "),
      again((value) => { this.sides[side] = value.split(" ").map(Number); }), { "data-side": side });
    const measure = select(measures.map((name) => [name, words(name)]), this.measure,
      again((value) => { this.measure = value; }), { "data-measure": "" });
    const tab = ([group, name]) => button(again(() => { this.group = group; }),
      { "data-group": group, "aria-pressed": String(group === this.group), class: group },
      `${name} `, el("b", {}, String(groups[group].length)));
    const list = groups[this.group], left = Math.min(AT_ONCE, list.length - this.shown);
    const focused = this.box.contains(document.activeElement) && Object.entries(document.activeElement.dataset)[0];
    this.box.replaceChildren(
      el("h2", {}, "What changed"),
      el("div", { class: "filters" }, el("label", {}, "from ", chooser(0)), el("label", {}, "to ", chooser(1)), el("label", {}, "by ", measure)),
      el("div", { class: "tabs", role: "group", "aria-label": "Samples" }, ...Object.entries(names).map(tab)),
      list.length
        ? el("div", { class: "pairs" }, ...list.slice(0, this.shown).map((pair) => this.pair(a, b, pair)))
        : el("p", { class: "empty" }, `No sample is ${names[this.group]}.`),
      ...this.sides.map(([, time], i) => ([a, b][i].time === time ? "" : el("p", { class: "empty" }, `The side “${i ? "to" : "from"}” is ${[a, b][i].label}: the samples were not logged then.`))),
      left > 0 ? button(() => { this.shown += AT_ONCE; this.draw(); }, {}, `Show ${left} more of ${list.length}`) : "");
    if (focused) [...this.box.querySelectorAll("select, .tabs button")].find((one) => one.dataset[focused[0]] === focused[1])?.focus();
  }

  pair(a, b, { a: before, b: after, x, y }) {
    const key = text(b.key(after));
    const known = (view, row) => ({ view, row, cell: view.picture && view.get(row, view.answer), column: view.columns.get(view.answer) });
    const side = (view, row, other) => {
      let { cell, column } = known(view, row);
      // The picture of the other version has the same pixels and truth, but other predictions.
      const name = other.view.picture, still = name && other.view.get(other.row, name);
      if (!cell && still) [cell, column] = [truthOf(still), other.view.columns.get(name)];
      return el("div", { class: `tile ${verdict(view.wrong(row))}` },
        cell ? picture(cell, column, `sample ${key}, ${view.label}`) : null,
        ...summary(view, row).map((line) => el("span", {}, line)));
    };
    const label = text(b.get(after, "label"));
    const change = this.measure === "right or wrong" ? "" : `${words(this.measure)} ${text(x)} → ${text(y)}`;
    return el("figure", { class: "pair", "data-key": key },
      el("figcaption", {}, el("b", {}, `sample ${isolated(key)}`, ...(label ? [" · ", Array.isArray(b.get(after, "label")) ? el("bdi", {}, label) : classButton(label)] : [])), el("span", {}, change)),
      el("div", { class: "sides" }, side(a, before, known(b, after)), side(b, after, known(a, before))));
  }
}
