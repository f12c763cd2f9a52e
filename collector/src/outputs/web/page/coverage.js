// What is seen, by which doors, what became of every call, and what is missing.

import { cell, h, Sentences, Table, text } from "./dom.js";
import { count, known, percent, plural, rate } from "./format.js";

const paths = new Table("Paths that data took", [
  { label: "path" },
  { label: "launched", title: "eager: by a call; graph: by the launch of a CUDA graph" },
  { label: "operations/s", number: true },
  { label: "operations", number: true },
], { empty: "No operation has been counted." });

const libraries = new Table("Libraries that the tap stands in front of", [
  { label: "file" },
  { label: "kind" },
  { label: "version", number: true },
  { label: "processes", number: true },
  { label: "functions by linkage table", number: true, title: "How PyTorch calls NCCL" },
  { label: "functions by dlsym", number: true, title: "How vLLM's pynccl calls NCCL" },
], { empty: "No copy of NCCL or CUDA has been met." });

const fates = new Table("Where every call has gone: made = the sum of the rest", [
  { label: "" },
  { label: "calls", number: true },
  { label: "of those made", number: true },
  { label: "meaning" },
]);

const FATES = [
  ["made", "Calls of NCCL and CUDA graphs, and marks of steps"],
  ["seen", "In the counts"],
  ["dropped", "Their ring was full"],
  ["unrecorded", "No ring could be had"],
  ["before", "Another collector took them"],
  ["lost", "Recorded, and never arrived"],
  ["pending", "Recorded, and still on their way"],
];

const facts = new Sentences({ class: "facts" });
const missing = new Sentences({ class: "attention" });
const more = h("p", { class: "quiet" });
const whole = h("p", { class: "good" }, "Nothing is missing, as far as nccltap can know.");

function sentences({ coverage: { ways, launches, engine_workers: workers, marked_workers: marked, unknown_share: unknown } }) {
  const all = ways.map((way) => [`${way}.`, null]);
  const graphs = launches.with_operations + launches.unknown;
  all.push(graphs
    ? [`${plural(launches.with_operations, "launch", "launches")} of CUDA graphs with operations of NCCL in them, of ${plural(launches.manifests, "content", "different contents")}; ${count(launches.unknown)} of unknown content.`, launches.unknown ? "doubt" : null]
    : ["No CUDA graph with operations of NCCL in it has been launched.", null]);
  if (!workers) all.push(["No worker of a known engine: phases, layout and roles of groups are not known.", "doubt"]);
  else if (marked === workers) all.push([`All ${plural(workers, "worker marks", "workers mark")} their steps: phases are the engine's own word.`, null]);
  else all.push([`${count(marked)} of ${plural(workers, "worker marks", "workers mark")} their steps; of the others phases are inferred from sizes.`, null]);
  if (unknown != null) all.push([`${percent(unknown, 1)} of the operations after start-up have no known phase.`, unknown > 0.05 ? "doubt" : null]);
  all.push(["Not seen by any door: what goes neither through NCCL's functions nor by a kernel that is on nccltap's list, such as NVSHMEM and NIXL.", null]);
  return all;
}

export const coverage = {
  name: "coverage",
  title: "Coverage",
  element: h("div", {}, whole, missing.element, more, h("h3", {}, "What is seen"), paths.element, facts.element, libraries.element, h("h3", {}, "What became of every call"), fates.element),

  update(live) {
    const { coverage: seen, accounting: sums } = live;
    paths.update(seen.paths.map((one) => [
      `${one.path} ${one.launch}`,
      [one.path, one.launch, known(live, rate(one.rate)), count(one.operations)],
    ]));
    facts.update(sentences(live));
    const out = seen.libraries_left_out;
    libraries.update(seen.libraries.map((one) => [
      `${one.kind} ${one.file} ${one.version}`,
      [one.file, one.kind, one.version ?? "?", count(one.processes), count(one.plt), count(one.dlsym)],
    ]), { more: out ? `and ${plural(out, "more copy", "more copies")}` : "" });
    fates.update(FATES.map(([name, meaning]) => [
      name,
      [
        name,
        cell(count(sums[name]), { mark: sums[name] && ["dropped", "unrecorded", "lost"].includes(name) ? "doubt" : null }),
        percent(sums[name], sums.made),
        meaning,
      ],
    ]));
    whole.hidden = live.missing.length > 0 || sums.made === 0;
    missing.update(live.missing.map((sentence) => [sentence, "doubt"]));
    text(more, live.missing_left_out ? `and ${plural(live.missing_left_out, "more sentence", "more sentences")} of this kind` : "");
  },
};
