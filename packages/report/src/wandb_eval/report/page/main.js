// The parts of the page, and the choice of a version.
import { attempt, attemptFigure, button, el, isInUse, select, text } from "./elements.js";
import { page, partOf, timesOf, titleOf, versionAt, viewAt, View } from "./data.js";
import { barChart, histogram, lineChart } from "./charts.js";
import { heatMap } from "./matrix.js";
import { layerControls, mediaStrip, updateMasks } from "./overlays.js";
import { RowsTable, exported, filterControls, newQuery, rowsOf } from "./table.js";
import { Grid, SIZES } from "./grid.js";
import { Detail } from "./detail.js";
import { ClassView } from "./classes.js";
import { onAddress, readAddress, writeAddress } from "./address.js";
import { Compare } from "./compare.js";
import { scoresOf, slicesAt, weakSlices } from "./weak.js";

const MOST_CURVES = 8;
const state = { run: 0, place: 0, table: 0, view: "grid", size: "medium", queries: new Map() };
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
// A part of the page is reached without another address, which holds the state.
const goTo = (target) => { target.scrollIntoView(); target.focus({ preventScroll: true }); };
const jump = (event, target) => { event.preventDefault(); goTo(target); };
const parts = { tables: "Samples", weak: "Where it fails", compare: "Changes", charts: "Charts", curves: "Numbers" };
const runs = page.runs.map((one, i) => [String(i), `${"AB"[i]}: ${one.name}`]);
const bar = el("div", { class: "bar", role: "group", "aria-label": "Version" },
  runs.length > 1 ? select(runs, "0", (value) => chooseRun(Number(value)), { "aria-label": "Run", id: "run" }) : null,
  stepper(-1, "‹", "Previous version"), slider, stepper(1, "›", "Next version"), label,
  el("nav", { "aria-label": "Parts of the page" }, ...Object.entries(parts).map(([id, name]) => 
    el("a", { href: `#${id}`, "data-part": id, onclick: (event) => jump(event, document.getElementById(id)) }, name))));

function choose(place) {
  state.place = Math.max(0, Math.min(place, times().length - 1));
  update();
  moved();
}

function chooseRun(place) {
  const { time } = now(), name = tableNow()?.name;
  state.run = place;
  state.table = Math.max(run().tables.findIndex((table) => table.name === name), 0);
  updateTabs();
  const later = times().findIndex((one) => one.time >= time);
  choose(later < 0 ? times().length - 1 : later);
}

// The version that is nearest to a place on the axis of a curve.
function placeNear(x) {
  const far = times().map(({ time }) => Math.abs(time - x));
  return far.indexOf(Math.min(...far));
}
const chooseTime = (x) => choose(placeNear(x));

document.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.target.closest("input, select, dialog, .heat, .scroll, .scroller, .strip, .grid")) return; // These elements use the arrow keys themselves.
  event.preventDefault();
  choose(state.place + step);
});

// --- Tables ------------------------------------------------------------------------------

const detail = new Detail({ changed: () => updateTable(), moved: () => moved() });
const open = (place) => { detail.open(rows.view, rows.rows, place); moved(true); };
const rows = new RowsTable({ open, changed: () => { updateTable(); moved(); } });
const grid = new Grid({ open });
const classView = new ClassView({
  now: () => ({ run: run(), ...now() }), moved: () => moved(Boolean(classView.name)),
  open: (view, some, place) => { detail.open(view, some, place); moved(true); },
  show: (name, of) => { detail.close(); showRows(run().tables.findIndex((table) => table.name === name), { of }); },
});
const tabs = el("div", { class: "tabs", role: "tablist", "aria-label": "Tables" });
const controls = el("div"), layerBox = el("div"), count = el("p", { class: "count", role: "status" });
const choice = (values, key, label) => el("div", { class: "choice", role: "group", "aria-label": label }, ...values.map((value) => button(() => {
  state[key] = value;
  updateTable();
  moved(true);
}, { [`data-${key}`]: value }, value)));
const sizeChoice = choice(Object.keys(SIZES), "size", "Size of images"), viewChoice = choice(["grid", "rows"], "view", "View");
const exports = el("div", { class: "choice", role: "group", "aria-label": "Export" }, ...["csv", "json"].map((format) => (
  button(() => exported(rows.view, rows.rows, query(), format), { "data-export": format, title: "The indices of these samples" }, format.toUpperCase()))));
