// Where the model fails: weak slices as bars, which open their samples.
import { button, el, isNumber, text } from "./elements.js";
import { partOf, viewAt } from "./data.js";

const NAME = "weak_slices";
const isOfSlices = (table) => table.name.split(" (")[0].split("/").pop() === NAME;
// Whether the gap is another one than that of the two errors, because samples are compared within groups.
const inStrata = ({ error, error_elsewhere: other, gap }) => isNumber(gap) && Math.abs(error - other - gap) > 2e-5 * Math.max(Math.abs(error), Math.abs(other)); // Of six digits.
const percent = (share) => `${(100 * Math.max(0, Math.min(share, 1))).toFixed(2)}%`;

// Returns the weak slices of a run up to a time; the one with the largest bound first.
export function slicesAt(run, time) {
  return run.tables.filter(isOfSlices).flatMap((table) => {
    if (!table.versions.some((version) => version.time <= time)) return [];
    const view = viewAt(run, table, time);
    const rows = Array.from({ length: view.rows }, (_, row) => ({ view, table, row,
      name: text(view.get(row, "slice")), remark: text(view.get(row, "remark")), samples: text(view.get(row, "index")).split(", ").filter(Boolean).map(Number),
      ...Object.fromEntries(["num_samples", "error", "error_elsewhere", "gap", "at_least"].map((name) => [name, view.get(row, name)])) }));
    return rows.filter(({ error, error_elsewhere: other, at_least: bound }) => [error, other, bound].every(isNumber))
      .sort((a, b) => b.at_least - a.at_least);
  });
}

// The table and the time of the scores of all samples to which the indices of a slice belong.
export function scoresOf(run, { table, view }) {
  const names = [table.name.replace(NAME, "scores"), `scores${partOf(table.name)}`, "scores"];
  return { time: view.time, place: run.tables.findIndex((one) => names.includes(one.name) && one.versions.some(({ time }) => time === view.time)) };
}

// pick(slice) is called to show the samples of a slice; `picked` is the name of the one that is shown.
export function weakSlices(slices, { pick, picked }) {
  const most = Math.max(...slices.map(({ error, error_elsewhere: other }) => Math.max(error, other)), 1e-9);
  const bar = (kind, value, label, mark) => el("span", { class: `bar-of ${kind}` },
    el("i", { style: { width: percent(value / most) } }),
    isNumber(mark) ? el("b", { style: { left: percent(mark / most) } }) : null, el("span", {}, label));
  return el("div", { class: "weak" }, ...slices.map((one) => button(() => pick(one), {
    class: "slice", "aria-pressed": String(one.name === picked), title: one.remark || null,
  }, el("strong", {}, one.name), el("small", {}, `${one.num_samples} samples`, one.remark ? ` · ${one.remark}` : ""),
  bar("here", one.error, `error ${text(one.error)}, at least ${text(one.at_least)} more ${inStrata(one) ? "within strata" : "than elsewhere"}`,
    inStrata(one) ? one.error - one.gap + one.at_least : one.error_elsewhere + one.at_least),
  bar("elsewhere", one.error_elsewhere, `elsewhere ${text(one.error_elsewhere)}`))));
}
