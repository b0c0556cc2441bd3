// The parts of the page, and the choice of a version.
import { attempt, attemptFigure, button, el, isInUse, select, text } from "./elements.js";
import { page, timesOf, titleOf, versionAt, viewAt, View } from "./data.js";
import { barChart, heatMap, histogram, lineChart } from "./charts.js";
import { layerControls, mediaStrip, updateMasks } from "./overlays.js";
import { RowsTable, filterControls, newQuery } from "./table.js";
import { Detail } from "./detail.js";
import { Compare } from "./compare.js";
import { scoresOf, slicesAt, weakSlices } from "./weak.js";

const MOST_CURVES = 8;
const state = { run: 0, place: 0, table: 0, queries: new Map() };
const run = () => page.runs[state.run];
const times = () => timesOf(run());
const now = () => times()[state.place] ?? { time: Infinity, label: "" };
const tableNow = () => run().tables[state.table];
const query = () => {
  const name = tableNow().name;
  if (!state.queries.has(name)) state.queries.set(name, newQuery());
  return state.queries.get(name);
};

// --- The version ---------------------------------------------------------------------

const slider = el("input", { type: "range", id: "version", min: 0, step: 1, "aria-label": "Version",
  oninput: () => choose(Number(slider.value)) });
const label = el("output", { for: "version", id: "version-label" });
const stepper = (by, sign, name) => button(() => choose(state.place + by), { "aria-label": name }, sign);
const parts = { tables: "Samples", weak: "Where it fails", compare: "Changes", charts: "Charts", curves: "Numbers" };
const runs = page.runs.map((one, i) => [String(i), `${"AB"[i]}: ${one.name}`]);
const bar = el("div", { class: "bar", role: "group", "aria-label": "Version" },
  runs.length > 1 ? select(runs, "0", (value) => chooseRun(Number(value)), { "aria-label": "Run", id: "run" }) : null,
  stepper(-1, "‹", "Previous version"), slider, stepper(1, "›", "Next version"), label,
  el("nav", { "aria-label": "Parts of the page" }, ...Object.entries(parts).map(([id, name]) => el("a", { href: `#${id}` }, name))));

function choose(place) {
  state.place = Math.max(0, Math.min(place, times().length - 1));
  update();
}

function chooseRun(place) {
  const { time } = now(), name = tableNow()?.name;
  state.run = place;
  state.table = Math.max(run().tables.findIndex((table) => table.name === name), 0);
  const later = times().findIndex((one) => one.time >= time);
  choose(later < 0 ? times().length - 1 : later);
}

// The version that is nearest to a place on the axis of a curve.
function chooseTime(x) {
  const far = times().map(({ time }) => Math.abs(time - x));
  choose(far.indexOf(Math.min(...far)));
}

document.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.target.closest("input, select, dialog, .heat, .scroll")) return; // These elements use the arrow keys themselves.
  event.preventDefault();
  choose(state.place + step);
});

// --- Tables ------------------------------------------------------------------------------

const detail = new Detail(() => updateTable());
const rows = new RowsTable({ open: (place, column) => detail.open(rows.view, rows.rows, place, column), changed: () => updateTable() });
const tabs = el("div", { class: "tabs", role: "tablist", "aria-label": "Tables" });
const controls = el("div"), layerBox = el("div"), count = el("p", { class: "count", role: "status" });
const tablesBox = el("section", { id: "tables" },
  el("h2", {}, "Samples"), tabs, el("div", { class: "controls" }, controls, layerBox), count, rows.box);

function updateTabs() {
  tabs.replaceChildren(...run().tables.map((table, i) => button(() => { state.table = i; updateTabs(); updateTable(true); }, {
    role: "tab", "data-table": table.name, "aria-selected": String(i === state.table), tabindex: i === state.table ? 0 : -1,
    onkeydown: (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const next = step && tabs.children[i + step];
      if (step) { event.preventDefault(); event.stopPropagation(); }
      if (next) { next.click(); tabs.children[i + step].focus(); }
    },
  }, titleOf(table.name))));
}

