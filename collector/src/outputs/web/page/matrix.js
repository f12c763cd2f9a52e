// Bytes from rank to rank, as a picture: a row for each sender, a column for each receiver.

import { h, set, text } from "./dom.js";

const GAP = 34;

export class Matrix {
  constructor(caption, format) {
    this.format = format;
    this.cells = new Map();
    this.ranks = 0;
    this.at = null;
    this.canvas = h("canvas", { role: "img", tabindex: "0" });
    this.readout = h("p", { class: "readout", "aria-live": "polite" });
    this.element = h("figure", { class: "matrix" }, h("figcaption", {}, caption), this.canvas, this.readout);
    this.canvas.addEventListener("pointermove", (event) => {
      const box = this.canvas.getBoundingClientRect();
      const place = (offset) => Math.floor((offset - GAP) / this.size);
      this.choose(place(event.clientY - box.top), place(event.clientX - box.left));
    });
    this.canvas.addEventListener("pointerleave", () => this.choose(-1, -1));
    this.canvas.addEventListener("blur", () => this.choose(-1, -1));
    this.canvas.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (event.key === "Escape") this.choose(-1, -1);
      if (!step) return;
      event.preventDefault();
      const inside = (at) => Math.max(0, Math.min(this.ranks - 1, at));
      const [from, to] = this.at ?? [0, -step[1]];
      this.choose(inside(from + step[0]), inside(to + step[1]));
    });
  }

  // cells: [from, to, value, words]; borders: the first ranks of all hosts but one
  update(cells, ranks, label, borders) {
    this.borders = borders;
    this.cells = new Map(cells.map((one) => [one[0] * ranks + one[1], one]));
    this.ranks = ranks;
    set(this.canvas, { "aria-label": label });
    this.draw();
  }

  draw() {
    const { canvas, ranks } = this;
    const room = Math.max(240, Math.min(this.element.clientWidth || 520, 640));
    this.size = Math.max(2, Math.min(34, (room - GAP - 2) / Math.max(1, ranks)));
    const side = Math.ceil(GAP + this.size * ranks + 2);
    const scale = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(side * scale)) {
      canvas.width = canvas.height = Math.round(side * scale);
      canvas.style.width = canvas.style.height = `${side}px`;
    }
    const style = getComputedStyle(canvas);
    const ink = style.color;
    const heat = style.getPropertyValue("--heat").trim();
    const line = style.getPropertyValue("--line").trim();
    const draw = canvas.getContext("2d");
    draw.setTransform(scale, 0, 0, scale, 0, 0);
    draw.clearRect(0, 0, side, side);
    draw.strokeStyle = line;
    draw.strokeRect(GAP - 0.5, GAP - 0.5, this.size * ranks + 1, this.size * ranks + 1);
    for (const rank of this.borders) {
      const at = Math.round(GAP + rank * this.size) - 0.5;
      draw.strokeRect(at, GAP, 0, this.size * ranks);
      draw.strokeRect(GAP, at, this.size * ranks, 0);
    }
    let most = 0;
    for (const [, , value] of this.cells.values()) most = Math.max(most, value);
    draw.fillStyle = heat;
    const inset = this.size > 6 ? 0.5 : 0;
    for (const [from, to, value] of this.cells.values()) {
      if (value <= 0) continue;
      // By the root, so that small flows beside large ones are seen too.
      draw.globalAlpha = 0.12 + 0.88 * Math.sqrt(value / most);
      draw.fillRect(GAP + to * this.size + inset, GAP + from * this.size + inset, this.size - 2 * inset, this.size - 2 * inset);
    }
    draw.globalAlpha = 1;
    draw.fillStyle = ink;
    draw.font = "11px system-ui, sans-serif";
    const every = 2 ** Math.ceil(Math.log2(Math.max(1, 20 / this.size)));
    for (let rank = 0; rank < ranks; rank += every) {
      const middle = GAP + (rank + 0.5) * this.size;
      draw.textAlign = "right";
      draw.textBaseline = "middle";
      draw.fillText(rank, GAP - 5, middle);
      draw.textAlign = "center";
      draw.textBaseline = "bottom";
      draw.fillText(rank, middle, GAP - 4);
    }
    draw.textAlign = "left";
    draw.textBaseline = "top";
    draw.fillText("to", GAP, 2);
    draw.fillText("from", 0, GAP - 16);
    if (this.at) {
      draw.strokeStyle = ink;
      draw.lineWidth = 2;
      draw.strokeRect(GAP + this.at[1] * this.size, GAP + this.at[0] * this.size, this.size, this.size);
      draw.lineWidth = 1;
    }
  }

  choose(from, to) {
    const inside = from >= 0 && to >= 0 && from < this.ranks && to < this.ranks;
    const same = inside ? this.at && this.at[0] === from && this.at[1] === to : !this.at;
    this.at = inside ? [from, to] : null;
    const one = inside && this.cells.get(from * this.ranks + to);
    text(this.readout, inside ? `Rank ${from} to rank ${to}: ${one ? one[3] : "nothing"}` : "");
    if (!same) this.draw();
  }
}
