// Colours, symbols and numbers: the same in the table, the plots and the records.

const dark = matchMedia('(prefers-color-scheme: dark)');
const colourOf = (family) => (data.families[family] ?? data.families.other)[dark.matches ? 1 : 0];
const theme = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// Plotly's symbols in a box of -1..1, with corners on one radius or on two in turn.
const SHAPES = {
  circle: 'M-.9 0A.9.9 0 1 1 .9 0A.9.9 0 1 1-.9 0Z',
  cross: 'M-.35-1H.35V-.35H1V.35H.35V1H-.35V.35H-1V-.35H-.35Z',
  x: 'M-.9-.6L-.6-.9L0-.3L.6-.9L.9-.6L.3 0L.9 .6L.6 .9L0 .3L-.6 .9L-.9 .6L-.3 0Z',
  'diamond-tall': 'M0-1.1L.65 0L0 1.1L-.65 0Z',
  'triangle-up': corners(3, 0), 'triangle-right': corners(3, 90), 'triangle-down': corners(3, 180), 'triangle-left': corners(3, 270),
  square: corners(4, 45), diamond: corners(4, 0), pentagon: corners(5, 0), hexagon: corners(6, 30), hexagon2: corners(6, 0), octagon: corners(8, 22.5),
  star: corners(10, 0, 0.42), 'star-diamond': corners(8, 0, 0.45), hexagram: corners(12, 0, 0.58), 'star-triangle-up': corners(6, 0, 0.42),
};

function corners(count, turn, inner = 1) {
  const places = Array.from({length: count}, (_, place) => {
    const [angle, radius] = [(turn + (360 * place) / count) * Math.PI / 180, place % 2 ? inner * 1.1 : 1.1];
    return `${(radius * Math.sin(angle)).toFixed(2)} ${(-radius * Math.cos(angle)).toFixed(2)}`;
  });
  return `M${places.join('L')}Z`;
}

// The marker of a row: filled if it is ours, hollow if it is reported, a grey cross if it is disqualified.
function lookOf(one) {
  const reported = one.runs === undefined;
  const out = !reported && one.disqualifying.length > 0;
  return {symbol: out ? 'x' : one.symbol, colour: out ? theme('control') : colourOf(one.family), hollow: reported, dash: one.dash};
}

// The symbol of a row, on a piece of its line if that is dashed.
function mark(one, dash = null) {
  const {symbol, colour, hollow} = lookOf(one);
  const drawn = {d: SHAPES[symbol], fill: hollow ? 'none' : colour, stroke: hollow ? colour : theme('ink'), 'stroke-width': hollow ? 0.3 : 0.12};
  const line = dash && svg('path', {d: 'M-3.4 0H3.4', stroke: colour, 'stroke-width': 0.2, 'stroke-dasharray': dash === 'solid' ? null : dash.replaceAll('px', '').split(',').map((length) => length / 7)});
  const width = dash ? 3.5 : 1.2;
  return svg('svg', {class: dash ? 'mark wide' : 'mark', viewBox: `${-width} -1.2 ${2 * width} 2.4`, 'aria-hidden': 'true'}, line, svg('path', drawn));
}

const number = (value, decimals) => value.toFixed(decimals);
const millions = (passes) => (passes === 0 ? '0' : passes < 999500 ? `${Number((passes / 1e3).toPrecision(3))}k` : `${Number((passes / 1e6).toPrecision(3))}M`);
const whole = (value) => Math.round(value).toLocaleString('en');
const interval = ([low, high], decimals) => `${number(low, decimals)} to ${number(high, decimals)}`;
const day = (time) => time.replace('T', ' ').replace(/(\.\d+)?(\+00:00|Z)$/, ' UTC');

function badges(flags, disqualifying) {
  return flags.map((flag) => h('span', {class: `badge ${disqualifying.includes(flag) ? 'bad' : 'doubt'}`, title: data.flags[flag] ?? null}, flag));
}

const doubts = (row) => [...row.flags, ...(row.notAbove === null ? [] : [`not above ${row.notAbove}`])];
const badge = (status) => h('span', {class: `badge ${status}`}, status);
