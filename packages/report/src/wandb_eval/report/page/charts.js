// Line charts, bar charts and histograms in plain SVG and HTML.
import { classButton, el, isNumber, svg, text } from "./elements.js";

const WIDTH = 360, HEIGHT = 220, LEAST_LEFT = 46, RIGHT = 10, TOP = 10, BOTTOM = 34;
const LINES = Array.from({ length: 10 }, (_, i) => `var(--line-${i})`);

// Returns about `count` round numbers from `low` to `high`.
function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const first = Math.ceil(low / step) * step; // For huge numbers, `first + step` may be `first`.
  return Array.from({ length: 3 * count }, (_, i) => Number((first + i * step).toPrecision(12))).filter((at) => at <= high + step / 1e6);
}

// The space that labels need on the left, so that each is seen as a whole.
const leftOf = (labels) => Math.max(LEAST_LEFT, ...labels.map((one) => 12 + 6.6 * text(one).length));

const isDrawn = (value) => isNumber(value) && Math.abs(value) < 1e300;

function extent(values) {
  let low = values[0], high = values[0];
  for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
  if (low === 0 && high === 0) return [0, 1];
  if (low === high) [low, high] = [low - Math.abs(low || 1) / 10, high + Math.abs(high || 1) / 10];
  return [low, high];
}

// series: [{ name, points: [[x, y]], dashed }]; pick(x) is called with the x of a point.
export function lineChart({ title, series, x = "", y = "", marker, pick, dots = false }) {
  const shown = series.map((one, i) => ({
    ...one, color: LINES[i % LINES.length], points: one.points.filter((point) => point.every(isDrawn)),
  }));
  const points = shown.flatMap((one) => one.points);
  if (!points.length) return el("figure", { class: "chart" }, el("figcaption", {}, title), el("p", {}, "No numbers."));
  const xs = points.map((point) => point[0]), [left, right] = extent(xs);
  let [low, high] = extent(points.map((point) => point[1]));
  if (low >= 0 && high <= 1 && high - low > 0.3) [low, high] = [0, 1];
  const LEFT = leftOf(ticks(low, high, 4));
  const px = (value) => LEFT + ((value - left) / (right - left)) * (WIDTH - LEFT - RIGHT);
  const py = (value) => HEIGHT - BOTTOM - ((value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const nearest = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const at = left + (((event.clientX - box.left) / box.width) * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT) * (right - left);
    return xs.reduce((a, b) => (Math.abs(b - at) < Math.abs(a - at) ? b : a));
  };
  const grid = (at) => svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: py(at), y2: py(at) });
  const label = (at, y, words, anchor = "middle") => svg("text", { x: at, y, "text-anchor": anchor }, words);
  const polyline = ({ name, points: own, color, dashed }) => svg("polyline", {
    points: own.map((point) => `${px(point[0]).toFixed(1)},${py(point[1]).toFixed(1)}`).join(" "),
    stroke: color, "stroke-dasharray": dashed ? "5 4" : "none",
  }, svg("title", {}, name));
  const circles = ({ name, points: own, color }) => own.map((point) => svg(
    "circle", { cx: px(point[0]), cy: py(point[1]), r: 3, fill: color },
    svg("title", {}, `${name}, ${x} ${text(point[0])}: ${text(point[1])}`)));
  const ends = shown.slice(0, 8).map((one) => `${one.name} ${text(one.points.at(-1)?.[1])}`).join(", ");
  const drawing = svg(
    "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}: ${ends}`, class: pick ? "clickable" : "" },
    ...ticks(low, high, 4).flatMap((at) => [grid(at), label(LEFT - 6, py(at) + 4, text(at), "end")]),
    ...ticks(left, right, 6).filter((at) => !pick || Number.isInteger(at)).map((at) => label(px(at), HEIGHT - BOTTOM + 16, text(at))),
    label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, x),
    ...shown.flatMap((one) => [...(dots ? [] : [polyline(one)]), ...(dots || points.length <= 60 ? circles(one) : [])]));
  if (isNumber(marker) && marker >= left && marker <= right) {
    drawing.append(svg("line", { class: "marker", x1: px(marker), x2: px(marker), y1: TOP, y2: HEIGHT - BOTTOM }));
  }
  if (pick) drawing.addEventListener("click", (event) => pick(nearest(event)));
  const swatch = (one) => el("i", { class: "swatch", style: { background: one.color, opacity: one.dashed ? 0.6 : 1 } });
  const legend = shown.length > 1 ? el("ul", { class: "key" }, ...shown.map((one) => el("li", {}, swatch(one), el("bdi", {}, one.name)))) : null;
  const last = shown[0].points.filter((point) => !isNumber(marker) || point[0] <= marker).at(-1);
  const aside = pick && shown.length === 1 && last ? el("strong", {}, text(last[1])) : el("small", {}, y);
  return el("figure", { class: "chart" }, el("figcaption", {}, el("span", {}, title), aside), drawing, legend);
}

// Bars begin at zero, wherever that is between the lowest and the highest value.
export function barChart({ title, rows: all, isClass = () => false }) {
  const rows = all.filter((row) => isDrawn(row[1])).slice(0, 60);
  const low = Math.min(0, ...rows.map((row) => row[1])), high = Math.max(0, ...rows.map((row) => row[1]));
  const percent = (value) => `${(100 * value) / (high - low || 1)}%`;
  const bar = (value) => el("i", { class: value < 0 ? "negative" : "", style: { marginLeft: percent(Math.min(value, 0) - low), width: percent(Math.abs(value)) } });
  const lines = rows.map(([name, value]) => el("tr", {},
    el("th", { scope: "row" }, isClass(name) ? classButton(name) : text(name)), el("td", {}, bar(value)), el("td", {}, text(value))));
  return el("figure", { class: "chart" }, el("figcaption", {}, title), el("table", { class: "bars" }, ...lines));
}

export function histogram({ title, bins, counts }) {
  const most = counts.reduce((a, b) => Math.max(a, b), 1e-9), [low, high] = [bins[0], bins.at(-1)];
  const LEFT = leftOf([most]);
  const px = (value) => LEFT + ((value - low) / (high - low || 1)) * (WIDTH - LEFT - RIGHT);
  const size = (count) => (Math.max(count, 0) / most) * (HEIGHT - TOP - BOTTOM);
  const bars = counts.map((count, i) => svg("rect", { x: px(bins[i]), y: HEIGHT - BOTTOM - size(count),
    width: Math.max(px(bins[i + 1]) - px(bins[i]), 1), height: size(count), fill: LINES[0] },
  svg("title", {}, `${text(bins[i])} to ${text(bins[i + 1])}: ${text(count)}`)));
  const label = (x, y, words, anchor) => svg("text", { x, y, "text-anchor": anchor }, words);
  return el("figure", { class: "chart" }, el("figcaption", {}, title), svg(
    "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}: a histogram from ${text(low)} to ${text(high)}` },
    ...bars, label(LEFT - 6, TOP + 8, text(most), "end"),
    label(LEFT, HEIGHT - BOTTOM + 16, text(low), "start"), label(WIDTH - RIGHT, HEIGHT - BOTTOM + 16, text(high), "end")));
}
