// A table of which only the visible rows are in the page.
import { button, checkbox, classButton, el, isNumber, isolated, select, text, verdict, words } from "./elements.js";
import { OF_CLASSES, urlOf } from "./data.js";
import { picture } from "./overlays.js";

const LONG = 60; // Characters, from which on a text can be opened.
const SPARE = 4; // Rows above and below the visible ones.
const LETTERS = 26, LONGEST = 90; // Of a column, and of one with long texts where there is room.
const inOrder = new Intl.Collator(undefined, { numeric: true }).compare;

// The filters and the order of a table, which stay when the version changes.
export const newQuery = () => ({ sort: null, descending: false, wrong: false, class: "", column: "", from: "", to: "", pair: null, of: null, slice: null, text: "", hidden: [] });

// Returns the filtered rows, in their order.
export function rowsOf(view, query) {
  const rows = [];
  for (let row = 0; row < view.rows; row += 1) if (fits(view, row, query)) rows.push(row);
  const column = view.columns.get(query.sort);
  if (!column) return rows;
  const sign = query.descending ? -1 : 1;
  const value = (row) => { const cell = column.values[row]; return Array.isArray(cell) ? cell.join() : cell; };
  return rows.sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null || x === "NaN" || y === "NaN") return (x === null || x === "NaN") - (y === null || y === "NaN") || a - b;
    if (isNumber(x) && isNumber(y)) return sign * (x - y) || a - b;
    return sign * inOrder(text(x), text(y)) || a - b;
  });
}

function fits(view, row, query) {
  if (query.wrong && view.wrong(row) !== true) return false;
  if (query.class && !view.classes(row).has(query.class)) return false;
  if (query.of && view.ofClass(row, query.of[1]) !== query.of[0]) return false;
  if (query.text && !textOf(view, row).includes(query.text.toLowerCase())) return false;
  if (query.pair && !view.isOfPair(row, ...query.pair)) return false;
  if (query.slice && !query.slice.samples.has(view.key(row))) return false;
  if (query.column && view.columns.has(query.column)) {
    const value = view.get(row, query.column);
    if (query.from !== "" && !(value >= Number(query.from) && value !== null)) return false;
    if (query.to !== "" && !(value <= Number(query.to) && value !== null)) return false;
  }
  return true;
}

// All that is written in a row, in small letters.
function textOf(view, row) {
  view.texts ??= [];
  view.texts[row] ??= [...view.columns.values()].map(({ type, values }) => (
    ["image", "audio", "video"].includes(type) ? values[row]?.caption ?? "" : text(values[row]))).join("\n").toLowerCase();
  return view.texts[row];
}

export function filterControls(view, query, changed) {
  const set = (key, value) => { query[key] = value; changed(); };
  const drop = (key) => { query[key] = null; changed(true); };
  const numbers = [...view.columns].filter(([, column]) => column.type === "number").map(([name]) => name);
  const classes = new Set();
  for (let row = 0; row < view.rows; row += 1) view.classes(row).forEach((name) => classes.add(name));
  if (query.class) classes.add(query.class);
  const sorted = [...classes].sort(inOrder);
  const bound = (key) => el("input", { type: "number", step: "any", placeholder: key, "aria-label": key, value: query[key],
    "data-filter": key, oninput: (event) => set(key, event.target.value) });
  const chosen = (options, key, none) => select(
    [["", none], ...options.map((name) => [name, name])], query[key], (value) => set(key, value), { "data-filter": key });
  const tells = view.rows > 0 && view.wrong(0) !== undefined;
  return el("div", { class: "filters" },
    tells ? checkbox(query.wrong, (on) => set("wrong", on), { "data-filter": "wrong" }, "only wrong samples") : null,
    el("label", {}, "text ", el("input", { type: "search", "data-filter": "text", value: query.text, oninput: (event) => set("text", event.target.value) })),
    sorted.length ? el("label", {}, "class ", chosen(sorted, "class", "any")) : null,
    numbers.length ? el("label", {}, "number ", chosen(numbers, "column", "any"), bound("from"), bound("to")) : null,
    query.pair ? button(() => drop("pair"), { class: "chip" }, `${isolated(query.pair[0])} taken for ${isolated(query.pair[1])} ✕`) : null,
    query.of ? button(() => drop("of"), { class: "chip" }, `${query.of[0]}: ${isolated(query.of[1])} ✕`) : null,
    query.slice ? button(() => drop("slice"), { class: "chip" }, `${query.slice.name} ✕`) : null,
    columnChoice(view, query, changed));
}

