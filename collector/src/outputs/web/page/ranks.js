// Each rank, and the ranks of a group beside each other.

import { cell, h, Table, text } from "./dom.js";
import { bytes, count, known, place, plural, rate, seconds } from "./format.js";

// How a rank is, in words, and whether that is bad.
export function state(rank) {
  if (rank.state === "disconnected") return { words: "gone without a Goodbye", mark: "bad" };
  if (rank.state !== "connected") return { words: rank.state, mark: "over" };
  if (rank.inside && rank.inside.seconds >= 5) return { words: `inside ${rank.inside.function}`, mark: "bad" };
  if (rank.silent_seconds >= 5) return { words: "silent", mark: "bad" };
  if (rank.behind > 0 && rank.behind_seconds == null && rank.still_seconds >= 3) return { words: "stopped behind", mark: "bad" };
  if (rank.behind_seconds >= 0.25) return { words: "late", mark: "doubt" };
  if (rank.dropped > 0) return { words: "calls dropped", mark: "doubt" };
  return { words: rank.still_seconds >= 3 ? "idle" : "running" };
}

const table = new Table("Each rank", [
  { label: "rank", number: true, sort: "#ranks", order: "ascending" },
  { label: "place", title: "In the layout that was found" },
  { label: "process" },
  { label: "state" },
  { label: "operations/s", number: true },
  { label: "bus/s", number: true, sort: "#ranks/busiest" },
  { label: "behind", number: true, sort: "#ranks/behind", title: "Collectives that the rank has issued fewer than the first of its group, and the same as time" },
  { label: "last operation", number: true, sort: "#ranks/still" },
  { label: "inside", title: "The call that has not come back" },
  { label: "not counted", number: true, title: "Calls dropped, not recorded or lost" },
], { empty: "No rank has called NCCL under the tap yet." });

const groups = new Table("Groups, the one with a rank furthest behind first", [
  { label: "group" },
  { label: "for" },
  { label: "ranks seen", number: true },
  { label: "collectives/s", number: true },
  { label: "furthest behind", number: true },
  { label: "the ranks furthest behind" },
], { empty: "No group of several ranks has been seen." });

const caught = h("p", { class: "quiet" });

const orders = {
  behind: (a, b) => (b.rank.behind_seconds ?? (b.rank.behind ? Infinity : -1)) - (a.rank.behind_seconds ?? (a.rank.behind ? Infinity : -1)) || b.rank.behind - a.rank.behind,
  busiest: (a, b) => b.rank.bus_rate - a.rank.bus_rate,
  still: (a, b) => b.rank.still_seconds - a.rank.still_seconds,
};

function behind({ behind: many, behind_seconds: late }) {
  if (many == null) return "?";
  if (many === 0) return "0";
  return late == null ? `${count(many)}, stands` : `${count(many)}, ${seconds(late)}`;
}

function inside({ inside: call }) {
  return call ? `${call.function}${call.group ? ` of ${call.group}` : ""}, ${seconds(call.seconds)}` : "";
}

function row(live, { rank, number }, most) {
  const how = state(rank);
  return [
    number,
    [
      count(number),
      place(rank, live),
      `${rank.host} pid ${rank.pid}`,
      cell(how.words, { mark: how.mark }),
      known(live, rate(rank.operations_rate)),
      cell(known(live, `${bytes(rank.bus_rate)}/s`), { share: most ? rank.bus_rate / most : 0 }),
      cell(behind(rank), { mark: how.words === "late" || how.words === "stopped behind" ? how.mark : null }),
      rank.still_seconds < 1.5 ? "now" : `${seconds(rank.still_seconds)} ago`,
      inside(rank),
      rank.dropped ? cell(count(rank.dropped), { mark: "doubt" }) : "0",
    ],
  ];
}

function group({ name, role, ranks, rate: per, behind: most, members }) {
  const late = members.filter(({ behind: many }) => many > 0).sort((a, b) => b.behind - a.behind);
  const words = late.slice(0, 4).map(({ rank, number, behind: many }) => `${rank}${number != null && number !== rank ? ` (rank ${number})` : ""}: ${count(many)}`);
  if (late.length > 4) words.push(`and ${late.length - 4} more`);
  const unknown = members.some(({ behind: many }) => many == null);
  return [
    name,
    [
      name,
      role ?? "?",
      `${count(members.length)} of ${count(ranks)}`,
      rate(per),
      unknown && !most ? "?" : count(most),
      words.join(", ") || (unknown ? "not all calls of all ranks are counted" : "none"),
    ],
  ];
}

export const ranks = {
  name: "ranks",
  title: "Ranks",
  element: h("div", {}, caught, table.element, h("h3", {}, "Who is late"),
    h("p", { class: "quiet" }, "All ranks of a group issue the same collectives in the same order: who has issued fewer is late. Ranks report every few milliseconds, so a few are always behind by some milliseconds. Send and Recv are left out."),
    groups.element),

  update(live, form) {
    const all = live.ranks.map((rank, number) => ({ rank, number }));
    const order = orders[form];
    if (order) all.sort((a, b) => order(a, b) || a.number - b.number);
    const most = live.ranks.reduce((most, { bus_rate: per }) => Math.max(most, per), 0);
    const out = live.ranks_left_out;
    table.update(all.map((one) => row(live, one, most)), {
      sorted: order ? `#ranks/${form}` : "#ranks",
      more: out ? `${plural(out, "more rank is", "more ranks are")} not shown; they are in the sums.` : "",
    });
    const left = live.groups_left_out;
    groups.update(live.groups.map(group), { more: left ? `and ${plural(left, "more group", "more groups")} with nobody further behind` : "" });
    text(caught, live.waiting ? `${plural(live.waiting, "operation waits", "operations wait")} until it is known what their step serves.` : "");
  },
};
