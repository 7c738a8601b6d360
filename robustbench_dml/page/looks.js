// Colours, symbols and numbers: the same in the table, the plots and the records.

const dark = matchMedia('(prefers-color-scheme: dark)');
const colourOf = (family) => (data.families[family] ?? data.families.other)[dark.matches ? 1 : 0];
const theme = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// Plotly's names of symbols, with the same shapes in a box of -1..1.
const SYMBOLS = [
  ['circle', 'M-.9 0A.9.9 0 1 1 .9 0A.9.9 0 1 1-.9 0Z'],
  ['square', 'M-.8-.8H.8V.8H-.8Z'],
  ['diamond', 'M0-1.05L1.05 0L0 1.05L-1.05 0Z'],
  ['triangle-up', 'M0-.95L1 .8H-1Z'],
  ['triangle-down', 'M0 .95L1-.8H-1Z'],
  ['pentagon', 'M0-1L.95-.31L.59.81H-.59L-.95-.31Z'],
  ['hexagon', 'M-.5-.87H.5L1 0L.5.87H-.5L-1 0Z'],
  ['cross', 'M-.35-1H.35V-.35H1V.35H.35V1H-.35V.35H-1V-.35H-.35Z'],
  ['star', 'M0-1.1L.29-.36L1.05-.34L.45.14L.65.89L0 .46L-.65.89L-.45.14L-1.05-.34L-.29-.36Z'],
];
const labels = [...new Set([
  ...data.boards.flatMap((board) => board.rows.map((row) => row.label)), ...data.reported.map((one) => one.defense),
])].sort();
const symbolOf = (label) => SYMBOLS[labels.indexOf(label) % SYMBOLS.length];

// The symbol of a defense as it stands in the plots; hollow for what is reported.
function mark(label, family, hollow = false) {
  const colour = colourOf(family);
  const drawn = {d: symbolOf(label)[1], fill: hollow ? 'none' : colour, stroke: hollow ? colour : theme('ink'),
    'stroke-width': hollow ? 0.3 : 0.12};
  return svg('svg', {class: 'mark', viewBox: '-1.2 -1.2 2.4 2.4', 'aria-hidden': 'true'}, svg('path', drawn));
}

const number = (value, decimals) => value.toFixed(decimals);
const millions = (passes) => (passes < 1e6 ? `${Number((passes / 1e3).toPrecision(3))}k` : `${Number((passes / 1e6).toPrecision(3))}M`);
const whole = (value) => Math.round(value).toLocaleString('en');
const interval = ([low, high], decimals) => `${number(low, decimals)} to ${number(high, decimals)}`;
const day = (time) => time.replace('T', ' ').replace(/(\.\d+)?(\+00:00|Z)$/, ' UTC');

function badges(flags, disqualifying) {
  return flags.map((flag) => h('span', {class: `badge ${disqualifying.includes(flag) ? 'bad' : 'doubt'}`}, flag));
}

const badge = (status) => h('span', {class: `badge ${status}`}, status);
