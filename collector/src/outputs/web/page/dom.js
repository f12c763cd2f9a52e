// Elements, made and changed in place. Text only ever becomes text: nothing here reads HTML.

const SVG = "http://www.w3.org/2000/svg";

// An element with attributes and children; strings become text, null is nobody.
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  set(element, attributes);
  element.append(...children.flat().filter((child) => child != null));
  return element;
}

export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  set(element, attributes);
  element.append(...children);
  return element;
}

export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value == null || value === false) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  }
}

// Touches the document only where the text is another.
export function text(element, value) {
  const next = String(value);
  if (element.textContent !== next) element.textContent = next;
}

// A bar from 0 to 1 behind the text of an element.
export function bar(element, share) {
  const next = `${(100 * Math.max(0, Math.min(1, share || 0))).toFixed(1)}%`;
  element.classList.add("bar");
  if (element.style.getPropertyValue("--share") !== next) element.style.setProperty("--share", next);
}

// A cell: what it says, and how it looks.
export const cell = (value, options = {}) => ({ value, ...options });

// A table whose rows are known by a key, and stay the same elements while their key stays.
export class Table {
  // columns: { label, number, title, sort: the fragment that sorts by it }
  constructor(caption, columns, { empty = "Nothing yet." } = {}) {
    this.columns = columns;
    this.rows = new Map();
    this.heads = columns.map((column) =>
      h("th", { scope: "col", class: column.number ? "number" : null, title: column.title },
        column.sort ? h("a", { href: column.sort }, column.label) : column.label));
    this.body = h("tbody");
    this.empty = h("p", { class: "quiet" }, empty);
    this.more = h("p", { class: "quiet", hidden: "" });
    const table = h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, this.heads)), this.body);
    this.scroll = h("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" }, table);
    this.element = h("div", { class: "table" }, this.scroll, this.empty, this.more);
  }

  // rows: [key, cells]; cells are strings or `cell`s. The first cell names the row.
  update(rows, { sorted, more = "" } = {}) {
    const seen = new Set();
    let at = this.body.firstElementChild;
    for (const [key, cells] of rows) {
      seen.add(key);
      let row = this.rows.get(key);
      if (!row) {
        row = h("tr", {}, this.columns.map((column, place) =>
          place === 0 ? h("th", { scope: "row" }) : h("td", { class: column.number ? "number" : null })));
        this.rows.set(key, row);
      }
      cells.forEach((one, place) => fill(row.children[place], one, this.columns[place]));
      if (row === at) at = at.nextElementSibling;
      else this.body.insertBefore(row, at);
    }
    for (const [key, row] of this.rows) {
      if (!seen.has(key)) {
        row.remove();
        this.rows.delete(key);
      }
    }
    this.columns.forEach((column, place) => {
      const order = column.sort && column.sort === sorted ? column.order || "descending" : null;
      set(this.heads[place], { "aria-sort": order });
    });
    this.empty.hidden = rows.length > 0;
    this.scroll.hidden = rows.length === 0;
    this.more.hidden = !more;
    text(this.more, more);
  }
}

function fill(element, one, column) {
  const { value, share, mark, title } = typeof one === "object" && one !== null ? one : { value: one };
  text(element, value ?? "");
  if (share != null) bar(element, share);
  set(element, {
    title: title ?? null,
    class: [column.number && "number", share != null && "bar", mark].filter(Boolean).join(" ") || null,
  });
}

// A list of sentences, one element each.
export class Sentences {
  constructor(attributes = {}) {
    this.element = h("ul", attributes);
  }

  // sentences: [text, class, link]
  update(sentences) {
    while (this.element.children.length > sentences.length) this.element.lastElementChild.remove();
    while (this.element.children.length < sentences.length) this.element.append(h("li", {}, h("span"), h("a")));
    sentences.forEach(([sentence, mark, link], at) => {
      const item = this.element.children[at];
      const [said, more] = item.children;
      text(said, sentence);
      set(item, { class: mark });
      set(more, { href: link ? `#${link}` : null });
      text(more, link ? ` ${link}` : "");
      more.hidden = !link;
    });
    this.element.hidden = sentences.length === 0;
  }
}