function columnChoice(view, query, changed) {
  const names = [...view.columns].filter(isShown).map(([name]) => name);
  const toggle = (name) => (on) => { query.hidden = query.hidden.filter((one) => one !== name).concat(on ? [] : [name]); changed(); };
  return el("details", { class: "columns" }, el("summary", {}, "Columns"),
    ...names.map((name) => checkbox(!query.hidden.includes(name), toggle(name), { "data-column": name }, words(name))));
}

// A file with the samples that are left: their indices, in the order of the table.
export function exported(view, rows, query, format) {
  const name = view.columns.has("idx") ? "idx" : "row";
  const indices = rows.map((row) => (name === "idx" ? view.get(row, "idx") : row));
  const quoted = (value) => (/[",\n\r]/.test(text(value)) ? `"${text(value).replaceAll('"', '""')}"` : text(value));
  const filters = Object.fromEntries(Object.entries(query).filter(([key, value]) => key !== "hidden" && value && value !== "")
    .map(([key, value]) => [key, value.name ?? value]));
  const content = format === "csv" ? [name, ...indices.map(quoted)].join("\n") + "\n"
    : JSON.stringify({ run: view.run.id, table: view.name, version: view.label, filters, [name]: indices }, null, 1);
  const link = el("a", { href: URL.createObjectURL(new Blob([content])), download: `${view.name.replace(/\W+/g, "_")}.${format}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// Whether a column is shown: "epoch" and "batch" have one value in all rows, which the label of the version has, too.
const isShown = ([name]) => name !== "epoch" && name !== "batch";

export class RowsTable {
  constructor({ open, changed }) {
    Object.assign(this, { open, changed, view: null, rows: [] });
    this.body = el("tbody");
    this.head = el("thead");
    this.widths = el("colgroup");
    this.grid = el("table", { class: "rows" }, this.widths, this.head, this.body);
    this.box = el("div", { class: "scroller", tabindex: 0, role: "region", "aria-label": "Rows", onscroll: () => this.draw() }, this.grid);
    new ResizeObserver(() => this.draw()).observe(this.box);
  }

  show(view, query) {
    const sameTable = this.view?.name === view.name && this.view?.run === view.run;
    Object.assign(this, { view, query, rows: rowsOf(view, query) });
    this.columns = [...view.columns].filter((one) => isShown(one) && !query.hidden.includes(one[0]));
    const isImage = ([, column]) => column.type === "image";
    if (view.columns.has("idx")) this.columns.sort((a, b) => isImage(b) - isImage(a));
    this.height = this.columns.some(([, column]) => ["image", "audio", "video"].includes(column.type)) ? 108 : 36;
    this.grid.style.setProperty("--row", `${this.height}px`);
    this.grid.setAttribute("aria-rowcount", this.rows.length);
    const widths = this.columns.map(([name, column]) => widthOf(name, column));
    this.grid.style.setProperty("--lines", this.height > 50 ? 3 : 1);
    widen(widths, this.columns.map(([name, column]) => widthOf(name, column, LONGEST)), this.box.parentElement.clientWidth);
    this.widths.replaceChildren(...widths.map((width) => el("col", { style: { width: `${width}px` } })));
    this.grid.style.width = `${widths.reduce((a, b) => a + b, 0)}px`;
    this.head.replaceChildren(el("tr", {}, ...this.columns.map(([name, column]) => this.header(name, column))));
    if (!sameTable) this.box.scrollTop = 0;
    this.drawn = null;
    this.draw();
  }

  header(name, column) {
    const { query } = this, sorted = query.sort === name;
    const label = words(name);
    if (column.type === "image") return el("th", { scope: "col" }, label);
    return el("th", { scope: "col", class: column.type, "aria-sort": sorted ? (query.descending ? "descending" : "ascending") : "none" },
      el("button", { type: "button", "data-sort": name, onclick: () => {
        query.descending = sorted && !query.descending;
        query.sort = name;
        this.changed();
        this.head.querySelector(`[data-sort="${CSS.escape(name)}"]`)?.focus();
      } }, label, el("i", { "aria-hidden": "true" }, sorted ? (query.descending ? " ↓" : " ↑") : "")));
  }

  draw(whole = false) {
    if (!this.view || this.box.hidden) return;
    const { height, rows, box } = this;
    const start = whole ? 0 : Math.max(0, Math.floor(box.scrollTop / height) - SPARE);
    const end = whole ? rows.length : Math.min(rows.length, Math.ceil((box.scrollTop + box.clientHeight) / height) + SPARE);
    if (this.drawn?.[0] === start && this.drawn?.[1] === end) return;
    this.drawn = [start, end];
    const space = (count) => el("tr", { class: "space", "aria-hidden": "true" },
      el("td", { colspan: this.columns.length, style: { height: `${count * height}px` } }));
    const seen = rows.slice(start, end).map((row, i) => this.line(row, start + i));
    const focused = this.body.contains(document.activeElement) && document.activeElement.closest("tr").dataset.row;
    this.body.replaceChildren(space(start), ...seen, space(rows.length - end));
    if (focused) this.body.querySelector(`[data-row="${focused}"] button`)?.focus({ preventScroll: true });
  }

  line(row, place) {
    return el("tr", { "aria-rowindex": place + 1, "data-row": row, class: verdict(this.view.wrong(row)) },
      ...this.columns.map(([name, column], i) => cellOf(this.view, row, name, column, () => this.open(place), !i && !this.view.picture)));
  }
}

// `opens`: whether a click on the cell opens the large view, as for rows without images.
export function cellOf(view, row, name, column, open, opens) {
  const value = column.values[row];
  if (value === null || value === undefined) return el("td", { class: column.type });
  if (column.type === "image") {
    const alt = `${name} of sample ${text(view.key(row))}`;
    return el("td", { class: "image" }, button(open, { class: "thumb", "aria-label": `Open ${alt}` }, picture(value, column, alt)));
  }
  if (column.type === "audio" || column.type === "video") {
    if (value.kind === "image") return el("td", { class: "image" }, picture(value, column, name));
    return el("td", { class: column.type }, el(value.kind ?? column.type, { controls: true, preload: "none", src: urlOf(value.file) }));
  }
  const mark = name === "correct" && typeof value === "boolean" ? (value ? "✓ yes" : "✗ no") : text(value);
  const answer = name === "correct" ? (value ? "yes" : "no") : "";
  const isClass = OF_CLASSES.includes(name) && column.type === "text" && !Array.isArray(value) && view.names(value).length === 1;
  const isLong = column.type === "text" && mark.length > LONG;
  const inner = opens || isLong ? button(open, { class: "thumb text", title: "Open" }, mark) : isClass ? classButton(mark, { tabindex: -1 }) : mark;
  return el("td", { class: `${column.type} ${answer}`, title: mark.length > 18 ? mark : null }, el("span", { dir: "auto" }, inner));
}

// Gives columns with longer texts the room that is left.
function widen(widths, wanted, room) {
  const spare = Math.max(room - 40 - widths.reduce((a, b) => a + b, 0), 0), more = wanted.map((width, i) => width - widths[i]);
  const all = more.reduce((a, b) => a + b, 0);
  more.forEach((extra, i) => { widths[i] += Math.floor(extra * Math.min(1, spare / (all || 1))); });
}

function widthOf(name, column, letters = LETTERS) {
  if (column.type === "image") return 132;
  if (column.type === "audio" || column.type === "video") return 240;
  let most = Math.max(5, ...name.split(/[_ ]/).map((word) => word.length + 2)); // The name may break.
  for (let row = 0; row < Math.min(column.values.length, 200); row += 1) most = Math.max(most, text(column.values[row]).length);
  return Math.round(Math.min(most, letters) * 8.2 + 22);
}
