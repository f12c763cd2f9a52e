// Columns over time, stacked by phase. One path for each phase, however many columns there are.

import { h, set, svg, text } from "./dom.js";
import { PHASES } from "./format.js";

const HEIGHT = 150;
const LEFT = 74;
const BOTTOM = 20;
const TOP = 6;

// A round number that is no less.
function ceiling(value, base) {
  if (value <= 0) return 1;
  const power = base ** Math.floor(Math.log(value) / Math.log(base));
  const steps = base === 1024 ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1024] : [1, 2, 5, 10];
  return power * steps.find((step) => step * power >= value);
}

export class Columns {
  // format: of a value; base: of round numbers; time: of a column's place
  constructor(caption, { format, base = 10, time }) {
    Object.assign(this, { format, base, time, points: [], chosen: null });
    this.paths = PHASES.map((phase) => svg("path", { class: `phase-${phase}` }));
    this.lines = [svg("path", { class: "axis" }), svg("path", { class: "cursor" })];
    this.labels = Array.from({ length: 5 }, () => svg("text"));
    this.picture = svg("svg", { role: "img", tabindex: "0", height: HEIGHT }, ...this.lines.slice(0, 1), ...this.paths, this.lines[1], ...this.labels);
    this.readout = h("p", { class: "readout", "aria-live": "polite" });
    this.element = h("figure", {}, h("figcaption", {}, caption), this.picture, this.readout);
    this.caption = caption;
    this.picture.addEventListener("pointermove", (event) => this.point(event));
    this.picture.addEventListener("pointerleave", () => this.choose(null));
    this.picture.addEventListener("blur", () => this.choose(null));
    this.picture.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
      if (event.key === "Escape") this.choose(null);
      if (!step) return;
      event.preventDefault();
      const last = this.points.length - 1;
      const place = this.points.findIndex(({ at }) => at === this.chosen);
      this.choose(place < 0 ? last : Math.max(0, Math.min(last, place + step)));
    });
  }

  // points: { at, values: by phase }; `at` counts columns from `first` to `last`
  update(points, first, last) {
    Object.assign(this, { points, first, last });
    const width = Math.max(260, Math.round(this.element.clientWidth || 640));
    set(this.picture, { width, viewBox: `0 0 ${width} ${HEIGHT}` });
    const sums = points.map(({ values }) => values.reduce((sum, value) => sum + value, 0));
    const most = ceiling(sums.reduce((a, b) => Math.max(a, b), 0), this.base);
    const columns = Math.max(1, last - first + 1);
    this.step = (width - LEFT - 4) / columns;
    const inner = HEIGHT - BOTTOM - TOP;
    const wide = Math.max(0.5, this.step - (this.step > 3 ? 1 : 0));
    const drawn = PHASES.map(() => []);
    for (const { at, values } of points) {
      let base = HEIGHT - BOTTOM;
      const x = (LEFT + (at - first) * this.step).toFixed(1);
      values.forEach((value, phase) => {
        if (!value) return;
        const high = (value / most) * inner;
        base -= high;
        drawn[phase].push(`M${x} ${base.toFixed(1)}h${wide.toFixed(1)}v${high.toFixed(1)}h-${wide.toFixed(1)}z`);
      });
    }
    this.paths.forEach((path, phase) => set(path, { d: drawn[phase].join("") || null }));
    const middle = TOP + inner / 2;
    const floor = HEIGHT - BOTTOM;
    set(this.lines[0], { d: `M${LEFT} ${TOP}H${width}M${LEFT} ${middle}H${width}M${LEFT} ${floor + 0.5}H${width}` });
    const label = (place, x, y, anchor, words) => {
      set(this.labels[place], { x, y, "text-anchor": anchor });
      text(this.labels[place], words);
    };
    label(0, LEFT - 6, TOP + 6, "end", this.format(most));
    label(1, LEFT - 6, middle + 4, "end", this.format(most / 2));
    label(2, LEFT - 6, floor, "end", "0");
    label(3, LEFT, HEIGHT - 5, "start", this.time(first));
    label(4, width - 2, HEIGHT - 5, "end", this.time(last));
    const now = sums.length ? sums[sums.length - 1] : 0;
    set(this.picture, { "aria-label": `${this.caption}: ${this.format(now)} last, ${this.format(most)} at the top. Arrow keys read it.` });
    this.choose(this.points.findIndex(({ at }) => at === this.chosen));
  }

  point(event) {
    const x = event.clientX - this.picture.getBoundingClientRect().left - LEFT;
    const wanted = this.first + x / this.step - 0.5;
    let best = null;
    this.points.forEach(({ at }, place) => {
      if (best === null || Math.abs(at - wanted) < Math.abs(this.points[best].at - wanted)) best = place;
    });
    this.choose(best);
  }

  // Shows the values of one column, and stays with it while columns move on.
  choose(place) {
    const one = place == null ? null : this.points[place];
    this.chosen = one ? one.at : null;
    const x = one ? LEFT + (one.at - this.first + 0.5) * this.step : 0;
    set(this.lines[1], { d: one ? `M${x.toFixed(1)} ${TOP}V${HEIGHT - BOTTOM}` : null });
    const words = one && PHASES.map((phase, at) => one.values[at] && `${phase} ${this.format(one.values[at])}`).filter(Boolean);
    text(this.readout, one ? `${this.time(one.at)}: ${words.join(", ") || "nothing"}` : "");
  }
}

// What the colours mean.
export const legend = () =>
  h("ul", { class: "legend" }, PHASES.map((phase) => h("li", {}, h("i", { class: `phase-${phase}` }), phase)));
