// Elements made and changed, never by text that is parsed: what a worker or a query says stays text.

const SVG = 'http://www.w3.org/2000/svg';

/** An HTML element. Attributes that are null or undefined are left out. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  set(element, attributes);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Sets attributes, and touches none that is as it should be: a change is something a screen reader may tell. */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  }
}

/** Sets the text, unless it is that already. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Has a parent hold one child per key, in order; those that stay are the same elements. */
export function keep(parent, keys, make) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = keys.map((key) => {
    const child = known.get(key) ?? make(key);
    child.dataset.key = key;
    return child;
  });
  for (const [key, child] of known) if (!keys.includes(key)) child.remove();
  // None that stays is taken out: it would lose the focus.
  let at = parent.firstElementChild;
  for (const child of wanted) {
    if (child === at) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
  }
  return wanted;
}

export const one = (count, singular, plural = `${singular}s`) => `${count} ${count === 1 ? singular : plural}`;

export const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });

/** A time span in as few letters as it takes. */
export function span(ms) {
  if (ms === null || ms === undefined) return '';
  if (ms < 1000) return `${ms} ms`;
  if (ms < 120_000) return `${Math.round(ms / 1000)} s`;
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)} min`;
  return `${Math.round(ms / 3_600_000)} h`;
}
