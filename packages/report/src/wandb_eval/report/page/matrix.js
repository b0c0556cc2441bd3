// Confusion matrices: a table of buttons, with the arrow keys to move.
import { button, classButton, el, isNumber, isolated, text, verdict } from "./elements.js";

// Formats a count, or a share with two digits; 0 is empty.
const short = (count) => (Number.isInteger(count) ? count || "" : count >= 0.005 ? count.toFixed(2) : "");

const MOST_CELLS = 90_000, MOST_NUMBERS = 60;

// The names of classes are buttons, too; the tab key reaches one button of all.
export function heatMap({ title, rows, pick, picked }) {
  const names = [...new Set(rows.map((row) => row[0]))];
  const across = [...new Set(rows.map((row) => row[1]))];
  if (names.length * across.length > MOST_CELLS) throw new Error(`${names.length} times ${across.length} cells are too many.`);
  const counts = new Map(rows.map(([actual, predicted, count]) => [`${names.indexOf(actual)} ${across.indexOf(predicted)}`, isNumber(count) ? count : 0]));
  const sums = names.map((_, i) => across.reduce((sum, __, j) => sum + (counts.get(`${i} ${j}`) || 0), 0));
  const grid = []; // Of all buttons, with the names above and on the left.
  const move = (event) => {
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
    if (!(down || right)) return;
    event.preventDefault();
    event.stopPropagation();
    const own = event.currentTarget, i = grid.findIndex((line) => line.includes(own));
    const next = grid[i + down]?.[grid[i].indexOf(own) + right];
    if (next) { own.tabIndex = -1; next.tabIndex = 0; next.focus(); }
  };
  const nameButton = (name) => classButton(name, { tabindex: -1, onkeydown: move });
  const cells = names.map((actual, i) => across.map((predicted, j) => {
    const count = counts.get(`${i} ${j}`) || 0, share = sums[i] ? count / sums[i] : 0;
    const says = (wrap) => `${wrap(actual)} taken for ${wrap(predicted)}: ${text(count)}`;
    const cell = button(() => pick(actual, predicted), {
      tabindex: i + j ? -1 : 0, class: verdict(actual !== predicted),
      "aria-label": says(text), title: `${says(isolated)} (${(100 * share).toFixed(0)} % of ${isolated(actual)})`,
      "aria-pressed": String(picked?.[0] === actual && picked?.[1] === predicted), onkeydown: move,
    }, names.length <= MOST_NUMBERS ? short(count) : "");
    cell.style.setProperty("--share", `${Math.round(100 * Math.sqrt(share))}%`);
    return cell;
  }));
  const above = across.map(nameButton), beside = names.map(nameButton);
  grid.push([null, ...above], ...cells.map((line, i) => [beside[i], ...line]));
  const isMany = across.length > 12 || across.some((name) => name.length > 10);
  const table = el("table", { class: `heat ${isMany ? "many" : ""}` },
    el("thead", {}, el("tr", {}, el("td", { class: "corner" }, "actual ↓ predicted →"),
      ...above.map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, ...cells.map((line, i) => el("tr", {}, el("th", { scope: "row" }, beside[i]),
      ...line.map((cell) => el("td", {}, cell))))));
  return el("figure", { class: "chart wide" },
    el("figcaption", {}, el("span", {}, title), el("small", {}, "click a cell to see its rows, or a name to see the class")),
    el("div", { class: "scroll" }, table));
}
