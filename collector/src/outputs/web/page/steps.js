// Engine steps and what they send, second by second and over the whole run.

import { cell, h, Table, text } from "./dom.js";
import { bytes, clock, count, known, rate, seconds } from "./format.js";
import { Columns, legend } from "./columns.js";
import { store, wall } from "./store.js";

const SECONDS = 300;

// The last minutes as columns: a function of one second, to its values by phase.
export const recent = {
  time: (second) => clock(wall(second)),
  columns(of) {
    const last = store.live.second;
    const first = Math.max(0, last - SECONDS + 1);
    const here = store.seconds.filter(({ second }) => second >= first);
    return [here.map((one) => ({ at: one.second, values: of(one) })), first, last];
  },
};

const perSecond = (value) => `${rate(value)}/s`;
const charts = [
  [new Columns("Engine steps per second", { format: perSecond, time: recent.time }), (one) => one.steps],
  [new Columns("Operations per second, all ranks", { format: perSecond, time: recent.time }), (one) => one.operations],
  [new Columns("Message bytes per second, all ranks", { format: (value) => `${bytes(value)}/s`, base: 1024, time: recent.time }), (one) => one.message_bytes],
];

let run = { begin_ns: 0, bin_seconds: 1, bins: [] };
const whole = new Columns("Engine steps, the whole run", {
  format: rate,
  time: (bin) => clock(run.begin_ns / 1e6 + bin * run.bin_seconds * 1000),
});
const width = h("p", { class: "quiet" });

const table = new Table("Engine steps, of the worker that has most of a phase", [
  { label: "phase" },
  { label: "steps/s", number: true },
  { label: "tokens/s", number: true },
  { label: "steps", number: true },
  { label: "tokens", number: true },
  { label: "known by", title: "How it is known what the steps serve: docs/phases.md" },
], { empty: "No engine was recognised, so there are no steps." });

export const steps = {
  name: "steps",
  title: "Steps",
  element: h("div", {}, table.element, legend(), charts.map(([chart]) => chart.element), whole.element, width),

  update(live) {
    table.update(live.steps.map((row) => [
      row.phase,
      [
        cell(row.phase, { mark: `key phase-${row.phase}` }),
        known(live, rate(row.rate)),
        known(live, rate(row.tokens_rate)),
        count(row.steps),
        row.tokens == null ? "?" : count(row.tokens),
        row.source ?? "not known",
      ],
    ]));
    for (const [chart, of] of charts) chart.update(...recent.columns(of));
    run = live.run;
    whole.element.hidden = run.bins.length === 0;
    if (run.bins.length) {
      const last = run.bins[run.bins.length - 1].number;
      whole.update(run.bins.map(({ number, steps: of }) => ({ at: number, values: of })), 0, last);
    }
    text(width, run.bins.length ? `A column of the whole run is ${seconds(run.bin_seconds)}.` : "");
  },
};
