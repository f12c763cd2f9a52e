// The page of a running collector.
//
//   connection.js  snapshots as they come      store.js   the newest, and the seconds before it
//   overview.js and so on: a view each         dom.js, columns.js, matrix.js, format.js: what they draw with
//
// A view has a name, which is its fragment (#ranks, or #ranks/behind for one of its forms), a title, an element, and
// update(live, form). Only the view that is seen is drawn.

import { h, set, text } from "./dom.js";
import { clock, layouts, plural, seconds } from "./format.js";
import { store, take } from "./store.js";
import { follow } from "./connection.js";
import { overview } from "./overview.js";
import { traffic } from "./traffic.js";
import { ranks } from "./ranks.js";
import { peers } from "./peers.js";
import { steps } from "./steps.js";
import { coverage } from "./coverage.js";
import { prediction } from "./prediction.js";

const views = [overview, traffic, ranks, peers, steps, coverage, prediction];
const links = new Map();
const at = (id) => document.getElementById(id);

for (const view of views) {
  const title = h("h2", { id: `title-${view.name}`, tabindex: "-1" }, view.title);
  view.section = h("section", { id: view.name, "aria-labelledby": title.id, hidden: "" }, title, view.element);
  at("main").append(view.section);
  const link = h("a", { href: `#${view.name}` }, view.title);
  links.set(view, link);
  at("views").append(h("li", {}, link));
}

let current = null;
let form = "";

function go(focus) {
  const [name, ...rest] = location.hash.slice(1).split("/");
  const next = views.find((view) => view.name === name) ?? overview;
  form = rest.join("/");
  const moved = next !== current;
  current = next;
  for (const view of views) {
    view.section.hidden = view !== current;
    set(links.get(view), { "aria-current": view === current ? "page" : null });
  }
  document.title = `${current.title} - nccltap`;
  draw();
  if (focus && moved) {
    current.section.querySelector("h2").focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

function draw() {
  const { live } = store;
  if (!live) return;
  const where = live.hosts === 1 && live.ranks.length ? live.ranks[0].host : plural(live.hosts, "host", "hosts");
  const all = live.ranks.length + live.ranks_left_out;
  const parts = [live.jobs.join(", "), live.layouts.length && layouts(live.layouts)];
  parts.push(all ? `${plural(all, "rank", "ranks")} on ${where}` : "no rank has called NCCL yet");
  text(at("subject"), parts.filter(Boolean).join(" · "));
  text(at("version"), `nccltap ${live.nccltap}`);
  current.update(live, form);
  age();
}

function age() {
  const { live, received } = store;
  if (!live) return;
  const old = (performance.now() - received) / 1000;
  text(at("age"), `As of ${clock(live.at_ms)}, ${old < 1 ? "less than a second" : seconds(old)} ago.`);
}

// Takes a snapshot in and draws it.
export function show(live) {
  if (take(live)) draw();
}

function connection(lost) {
  document.body.classList.toggle("stale", lost !== null);
  text(at("connection"), lost === null ? "Live." : `Not connected since ${clock(lost)}. Trying again.`);
}

addEventListener("hashchange", () => go(true));
addEventListener("resize", draw);
setInterval(age, 1000);
go(false);
follow(show, connection);
