// Elements, made without any parsing of markup: all text is text, whatever it holds.

const SVG = "http://www.w3.org/2000/svg";

/** An element: properties that begin with "on" are listeners, `class`, `data` and `style` what they say, the rest attributes. */
export function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same for pictures. */
export function svg(tag, properties, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) set(element, name, value);
  append(element, children);
  return element;
}

function set(element, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (name === "class") element.setAttribute("class", value);
  else if (name === "data") Object.assign(element.dataset, value);
  else if (name === "style") for (const [key, of] of Object.entries(value)) element.style.setProperty(key, of);
  else if (name === "value") element.value = value;
  else if (name === "href") element.setAttribute("href", inside(value));
  else element.setAttribute(name, value === true ? "" : value);
}

/** Links lead to views of this page only. */
function inside(address) {
  return String(address).startsWith("#") ? address : "#";
}

function append(element, children) {
  for (const child of children.flat(3)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** Puts other children into an element. */
export function put(element, ...children) {
  const fragment = document.createDocumentFragment();
  append(fragment, children);
  element.replaceChildren(fragment);
  return element;
}

/** Changes a text, if it changes. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const shownIn = new WeakMap();

/** Makes the children of an element anew only where what they show is different: focus, scroll and selection stay otherwise. */
export function renew(element, what, make) {
  const key = JSON.stringify(what);
  if (shownIn.get(element) === key) return;
  shownIn.set(element, key);
  put(element, make());
}

/** Rows of a container, made once for each key and then changed: nothing flickers, focus and scroll stay. */
export function keyed(container, make, change) {
  const rows = new Map();
  return (items) => {
    const seen = new Set();
    let before = null;
    for (const [key, item] of items) {
      seen.add(key);
      let row = rows.get(key);
      if (!row) rows.set(key, (row = make(item, key)));
      change(row, item, key);
      const place = before ? before.nextSibling : container.firstChild;
      if (row.element !== place) container.insertBefore(row.element, place);
      before = row.element;
    }
    for (const [key, row] of rows) {
      if (seen.has(key)) continue;
      row.element.remove();
      rows.delete(key);
    }
    return rows;
  };
}

/** At most once a frame. */
export function everyFrame(paint) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      paint();
    });
  };
}
