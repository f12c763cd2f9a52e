// What was seen against what a named model must do in each step.

import { cell, h, Table } from "./dom.js";
import { count } from "./format.js";

const table = new Table("Operations seen, and those that the steps seen must have had", [
  { label: "phase" },
  { label: "operation" },
  { label: "ranks", number: true },
  { label: "seen", number: true },
  { label: "predicted", number: true },
  { label: "seen / predicted", number: true },
  { label: "furthest rank", number: true, title: "Of the rank that is furthest from 1" },
], { empty: "No step of an engine in a known layout has been seen yet." });

const how = h("div", {},
  h("p", {}, "No model was named, so there is nothing to compare with. Start the collector with the model and the layout that are served:"),
  h("pre", {}, "nccltap serve --model llama-3.1-8b --tp 2"),
  h("p", { class: "quiet" }, "--model-config takes the config.json of any model. For a run that has ended: nccltap check."));

const words = h("p", { class: "quiet" }, "Only operations of which every step of a phase has equally many, and those that no step has. A step under way makes the ratio a little less or more than 1.");

// A step under way is less than this of a run that has begun.
const off = (ratio, predicted) => Math.abs(ratio - 1) > (predicted > 10000 ? 0.01 : 0.2);

export const prediction = {
  name: "prediction",
  title: "Prediction",
  element: h("div", {}, how, words, table.element),

  update({ prediction: rows }) {
    how.hidden = rows != null;
    words.hidden = table.element.hidden = rows == null;
    if (!rows) return;
    table.update(rows.map((row) => {
      const ratio = row.predicted ? row.seen / row.predicted : null;
      const mark = (value) => (value == null ? "bad" : off(value, row.predicted) ? "doubt" : "fine");
      return [
        `${row.phase} ${row.op}`,
        [
          cell(row.phase, { mark: `key phase-${row.phase}` }),
          row.op,
          count(row.ranks),
          count(row.seen),
          count(row.predicted),
          cell(ratio == null ? "none predicted" : ratio.toFixed(4), { mark: mark(ratio) }),
          cell(row.furthest == null ? "" : row.furthest.toFixed(4), { mark: row.furthest == null ? null : mark(row.furthest) }),
        ],
      ];
    }));
  },
};
