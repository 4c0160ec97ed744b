// Points in two costs, and the front of those that nothing beats in both.

import { svg } from "../dom.js";
import * as format from "../format.js";

/** On a phone as wide as that is. */
const [WIDTH, HEIGHT] = matchMedia("(max-width: 780px)").matches ? [350, 240] : [560, 320];
const BOX = { left: 62, right: 18, top: 32, bottom: 44 };

/** The points that no other is below in both, by their x. */
export function front(points) {
  let least = Infinity;
  return [...points].sort((a, b) => a.x - b.x || a.y - b.y).filter((point) => {
    if (point.y >= least) return false;
    least = point.y;
    return true;
  });
}

export function pareto(points, name) {
  const x = scale(points.map((point) => point.x), BOX.left, WIDTH - BOX.right);
  const y = scale(points.map((point) => point.y), HEIGHT - BOX.bottom, BOX.top);
  const best = front(points);
  const path = best.map((point, index) => `${index === 0 ? "M" : "L"}${x.of(point.x).toFixed(1)} ${y.of(point.y).toFixed(1)}`).join(" ");
  const labels = place(points, best, x, y);
  return svg("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${name} against joules a token. On the front: ${best.map((point) => point.detail).join("; ")}` },
    x.ticks.map((tick) => [svg("line", { class: "axis", x1: x.of(tick), x2: x.of(tick), y1: BOX.top, y2: HEIGHT - BOX.bottom }), svg("text", { x: x.of(tick), y: HEIGHT - BOX.bottom + 16, "text-anchor": "middle" }, format.joules(tick))]),
    y.ticks.map((tick) => [svg("line", { class: "axis", x1: BOX.left, x2: WIDTH - BOX.right, y1: y.of(tick), y2: y.of(tick) }), svg("text", { x: BOX.left - 8, y: y.of(tick) + 4, "text-anchor": "end" }, format.ms(tick))]),
    svg("text", { x: WIDTH - BOX.right, y: HEIGHT - 8, "text-anchor": "end" }, "energy per token →"),
    svg("text", { x: 4, y: 12 }, `${name} ↑`),
    svg("path", { class: "front", d: path }),
    points.map((point) => svg("circle", { cx: x.of(point.x), cy: y.of(point.y), r: best.includes(point) ? 6.5 : 4.5, class: point.emulated ? "emulated" : "", style: { "--of": point.colour } }, svg("title", {}, point.detail))),
    labels);
}

/** Logarithmic where the figures differ much. */
function scale(values, from, to) {
  const positive = values.filter((value) => value > 0);
  let least = Math.min(...positive);
  let most = Math.max(...positive);
  if (!Number.isFinite(least)) [least, most] = [0.5, 1];
  const log = most / least > 8;
  const [low, high] = log ? [least / 1.35, most * 1.35] : [Math.max(0, least - (most - least || least) * 0.25), most + (most - least || most) * 0.2];
  const share = (value) => log ? Math.log(Math.max(value, low) / low) / Math.log(high / low) : (value - low) / (high - low);
  return { of: (value) => from + share(value) * (to - from), ticks: log ? decades(low, high) : steps(low, high) };
}

function steps(low, high) {
  const raw = (high - low) / (WIDTH < 500 ? 3 : 5);
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((of) => of * size).find((of) => of >= raw);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.max(0, Math.floor(high / step) - first + 1) }, (_, index) => (first + index) * step);
}

function decades(low, high) {
  const ticks = [];
  const marks = high / low > 60 ? [1] : [1, 2, 5];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const of of marks) if (of * 10 ** power >= low && of * 10 ** power <= high) ticks.push(of * 10 ** power);
  }
  return ticks;
}

/** Labels where they hide no other; the front first. */
function place(points, best, x, y) {
  const taken = points.map((point) => ({ left: x.of(point.x) - 6, right: x.of(point.x) + 6, top: y.of(point.y) - 6, bottom: y.of(point.y) + 6 }));
  const labels = [];
  for (const point of [...best, ...points.filter((other) => !best.includes(other))]) {
    const [px, py] = [x.of(point.x), y.of(point.y)];
    const spots = [[px + 10, py - 6, "start"], [px - 10, py - 6, "end"], [px + 10, py + 14, "start"], [px - 10, py + 14, "end"]];
    // As a whole where there is room, else only the name of the board.
    const tries = [point.label, point.short].flatMap((label) => spots.map((spot) => [format.line(label, 34), ...spot]));
    for (const [text, tx, ty, anchor] of tries) {
      const width = text.length * 6.2;
      const left = anchor === "start" ? tx : tx - width;
      const box = { left, right: left + width, top: ty - 10, bottom: ty + 3 };
      const free = box.left > BOX.left && box.right < WIDTH && box.top > BOX.top - 8 && box.bottom < HEIGHT - BOX.bottom && taken.every((other) => box.right < other.left || box.left > other.right || box.bottom < other.top || box.top > other.bottom);
      if (!free) continue;
      taken.push(box);
      labels.push(svg("text", { x: tx, y: ty, "text-anchor": anchor, class: best.includes(point) ? "on-front" : "" }, text));
      break;
    }
  }
  return labels;
}