const isNarrow = matchMedia("(max-width: 640px)");
const filterBox = el("details", { class: "controls", open: !isNarrow.matches }, el("summary", {}, "Filters and layers"), el("div", {}, controls, layerBox));
isNarrow.addEventListener("change", () => { filterBox.open = !isNarrow.matches; });
const tablesBox = el("section", { id: "tables", tabindex: -1 },
  el("h2", {}, "Samples"), tabs, filterBox,
  el("div", { class: "above" }, count, viewChoice, sizeChoice, exports), grid.box, rows.box);
const skip = el("a", { class: "skip", href: "#tables", onclick: (event) => jump(event, tablesBox.querySelector(".thumb[tabindex='0'], :not([hidden]) > table .thumb") ?? tablesBox) }, "Skip to the samples");

function updateTabs() {
  tabs.replaceChildren(...run().tables.map((table, i) => button(() => { state.table = i; updateTabs(); update(); updateTable(true); moved(true); }, {
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
  tablesBox.hidden = !tableNow();
  if (tablesBox.hidden) return;
  const view = viewAt(run(), tableNow(), now().time);
  if (anew || !isInUse(controls)) controls.replaceChildren(filterControls(view, query(), (again) => { if (again) update(); updateTable(again); moved(); }));
  if (anew || !isInUse(layerBox)) layerBox.replaceChildren(layerControls(view, () => { updateMasks(); updateTable(); }));
  const isGrid = state.view === "grid" && view.pictures.length > 0;
  [viewChoice.hidden, sizeChoice.hidden, grid.box.hidden, rows.box.hidden] = [!view.pictures.length, !isGrid, !isGrid, isGrid];
  for (const one of [...viewChoice.children, ...sizeChoice.children]) {
    one.setAttribute("aria-pressed", String([state.view, state.size].includes(one.textContent)));
  }
  rows.show(view, query());
  if (isGrid) grid.show(view, rows.rows, state.size);
  const left = rows.rows.length;
  const other = view.time === now().time ? "" : ` · this table was logged at ${view.label}`;
  count.replaceChildren(el("b", {}, String(left)), ` of ${view.rows} rows${other}`);
}

// A cell of the confusion matrix was picked: its rows, in the table that has most of them.
function pickPair(chart, actual, predicted) {
  const pair = [actual, predicted], name = chart.key.split("/")[0].replace(/^eval_?/, "");
  const parts = ["", ` (${name}${name && "_"}pred)`];
  const found = run().tables.map((table) => {
    const view = viewAt(run(), table, now().time);
    if (!view.tellsPairs || view.name.startsWith("hardest") || !parts.includes(partOf(view.name))) return -1;
    let matching = 0;
    for (let row = 0; row < view.rows; row += 1) matching += view.isOfPair(row, actual, predicted);
    return matching;
  });
  showRows(Math.max(found.indexOf(Math.max(...found)), 0), { pair });
}

// Shows the rows of a table that a new query finds.
function showRows(table, some) {
  state.table = table;
  Object.assign(query(), newQuery(), some);
  updateTabs();
  updateTable(true);
  goTo(tablesBox);
  updateCharts();
  moved(true);
}

// The table that the page opens at, of the samples that are most worth a look.
function firstTable() {
  const views = run().tables.map((table) => viewAt(run(), table, now().time)).filter((view) => view.rows);
  const some = views.some((view) => view.pictures.length) ? views.filter((view) => view.pictures.length) : views;
  const shown = run().tables.map(({ name }) => (some.some((view) => view.name === name) ? name : ""));
  const hardest = shown.findIndex((name) => /(^|\/)hardest( \(|$)/.test(name));
  return Math.max(hardest < 0 ? shown.findIndex(Boolean) : hardest, 0);
}

// --- Where it fails -----------------------------------------------------------------------

const weakBox = el("section", { id: "weak", tabindex: -1 });

function updateWeak() {
  const slices = slicesAt(run(), now().time);
  weakBox.hidden = !slices.length;
  document.querySelector('nav a[href="#weak"]')?.toggleAttribute("hidden", !slices.length);
  weakBox.replaceChildren(el("h2", {}, "Where it fails"), weakSlices(slices, { pick: pickSlice, picked: tableNow() && query().slice?.name }));
}

const queryOf = ({ name, samples }) => ({ name, samples: new Set(samples) });

// A slice was picked: its samples, in the table of all samples that was logged with it.
function pickSlice(slice) {
  const { place, time } = scoresOf(run(), slice);
  if (place < 0 || !slice.samples.length) return;
  state.table = place;
  Object.assign(query(), newQuery(), { slice: queryOf(slice) });
  state.place = placeNear(time);
  update();
  updateTabs();
  updateTable(true);
  goTo(tablesBox);
  moved(true);
}

// --- Curves and charts ---------------------------------------------------------------------

const curvesBox = el("section", { id: "curves", tabindex: -1 }), chartsBox = el("section", { id: "charts", tabindex: -1 });

// The names of the classes in all tables.
const classesOfRuns = new Map();
function classNames() {
  if (!classesOfRuns.has(run())) {
    const names = new Set();
    for (const table of run().tables) {
      const view = viewAt(run(), table, now().time);
      for (let row = 0; row < view.rows; row += 1) view.classes(row).forEach((name) => names.add(name));
    }
    classesOfRuns.set(run(), names);
  }
  return classesOfRuns.get(run());
}

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
    const version = versionAt(chart.versions, state.place < times().length - 1 ? now().time : Infinity);
    const title = version.time === now().time ? chart.title : `${chart.title} (${version.label})`;
    if (chart.kind === "media") return el("figure", { class: "chart" }, el("figcaption", {}, title), mediaStrip(version.media, title));
    if (chart.kind === "histogram") return histogram({ title, ...version });
    const view = new View(run(), { name: chart.key }, version);
    const all = Array.from({ length: view.rows }, (_, row) => chart.fields.map((name) => (name ? view.get(row, name) : "")));
    if (chart.kind === "matrix") {
      const counts = all.map(([actual, predicted, count]) => [text(actual), text(predicted), count]);
      return heatMap({ title, rows: counts, pick: (...pair) => pickPair(chart, ...pair), picked: tableNow() && query().pair });
    }
    if (chart.kind === "bar") return barChart({ title, rows: all, isClass: (name) => classNames().has(name) });
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
      el("h1", {}, page.runs.length > 1 ? el("span", { class: "letter" }, "AB"[i]) : null, el("bdi", {}, one.name)),
      el("p", {}, [one.project, one.id, when, one.finished ? "" : "not finished"].filter(Boolean).join(" · ")),
      values.length ? el("details", {}, el("summary", {}, "Configuration"), el("table", { class: "config" }, ...values.map(line))) : null);
  });
  return el("header", { class: "head" }, ...about,
    el("p", { class: "notice" }, "This page holds images of the validation data: share it as you would share those.",
      page.missing ? ` ${page.missing} files of the run are not shown.` : ""),
    page.left_out.length ? el("details", { class: "left-out" }, el("summary", {}, "Not in this page"),
      el("ul", {}, ...page.left_out.map((line) => el("li", {}, line)))) : null);
}

const compare = new Compare({ moved: () => moved() });

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

// --- The address -------------------------------------------------------------------------

const TEXTS = ["class", "column", "from", "to", "text"], LISTS = ["pair", "of", "hidden"];
let isRestoring = false;

function moved(isStep = false) {
  if (isRestoring || !page.runs.length) return;
  const last = times().length - 1, asked = tableNow() ? query() : newQuery();
  const list = (value) => (value?.length ? JSON.stringify(value) : "");
  writeAddress({
    run: state.run || "", at: state.place < last ? String(now().time) : "", table: tableNow()?.name, view: state.view === "grid" ? "" : state.view,
    size: state.size === "medium" ? "" : state.size, sort: asked.sort, down: asked.descending ? 1 : "", wrong: asked.wrong ? 1 : "",
    ...Object.fromEntries(TEXTS.map((key) => [key, asked[key]])), ...Object.fromEntries(LISTS.map((key) => [key, list(asked[key])])),
    slice: asked.slice?.name, side: detail.inStep ? 1 : "", sample: detail.sample, then: detail.then, changes: list(compare.state), about: classView.name,
  }, isStep);
}

// Addresses may be of another page, or be written by hand.
function listOf(value) {
  try {
    const list = JSON.parse(value);
    return Array.isArray(list) && list.every((one) => typeof one === "string") ? list : null;
  } catch { return null; }
}

function restore(values) {
  isRestoring = true;
  detail.close();
  classView.close();
  state.run = page.runs[Number(values.run)] ? Number(values.run) : 0;
  const at = times().findIndex(({ time }) => String(time) === values.at);
  state.place = at < 0 ? Math.max(0, times().length - 1) : at;
  const table = run().tables.findIndex(({ name }) => name === values.table);
  state.table = table < 0 ? firstTable() : table;
  state.view = values.view === "rows" ? "rows" : "grid";
  state.size = Object.hasOwn(SIZES, values.size) ? values.size : "medium";
  detail.inStep = Boolean(values.side);
  if (tableNow()) {
    const texts = Object.fromEntries(TEXTS.map((key) => [key, values[key] ?? ""]));
    const lists = Object.fromEntries(LISTS.map((key) => [key, listOf(values[key])]));
    const pairs = Object.fromEntries(["pair", "of"].map((key) => [key, lists[key]?.length === 2 ? lists[key] : null]));
    const slice = slicesAt(run(), now().time).find((one) => one.name === values.slice && scoresOf(run(), one).place === state.table);
    Object.assign(query(), newQuery(), texts, pairs, { slice: slice ? queryOf(slice) : null, sort: values.sort ?? null, descending: Boolean(values.down), wrong: Boolean(values.wrong), hidden: lists.hidden ?? [] });
    const view = viewAt(run(), tableNow(), now().time);
    // Where there are no hardest samples, the wrong ones.
    if (table < 0 && !titleOf(view.name).startsWith("Hardest")) query().wrong = rowsOf(view, { ...newQuery(), wrong: true }).length > 0;
  }
  updateTabs();
  update();
  attempt(tablesBox, () => updateTable(true));
  if (values.about) classView.about(values.about);
  const place = values.sample ? rows.rows.findIndex((row) => text(rows.view.key(row)) === values.sample) : -1;
  const then = times().find(({ time }) => String(time) === values.then)?.time;
  if (place >= 0) detail.open(rows.view, rows.rows, place, then);
  compare.restore(listOf(values.changes));
  attempt(compare.box, () => compare.draw());
  isRestoring = false;
}

document.getElementById("app").replaceWith(skip, head(), bar, el("main", {}, tablesBox, weakBox, compare.box, chartsBox, curvesBox),
  el("footer", {}, `Written by wandb-eval-report, ${new Date(page.written).toLocaleString()}. It needs no network.`));
updateMasks();
restore(readAddress());
onAddress(restore);
for (const link of bar.querySelectorAll("[data-part]")) link.hidden = document.getElementById(link.dataset.part).hidden;
window.addEventListener("beforeprint", () => { rows.draw(true); grid.draw(true); });
window.addEventListener("afterprint", () => { rows.draw(); grid.draw(); });
document.documentElement.dispatchEvent(new Event("booted"));
