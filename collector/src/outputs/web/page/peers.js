// Who sends to whom.

import { cell, h, set, Table, text } from "./dom.js";
import { bytes, count, known, plural } from "./format.js";
import { Matrix } from "./matrix.js";

const SHOWN = 24;

const now = h("a", { href: "#peers" }, "per second");
const all = h("a", { href: "#peers/all" }, "since the start");
const matrix = new Matrix("Bytes from rank to rank", bytes);
const table = new Table("The pairs with most bytes", [
  { label: "from", number: true },
  { label: "to", number: true },
  { label: "per second", number: true },
  { label: "in all", number: true },
  { label: "to a named peer", number: true, title: "By Send and other operations that name their peer" },
  { label: "by rings", number: true, title: "By collectives, each rank sending its bus bytes to the next of its group" },
], { empty: "Nothing has been sent from rank to rank." });
const without = h("p", { class: "quiet" });

const who = (number) => (number == null ? "not tapped" : count(number));

export const peers = {
  name: "peers",
  title: "Peers",
  element: h("div", {},
    h("p", { class: "quiet" }, "Send and Recv name their peer. For collectives NCCL chooses the way; here they are told as rings, each rank sending its bus bytes to the next of its group: that says how much leaves each rank, and not over which link. Lines stand between hosts."),
    h("p", { class: "choice" }, "Bytes ", now, " or ", all),
    h("div", { class: "pair" }, matrix.element, table.element), without),

  update(live, form) {
    const total = form === "all";
    set(now, { "aria-current": total ? null : "true" });
    set(all, { "aria-current": total ? "true" : null });
    const of = (one) => (total ? one.named_bytes + one.ring_bytes : one.rate);
    const { cells, cells_left_out: out, operations_without_place: lost } = live.peers;
    const inside = cells.filter(({ from, to }) => from != null && to != null);
    const drawn = inside.map((one) => [one.from, one.to, of(one), total ? bytes(of(one)) : `${bytes(of(one))}/s`]);
    const ranks = live.ranks.length;
    const label = `Bytes from each of ${plural(ranks, "rank", "ranks")} to each other, ${total ? "since the start" : "per second"}: ${plural(inside.length, "pair sends", "pairs send")}. Arrow keys read it; the table has the largest.`;
    const borders = live.ranks.flatMap((rank, at) => (at > 0 && rank.host !== live.ranks[at - 1].host ? [at] : []));
    matrix.update(drawn, ranks, label, borders);
    matrix.element.hidden = ranks === 0;
    const sorted = [...cells].sort((a, b) => of(b) - of(a));
    const most = sorted.length ? of(sorted[0]) : 0;
    const share = (one) => (most ? of(one) / most : 0);
    const more = cells.length + out - Math.min(SHOWN, cells.length);
    table.update(sorted.slice(0, SHOWN).map((one) => [
      `${one.from} ${one.to}`,
      [
        who(one.from),
        who(one.to),
        cell(known(live, `${bytes(one.rate)}/s`), total ? {} : { share: share(one) }),
        cell(bytes(one.named_bytes + one.ring_bytes), total ? { share: share(one) } : {}),
        bytes(one.named_bytes),
        bytes(one.ring_bytes),
      ],
    ]), { more: more > 0 ? `and ${plural(more, "more pair", "more pairs")}` : "" });
    text(without, lost ? `Not in it, since group, rank or data type is not known: ${plural(lost, "operation", "operations")}.` : "");
  },
};