// `anew`: controls depend on the table and its classes, but keep the focus.
function updateTable(anew = false) {
  if (!tableNow()) { tablesBox.hidden = true; return; }
  const view = viewAt(run(), tableNow(), now().time);
  if (anew || !isInUse(controls)) controls.replaceChildren(filterControls(view, query(), () => updateTable()));
  if (anew || !isInUse(layerBox)) layerBox.replaceChildren(layerControls(view, () => { updateMasks(); updateTable(); }));
  rows.show(view, query());
  const left = rows.rows.length;
  const other = view.time === now().time ? "" : ` · this table was logged at ${view.label}`;
  count.replaceChildren(el("b", {}, String(left)), ` of ${view.rows} rows${other}`);
}

// A cell of the confusion matrix was picked: its rows, in the table that has most of them.
function pickPair(actual, predicted) {
  const pair = [actual, predicted];
  const found = run().tables.map((table) => {
    const view = viewAt(run(), table, now().time);
    if (!view.tellsPairs || view.name === "hardest") return -1;
    let matching = 0;
    for (let row = 0; row < view.rows; row += 1) matching += view.isOfPair(row, actual, predicted);
    return matching;
  });
  state.table = Math.max(found.indexOf(Math.max(...found)), 0);
  Object.assign(query(), newQuery(), { pair });
  updateTabs();
  updateTable(true);
  tablesBox.scrollIntoView();
  updateCharts();
}

// --- Where it fails -----------------------------------------------------------------------

const weakBox = el("section", { id: "weak" });

function updateWeak() {
  const slices = slicesAt(run(), now().time);
  weakBox.hidden = !slices.length;
  document.querySelector('nav a[href="#weak"]')?.toggleAttribute("hidden", !slices.length);
  weakBox.replaceChildren(el("h2", {}, "Where it fails"), weakSlices(slices, { pick: pickSlice, picked: tableNow() && query().slice?.name }));
}

// A slice was picked: its samples, in the table of all samples that was logged with it.
function pickSlice(slice) {
  const { place, time } = scoresOf(run(), slice);
  if (place < 0 || !Array.isArray(slice.samples)) return;
  state.table = place;
  Object.assign(query(), newQuery(), { slice: { name: slice.name, samples: new Set(slice.samples) } });
  chooseTime(time);
  updateTabs();
  updateTable(true);
  tablesBox.scrollIntoView();
}

// --- Curves and charts ---------------------------------------------------------------------

const curvesBox = el("section", { id: "curves" }), chartsBox = el("section", { id: "charts" });

function updateCurves() {
  const groups = new Map();
  page.runs.forEach((one, i) => one.curves.forEach(({ key, axis, points }) => {
    const name = key.replace(/(^|\/)val_/, "$1");
    if (!groups.has(name)) groups.set(name, { title: name, axis, series: [] });
    const short = key === name ? name.split("/").pop() : key.split("/").pop();
    groups.get(name).series.push({ name: page.runs.length > 1 ? `${"AB"[i]}: ${short}` : short, points, dashed: i > 0 });
  }));
  const drawn = [...groups.values()].filter(({ series }) => series.some(({ points }) => points.length > 1 || groups.size < 30));
  const isEpochs = (axis) => axis.endsWith("epoch");
  // Changing curves come first, and among them those that are not a part.
  const stays = ({ series }) => series.every(({ points }) => points.every((point) => point[1] === points[0][1]));
  const depth = ({ title }) => title.split("/").length;
  drawn.sort((a, b) => stays(a) - stays(b) || depth(a) - depth(b) || a.title.localeCompare(b.title));
  const charts = drawn.map(({ title, axis, series }) => attemptFigure(title, () => lineChart({ title, series, x: axis.split("/").pop().replace(/^_/, ""),
    marker: isEpochs(axis) ? now().time : undefined, pick: isEpochs(axis) ? chooseTime : undefined })));
  const opened = curvesBox.querySelector("details")?.open;
  curvesBox.hidden = !charts.length;
  const more = charts.splice(MOST_CURVES);
  curvesBox.replaceChildren(el("h2", {}, "Numbers"), el("div", { class: "charts" }, ...charts),
    more.length ? el("details", { open: opened }, el("summary", {}, `${more.length} more`), el("div", { class: "charts" }, ...more)) : "");
}

