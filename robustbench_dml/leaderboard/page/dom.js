// Elements. Text stays text: the page interprets nothing as HTML.

const byId = (id) => document.getElementById(id);

// h("p", {class: "note", click: f}, "text", node, null): functions are listeners; null and false are left out.
function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (value !== null && value !== false && value !== undefined) element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== false && child !== undefined));
  return element;
}

// Term and description, row by row, without unknown values.
function definitions(rows, kind = null) {
  const known = rows.filter(([, value]) => value !== null && value !== undefined && value !== '');
  return h('dl', {class: kind}, known.flatMap(([term, value]) => [h('dt', {}, term), h('dd', {}, value)]));
}

function options(select, choices, chosen) {
  select.replaceChildren(...choices.map(([value, text]) => h('option', {value, selected: value === chosen}, text)));
  select.value = chosen;
  select.disabled = choices.length < 2;
}
