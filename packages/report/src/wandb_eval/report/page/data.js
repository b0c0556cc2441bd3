// The data of the page, and functions to search it.
import { isolated, text, verdict, words } from "./elements.js";

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const media = read("media");
for (const image of document.querySelectorAll("#static img[data-file]")) {
  media[image.dataset.file] = image.getAttribute("src");
}
document.getElementById("static").remove();

export const page = read("data");
export const urlOf = (file) => media[file];

export const OF_CLASSES = ["label", "pred", "actual", "predicted", "class", "suggested"];
const LISTS_OF_CLASSES = ["classes", "class_iou", "predicted_classes"];
const TITLES = { eval_data: "Predictions", predictions: "Predictions", hardest: "Hardest", broken: "Newly broken",
  scores: "All samples", confused: "Confused pairs", objects: "Mistakes, cut out",
  suspect_labels: "Suspect labels", weak_slices: "Weak slices", suspect_targets: "Suspect targets", per_target: "Targets", data_problems: "Problems of the data", per_class: "Classes", val_data: "Ground truth" };

export function titleOf(name) {
  const [base, ...more] = name.split(" ("), short = base.split("/").pop(), other = base.match(/^eval_(.+)\//);
  return [TITLES[short] ?? short.replaceAll("_", " "), ...(other ? [`${other[1]})`] : []), ...more].join(" (");
}

// Returns all times at which a run has tables, with their labels.
export function timesOf(run) {
  const found = new Map();
  const several = run.tables.filter(({ name, versions }) => versions.length > 1 && !name.startsWith("val_data"));
  const versions = (several.length ? several : run.tables.slice(0, 1)).flatMap((table) => table.versions);
  for (const { time, label } of versions) if (!found.has(time)) found.set(time, label);
  return [...found].sort((a, b) => a[0] - b[0]).map(([time, label]) => ({ time, label }));
}

// Returns the version of a time, or else the last one before it, or the first one.
export function versionAt(versions, time) {
  const before = versions.filter((version) => version.time <= time);
  return before.length ? before.reduce((a, b) => (b.time >= a.time ? b : a)) : versions[0];
}

// A version of a table, with its columns by name.
export class View {
  constructor(run, table, version) {
    Object.assign(this, { run, name: table.name, label: version.label, time: version.time, rows: version.rows });
    this.columns = new Map(version.columns.map(([name, place]) => [name, page.columns[place]]));
  }

  get(row, name) {
    return this.columns.get(name)?.values[row] ?? null;
  }

  has(...names) {
    return names.every((name) => this.columns.has(name));
  }

  // The columns with images.
  get pictures() {
    return [...this.columns.keys()].filter((name) => this.columns.get(name).type === "image");
  }

  get picture() {
    return this.pictures[0];
  }

  // The column with the image that a model makes, or that has its predictions.
  get answer() {
    return this.pictures.find((name) => /predict/.test(name)) ?? this.picture;
  }

  // The columns with numbers of which there is a prediction, too.
  get targets() {
    const isNumber = (name) => this.columns.get(name)?.type === "number";
    return [...this.columns.keys()].filter((name) => isNumber(name) && isNumber(`predicted ${name}`));
  }

  // The identity of a sample.
  key(row) {
    return this.columns.has("idx") ? this.get(row, "idx") : row;
  }

  // Whether a row is wrong; undefined if it is not known.
  wrong(row) {
    if (this.columns.get("correct")?.type === "boolean") return this.get(row, "correct") === false;
    if (this.has("label", "pred")) return text(this.get(row, "label")) !== text(this.get(row, "pred"));
    if (this.has("wrong", "missed")) return this.get(row, "wrong") + this.get(row, "missed") > 0;
    return this.has("false_positives", "false_negatives") ? this.get(row, "false_positives") + this.get(row, "false_negatives") > 0 : undefined;
  }

  get tellsPairs() {
    return this.has("label", "pred") || this.has("classes") || this.has("class_iou") || this.columns.get(this.picture)?.values.some((cell) => cell?.boxes);
  }

  // Whether a row is in a cell of the confusion matrix. Of images with several objects,
  // those that have the one in the truth and the other in the predictions.
  isOfPair(row, actual, predicted) {
    if (this.has("label", "pred")) return text(this.get(row, "label")) === actual && text(this.get(row, "pred")) === predicted;
    const column = this.columns.get(this.picture), cell = column?.values[row];
    const has = (layer, name) => name === "background" || layerClasses(column, cell, layer).has(name);
    if (cell?.boxes) return has("ground_truth", actual) && has("predictions", predicted);
    const classes = ["classes", "class_iou"].flatMap((name) => listedClasses(name, this.get(row, name)));
    return classes.includes(actual) && classes.includes(predicted);
  }

  // How a row tells of a class: "right", "wrong" (predicted only), "missed", or nothing.
  ofClass(row, name) {
    if (this.has("label", "pred")) return hit(...["label", "pred"].map((one) => this.names(this.get(row, one)).includes(name)));
    const column = this.columns.get(this.picture), cell = column?.values[row];
    if (cell?.boxes) {
      const boxes = (layer) => (cell.boxes[layer] ?? []).filter((box) => nameOf(column, layer, box) === name);
      const isMarked = (box) => box[5] && box[5] !== name && !box[5].startsWith(`${name} `);
      const truth = boxes("ground_truth"), found = boxes("predictions");
      if (truth.some(isMarked) || (truth.length && !found.length)) return "missed";
      if (found.some(isMarked)) return "wrong";
      return hit(truth.length > 0, found.length > 0);
    }
    const scored = this.get(row, "class_iou"), names = this.get(row, "classes");
    const iou = (Array.isArray(scored) ? scored.map((value, i) => [names?.[i], value]) : scoredClasses(scored)).find(([one]) => one === name);
    return iou && (iou[1] >= 0.5 ? "right" : "wrong");
  }

  // The names of the classes in a cell. Only several classes are a list somewhere: a name may have a comma.
  names(value) {
    if (Array.isArray(value)) return value.map(text);
    this.run.hasLists ??= this.run.tables.some(({ versions }) => versions.some(({ columns }) => columns.some(([name, place]) => name === "label" && page.columns[place].values.some(Array.isArray))));
    return this.run.hasLists ? text(value).split(", ").filter(Boolean) : [text(value)];
  }

  // Returns the names of the classes in a row.
  classes(row) {
    this.known ??= [];
    this.known[row] ??= this.findClasses(row);
    return this.known[row];
  }

  findClasses(row) {
    const names = new Set();
    for (const [name, column] of this.columns) {
      const value = column.values[row];
      if (value === null) continue;
      if (OF_CLASSES.includes(name)) this.names(value).forEach((one) => names.add(one));
      else if (LISTS_OF_CLASSES.includes(name)) listedClasses(name, value).forEach((one) => names.add(one));
      else if (column.type === "image") layerClasses(column, value).forEach((one) => names.add(one));
    }
    return names;
  }
}

// The names in a cell: a list, or text, as "cat, dog", or "cat 0.94, dog 0.02".
function listedClasses(name, value) {
  if (Array.isArray(value)) return value.filter((one) => typeof one === "string");
  if (typeof value !== "string") return [];
  if (name === "classes") return value.split(", ").filter(Boolean);
  return scoredClasses(value).map(([one]) => one);
}

const hit = (isTrue, isFound) => (isTrue ? (isFound ? "right" : "missed") : isFound ? "wrong" : undefined);
const scoredClasses = (value) => (typeof value === "string" ? [...value.matchAll(/(.+?) (-?\d+\.\d\d|nan)(?:, |$)/g)].map(([, name, score]) => [name, Number(score)]) : []);
const nameOf = (column, layer, box) => column.layers[layer]?.[box[4]] ?? String(box[4]);

// The names of the classes in the boxes of a cell, of one layer or of all.
export function layerClasses(column, cell, only) {
  const names = new Set();
  for (const [layer, boxes] of Object.entries(cell?.boxes ?? {})) {
    if (only && only !== layer) continue;
    for (const box of boxes) names.add(nameOf(column, layer, box));
  }
  return names;
}

const views = new Map();

// Returns a table at a time. Samples without images get those of other tables.
export function viewAt(run, table, time) {
  const version = versionAt(table.versions, time);
  if (!views.has(version)) {
    const view = new View(run, table, version);
    views.set(version, view);
    if (view.columns.has("idx") && !view.picture) {
      const known = picturesAt(run, version.time, table.name);
      const names = known.values().next().value?.view.pictures ?? [];
      const cellOf = (there, name) => (names.length > 1 ? there?.view.get(there.row, name) : there?.cell) ?? null;
      const columns = names.map((name) => [names.length > 1 ? name : "image", { type: "image",
        values: Array.from({ length: view.rows }, (_, row) => cellOf(known.get(view.key(row)), name)),
        layers: known.values().next().value.view.columns.get(name).layers }]);
      view.columns = new Map([...columns, ...view.columns]);
    }
  }
  return views.get(version);
}

const pictures = new Map();
// The evaluation of a table, if a run has several: the end of its name.
export const partOf = (name) => {
  const prefix = name.match(/^eval(_[^/]*)?\//);
  return name.match(/ \([^()]*\)$/)?.[0] ?? (prefix ? ` (${(prefix[1] ?? "").slice(1)}${prefix[1] ? "_" : ""}pred)` : "");
};

// Where there is a picture of a sample at a time, by the sample's key, in tables of one evaluation.
export function picturesAt(run, time, name) {
  const part = partOf(name), place = `${page.runs.indexOf(run)} ${time}${part}`;
  if (pictures.has(place)) return pictures.get(place);
  const found = new Map();
  pictures.set(place, found);
  for (const table of run.tables.slice().reverse()) {
    const version = table.versions.find((one) => one.time === time);
    const names = version?.columns.map(([name]) => name) ?? [];
    const has = version?.columns.some(([, column]) => page.columns[column].type === "image");
    const isOther = part && partOf(table.name) && partOf(table.name) !== part;
    if (!has || isOther || !names.includes("idx") || table.name.includes("objects")) continue;
    const view = new View(run, table, version);
    for (let row = 0; row < view.rows; row += 1) {
      const name = view.get(row, view.answer) ? view.answer : view.picture, cell = view.get(row, name);
      if (cell) found.set(view.key(row), { cell, column: view.columns.get(name), view, row });
    }
  }
  return found;
}

// Describes a row in two or three lines.
export function summary(view, row) {
  const lines = [];
  const mark = { wrong: "✗ ", right: "✓ " }[verdict(view.wrong(row))] ?? "";
  if (view.columns.has("pred")) lines.push(`${mark}${isolated(view.get(row, "pred"))}`);
  const targets = view.targets;
  for (const name of targets.slice(0, 2)) {
    const [truth, found] = [view.get(row, name), view.get(row, `predicted ${name}`)].map(text);
    lines.push(`${targets.length > 1 ? `${words(name)} ` : ""}${found}${truth === found ? "" : `, not ${truth}`}`);
  }
  const names = ["score", "loss", "missed", "wrong", "errors", "true_positives", "false_positives", "false_negatives", "mean_iou", "mean_dice", "mae", "ssim", "error", "difficulty"];
  for (const name of names) {
    const column = view.columns.get(name);
    if (column && column.type !== "image" && lines.length < 3) lines.push(`${words(name)} ${text(view.get(row, name)) || "–"}`);
  }
  return lines;
}
