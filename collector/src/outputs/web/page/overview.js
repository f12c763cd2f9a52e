// What an engineer looks at first: does anything stand out, how much goes where, how does each rank do.

import { h, Sentences, set, Table, cell, text } from "./dom.js";
import { bytes, count, known, layouts, percent, plural, rate } from "./format.js";
import { Columns, legend } from "./columns.js";
import { state } from "./ranks.js";
import { recent } from "./steps.js";

const good = h("p", { class: "good" });
const attention = new Sentences({ class: "attention" });

const tiles = ["Layout", "Bus bytes", "Operations", "Steps", "Tokens", "Calls not counted"].map((name) => {
  const value = h("dd");
  const more = h("dd", { class: "quiet" });
  return { element: h("div", {}, h("dt", {}, name), value, more), value, more };
});

const chart = new Columns("Message bytes per second, by phase", {
  format: (value) => `${bytes(value)}/s`,
  base: 1024,
  time: recent.time,
});

const table = new Table("Where the bytes go now", [
  { label: "phase" },
  { label: "collective" },
  { label: "group", title: "What the group is for, by what runs on it" },
  { label: "operations/s", number: true },
  { label: "bus bytes/s", number: true },
], { empty: "Nothing is sent." });

const strip = h("ol", { class: "strip" });
const strips = h("figure", {}, h("figcaption", {}, "Ranks"), strip, h("p", { class: "quiet" }, "A full bar is the rank that sends most now. ", h("a", { href: "#ranks" }, "All of each rank")));

function fillTiles(live) {
  const { totals, steps, accounting, layouts: all } = live;
  const serving = steps.filter(({ phase }) => phase !== "startup");
  const sum = (of) => serving.reduce((all, one) => all + of(one), 0);
  const away = accounting.dropped + accounting.unrecorded + accounting.lost;
  const most = serving.filter(({ rate: per }) => per > 0).map(({ phase, rate: per }) => `${phase} ${rate(per)}`);
  const parts = [
    [layouts(all), plural(live.ranks.length + live.ranks_left_out, "rank", "ranks")],
    [known(live, `${bytes(totals.bus_rate)}/s`), `${bytes(totals.bus_bytes)} in all`],
    [known(live, `${rate(totals.operations_rate)}/s`), `${count(totals.operations)} in all`],
    [known(live, `${rate(sum((one) => one.rate))}/s`), most.join(", ") || "no engine step now"],
    [known(live, `${rate(sum((one) => one.tokens_rate))}/s`), `${count(sum((one) => one.tokens ?? 0))} in all, as far as known`],
    [count(away), away ? `${percent(away, accounting.made)} of those made` : `of ${count(accounting.made)} made`],
  ];
  parts.forEach(([value, more], at) => {
    text(tiles[at].value, value);
    text(tiles[at].more, more);
  });
}

function fillStrip({ ranks }) {
  while (strip.children.length > ranks.length) strip.lastElementChild.remove();
  while (strip.children.length < ranks.length) strip.append(h("li", {}, h("span"), h("i")));
  const most = ranks.reduce((most, rank) => Math.max(most, rank.bus_rate), 0);
  ranks.forEach((rank, at) => {
    const [number, level] = strip.children[at].children;
    const how = state(rank);
    text(number, at);
    set(strip.children[at], {
      class: how.mark ?? null,
      title: `Rank ${at}, ${rank.host} pid ${rank.pid}: ${how.words}, ${bytes(rank.bus_rate)}/s of bus bytes`,
    });
    const high = `${Math.round(100 * (most > 0 ? rank.bus_rate / most : 0))}%`;
    if (level.style.blockSize !== high) level.style.blockSize = high;
  });
  strips.hidden = ranks.length === 0;
}

export const overview = {
  name: "overview",
  title: "Overview",
  element: h("div", {}, good, attention.element, h("dl", { class: "tiles" }, tiles.map(({ element }) => element)),
    h("div", { class: "pair" }, h("div", {}, chart.element, legend()), table.element), strips),

  update(live) {
    const { accounting, ranks } = live;
    const connected = ranks.filter(({ state: how }) => how === "connected").length;
    const ended = ranks.length - connected;
    let words = "Nothing stands out: ";
    if (ranks.length === 0) words = "No rank has called NCCL under the tap yet.";
    else if (connected === 0) words += `all ${plural(ended, "rank has", "ranks have")} ended, and every call is counted.`;
    else words += `${plural(connected, "rank reports", "ranks report")}, and all ${count(accounting.made)} calls are counted.`;
    text(good, words);
    good.hidden = live.attention.length > 0;
    attention.update(live.attention.map(({ severity, sentence, view }) => [sentence, severity, view]));
    fillTiles(live);
    chart.update(...recent.columns(({ message_bytes: sent }) => sent));
    const busy = live.traffic.filter(({ phase, bus_rate: per }) => phase !== "startup" && per > 0);
    busy.sort((a, b) => b.bus_rate - a.bus_rate);
    const most = busy.length ? busy[0].bus_rate : 0;
    table.update(busy.slice(0, 8).map((row) => [
      `${row.phase} ${row.collective} ${row.role}`,
      [
        cell(row.phase, { mark: `key phase-${row.phase}` }),
        row.collective,
        row.role ?? "?",
        rate(row.operations_rate),
        cell(`${bytes(row.bus_rate)}/s`, { share: row.bus_rate / most }),
      ],
    ]));
    fillStrip(live);
  },
};

