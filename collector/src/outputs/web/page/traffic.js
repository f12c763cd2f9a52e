// Which phase does how much of which collective, and how large the messages are.

import { cell, h, Table } from "./dom.js";
import { bytes, count, known, percent, rate } from "./format.js";

const table = new Table("By phase and collective, all ranks together", [
  { label: "phase" },
  { label: "collective" },
  { label: "group", title: "What the group is for, by what runs on it" },
  { label: "operations/s", number: true },
  { label: "message/s", number: true },
  { label: "bus/s", number: true },
  { label: "operations", number: true },
  { label: "message bytes", number: true },
  { label: "bus bytes", number: true },
  { label: "of bus", number: true, title: "Of all bus bytes after start-up" },
], { empty: "No operation has been counted." });

const sizes = new Table("Message sizes, start-up left out", [
  { label: "phase" },
  { label: "collective" },
  { label: "up to", number: true, title: "One message is no larger than this power of two, and larger than half of it" },
  { label: "messages/s", number: true },
  { label: "messages", number: true },
  { label: "bytes", number: true },
], { empty: "No message of known size has been counted." });

const name = (phase) => cell(phase, { mark: `key phase-${phase}` });

export const traffic = {
  name: "traffic",
  title: "Traffic",
  element: h("div", {},
    h("p", { class: "quiet" }, "Over all ranks; a transfer counts once, where it is sent. A step counts once it is known what it serves."),
    table.element,
    h("h3", {}, "How large messages are"),
    sizes.element),

  update(live) {
    const most = live.traffic.reduce((most, row) => Math.max(most, row.bus_rate), 0);
    table.update(live.traffic.map((row) => [
      `${row.phase} ${row.collective} ${row.role}`,
      [
        name(row.phase),
        row.collective,
        row.role ?? "?",
        known(live, rate(row.operations_rate)),
        known(live, `${bytes(row.message_rate)}/s`),
        cell(known(live, `${bytes(row.bus_rate)}/s`), { share: most ? row.bus_rate / most : 0 }),
        count(row.operations),
        bytes(row.message_bytes),
        bytes(row.bus_bytes),
        row.phase === "startup" ? "" : percent(row.bus_bytes, live.totals.bus_bytes),
      ],
    ]));
    const largest = live.sizes.reduce((most, row) => Math.max(most, row.message_bytes), 0);
    const frequent = live.sizes.reduce((most, row) => Math.max(most, row.count), 0);
    sizes.update(live.sizes.map((row) => [
      `${row.phase} ${row.collective} ${row.up_to_bytes}`,
      [
        name(row.phase),
        row.collective,
        bytes(row.up_to_bytes),
        known(live, rate(row.rate)),
        cell(count(row.count), { share: row.count / frequent }),
        cell(bytes(row.message_bytes), { share: row.message_bytes / largest }),
      ],
    ]));
  },
};