function updateCharts() {
  const ordered = run().charts.slice().sort((a, b) => (b.kind === "matrix") - (a.kind === "matrix"));
  const charts = ordered.map((chart) => attemptFigure(chart.title, () => {
    const version = versionAt(chart.versions, now().time);
    const title = version.time === now().time ? chart.title : `${chart.title} (${version.label})`;
    if (chart.kind === "media") return el("figure", { class: "chart" }, el("figcaption", {}, title), mediaStrip(version.media, title));
    if (chart.kind === "histogram") return histogram({ title, ...version });
    const view = new View(run(), { name: chart.key }, version);
    const all = Array.from({ length: view.rows }, (_, row) => chart.fields.map((name) => (name ? view.get(row, name) : "")));
    if (chart.kind === "matrix") {
      const counts = all.map(([actual, predicted, count]) => [text(actual), text(predicted), count]);
      return heatMap({ title, rows: counts, pick: pickPair, picked: tableNow() && query().pair });
    }
    if (chart.kind === "bar") return barChart({ title, rows: all });
    const series = new Map();
    for (const [x, y, name] of all) {
      if (!series.has(name)) series.set(name, []);
      series.get(name).push([x, y]);
    }
    const lines = [...series].map(([name, points]) => ({ name: text(name), points }));
    return lineChart({ title, series: lines, x: chart.x, y: chart.y, dots: chart.kind === "points" });
  }));
  chartsBox.hidden = !charts.length;
  chartsBox.replaceChildren(el("h2", {}, "Charts"), el("div", { class: "charts" }, ...charts));
}

// --- The page ----------------------------------------------------------------------------

function head() {
  const line = ([key, value]) => el("tr", {}, el("th", { scope: "row" }, key), el("td", {}, text(value)));
  const about = page.runs.map((one, i) => {
    const values = Object.entries(one.config);
    const when = one.started ? new Date(one.started).toLocaleString() : "";
    return el("div", { class: "run" },
      el("h1", {}, page.runs.length > 1 ? el("span", { class: "letter" }, "AB"[i]) : null, one.name),
      el("p", {}, [one.project, one.id, when, one.finished ? "" : "not finished"].filter(Boolean).join(" · ")),
      values.length ? el("details", {}, el("summary", {}, "Configuration"), el("table", { class: "config" }, ...values.map(line))) : null);
  });
  return el("header", { class: "head" }, ...about,
    el("p", { class: "notice" }, "This page holds images of the validation data: share it as you would share those.",
      page.missing ? ` ${page.missing} files of the run are not shown.` : ""),
    page.left_out.length ? el("details", { class: "left-out" }, el("summary", {}, "Not in this page"),
      el("ul", {}, ...page.left_out.map((line) => el("li", {}, line)))) : null);
}

const compare = new Compare();

function update() {
  slider.max = Math.max(times().length - 1, 0);
  slider.value = state.place;
  slider.setAttribute("aria-valuetext", now().label);
  label.textContent = `${now().label || "no version"} (${state.place + 1} of ${times().length})`;
  bar.hidden = !times().length && runs.length < 2;
  attempt(tablesBox, () => updateTable());
  attempt(weakBox, updateWeak);
  attempt(curvesBox, updateCurves);
  attempt(chartsBox, updateCharts);
}

state.place = Math.max(0, times().length - 1);
document.getElementById("app").replaceWith(head(), bar, el("main", {}, tablesBox, weakBox, compare.box, chartsBox, curvesBox),
  el("footer", {}, `Written by wandb-eval-report, ${new Date(page.written).toLocaleString()}. It needs no network.`));
updateMasks();
updateTabs();
update();
attempt(tablesBox, () => updateTable(true));
attempt(compare.box, () => compare.draw());
document.documentElement.dispatchEvent(new Event("booted"));
