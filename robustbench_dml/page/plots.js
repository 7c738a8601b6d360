// The plots. Text that goes to Plotly is escaped first, since it reads some tags.

const plain = (text) => String(text).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
const CONFIG = {
  responsive: true, displaylogo: false, modeBarButtons: [['toImage', 'resetScale2d']],
  plotlyServerURL: '', toImageButtonOptions: {scale: 2},  // nothing here leaves the page
};

const COSTS = {
  metered: {title: 'passes of the batch per iteration, metered', of: (row) => row.metered},
  nominal: {title: 'passes of the batch per iteration, eta + 1', of: (row) => row.nominal},
  passes: {title: 'training cost (million image passes, metered)', of: (row) => (row.passes === null || row.declared ? null : row.passes / 1e6)},
};

const columnPlace = (board, name) => board.columns.findIndex((column) => column.name === name);

// A point of a row: x and y with the ends of their bars.
function point(row, x, y, bars = {}) {
  return {row, x, y: y[0], name: row.name, label: row.label, family: row.family, hollow: false,
    curve: `${row.name} ${budgetOf(row)}`, order: row.eta ?? 0, out: row.disqualifying.length > 0, ...ends('y', y), ...bars};
}

const ends = (axis, [mean, low = mean, high = mean]) => ({[`${axis}Up`]: high - mean, [`${axis}Down`]: mean - low});

function reportedPoint(one, x, score) {
  return {row: null, x, y: one.values[score], name: `${one.defense}, as reported`, label: one.defense, family: one.family, hollow: true,
    curve: `${one.defense} reported`, order: one.eta ?? 0, out: false};
}

// Points of one defense as a trace; those of a curve are joined in the order of eta.
function trace(points, joined) {
  const [first] = points;
  const sorted = [...points].sort((one, other) => one.order - other.order);
  const pick = (name) => sorted.map((one) => one[name] ?? 0);
  const bar = (axis) => ({type: 'data', symmetric: false, array: pick(`${axis}Up`), arrayminus: pick(`${axis}Down`), thickness: 1, width: 0,
    color: colourOf(first.family), visible: !first.hollow && (`${axis}Up` in first)});
  const colour = colourOf(first.family);
  return {
    x: pick('x'), y: pick('y'), customdata: sorted.map((one) => one.row?.key ?? null),
    mode: joined && sorted.length > 1 ? 'lines+markers' : 'markers', type: 'scatter', name: plain(first.name), showlegend: false,
    line: {color: colour, width: 1.5, dash: first.hollow ? 'dot' : 'solid'},
    marker: {symbol: symbolOf(first.label)[0] + (first.hollow ? '-open' : ''), size: 11, color: colour, opacity: sorted.map((one) => (one.out ? 0.4 : 1)),
      line: {color: first.hollow ? colour : theme('ink'), width: first.hollow ? 2 : 0.8}},
    error_x: bar('x'), error_y: bar('y'), text: sorted.map(hover), hoverinfo: 'text',
  };
}

function hover(one) {
  const eta = one.row ? one.row.eta : one.order;
  const flags = one.row?.disqualifying.length ? `disqualified: ${one.row.disqualifying.join(', ')}` : null;
  const lines = [`<b>${plain(one.name)}</b>`, eta === null ? null : `eta ${eta}`, `${number(one.x, 1)} / ${number(one.y, 1)}`, flags && plain(flags)];
  return lines.filter(Boolean).join('<br>');
}

function grouped(points) {
  const groups = new Map();
  for (const one of points) groups.set(one.curve, [...(groups.get(one.curve) ?? []), one]);
  return [...groups.values()];
}

function layout(x, y, more = {}) {
  const axis = (title, rest) => ({title: {text: plain(title), font: {size: 13}, standoff: 10}, gridcolor: theme('line'), zeroline: false, linecolor: theme('control'),
    ticks: 'outside', tickcolor: theme('control'), ticklen: 4, automargin: true, fixedrange: matchMedia('(pointer: coarse)').matches, ...rest});
  return {
    xaxis: axis(x, more.xaxis), yaxis: axis(y, more.yaxis), margin: {l: 50, r: 14, t: 26, b: 46}, hovermode: 'closest', dragmode: 'zoom',
    paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', font: {family: theme('text'), size: 12, color: theme('ink')},
    hoverlabel: {bgcolor: theme('raised'), bordercolor: theme('control'), font: {color: theme('ink'), family: theme('text'), size: 13}, align: 'left'},
    modebar: {bgcolor: 'rgba(0,0,0,0)', color: theme('control'), activecolor: theme('accent')},
    showlegend: false, annotations: more.annotations ?? [],
  };
}

function draw(id, traces, drawn) {
  const place = byId(id);
  const empty = {text: 'nothing to draw', showarrow: false, xref: 'paper', yref: 'paper', x: 0.5, y: 0.5, font: {color: theme('muted')}};
  if (traces.length === 0) drawn.annotations = [empty];
  const first = !place.classList.contains('js-plotly-plot');
  Plotly.react(place, traces, drawn, CONFIG);
  if (first) place.on('plotly_click', ({points: [{customdata}]}) => customdata && openRecord(rowOfKey(customdata)));
}

const rowOfKey = (key) => currentView()?.board?.rows.find((row) => row.key === key) ?? null;

function drawPlots(rows) {
  const view = currentView();
  if (!view) return;
  const reported = state.reported ? reportedOf(view).filter((one) => !one.collapsed) : [];
  byId('plots').hidden = rows.length === 0 && reported.length === 0;
  if (byId('plots').hidden) return;
  drawKey(rows, reported);
  drawEfficiency(view, rows, reported);
  drawTradeoff(view, rows, reported);
  drawProfile(rows);
}

function drawKey(rows, reported) {
  const found = new Map(rows.map((row) => [row.label, [row.label, row.family, false]]));
  for (const one of reported) found.set(`${one.defense} reported`, [one.defense, one.family, true]);
  byId('key').replaceChildren(...[...found.values()].map(([label, family, hollow]) => h('li', {}, mark(label, family, hollow),
    hollow ? `${label}, as reported` : label)));
}

const scoreOf = (view) => view.board?.score ?? 'ERS';
const comparable = (view) => scoreOf(view) === 'ERS';  // with what papers report

function drawEfficiency(view, rows, reported) {
  const cost = COSTS[state.cost];
  const place = view.board ? columnPlace(view.board, scoreOf(view)) : -1;
  const points = rows.filter((row) => cost.of(row) !== null).map((row) => point(row, cost.of(row), row.values[place]));
  const papers = state.cost === 'nominal' && comparable(view) ? reported.map((one) => reportedPoint(one, (one.eta ?? 0) + 1, 'ERS')) : [];
  draw('plot-efficiency', grouped([...papers, ...points]).map((group) => trace(group, true)), layout(cost.title, scoreOf(view), {xaxis: {rangemode: 'tozero'}, yaxis: {rangemode: 'tozero'}}));
  const unknown = rows.length - points.length;
  byId('note-efficiency').textContent = [
    'One curve per defense, over eta.',
    unknown > 0 && `${unknown} of the rows have no ${state.cost === 'passes' ? 'metered' : 'known'} cost.`,
    reported.length > 0 && papers.length === 0 && 'Of reported results only eta + 1 is known: choose it as the cost to see them.',
  ].filter(Boolean).join(' ');
}

function drawTradeoff(view, rows, reported) {
  const score = scoreOf(view);
  const [y, x] = [score, 'R@1'].map((name) => (view.board ? columnPlace(view.board, name) : -1));
  const points = rows.map((row) => point(row, row.values[x][0], row.values[y], ends('x', row.values[x])));
  const papers = comparable(view) ? reported.map((one) => reportedPoint(one, one.values['R@1'], 'ERS')) : [];
  const honest = points.filter((one) => !one.out);
  const traces = [...front(honest, '5px,3px'), ...front(papers, '1px,3px'), ...grouped([...papers, ...points]).map((group) => trace(group, false))];
  draw('plot-tradeoff', traces, layout('benign recall at 1 (%)', score, {yaxis: {rangemode: 'tozero'}}));
}

// The steps between points that no other one beats in both; each layer has its own.
function front(points, dash) {
  const best = paretoFront(points);
  if (best.length < 2) return [];
  return [{x: best.map((one) => one.x), y: best.map((one) => one.y), mode: 'lines', type: 'scatter', hoverinfo: 'skip', showlegend: false,
    line: {shape: 'vh', color: theme('muted'), width: 1.5, dash}}];
}

function paretoFront(points) {
  const falling = [...points].sort((one, other) => other.x - one.x || other.y - one.y);
  let highest = -Infinity;
  return falling.filter((one) => one.y > highest && ((highest = one.y), true)).reverse();
}

function drawProfile(rows) {
  const board = currentView()?.board;
  byId('profile').hidden = !board;
  if (!board) return;
  const columns = board.columns.map((column, place) => ({...column, place})).filter((column) => column.counts);
  const chosen = rows.filter((row) => profile.has(row.key));
  const traces = chosen.map((row, place) => {
    const scaled = columns.map((column) => (row.values[column.place] ?? []).slice(0, 3).map((value) => column.offset + column.slope * value));
    return {...trace(scaled.map(([mean]) => point(row, mean, [0])), false), ...profileTrace(row, columns, scaled), name: plain(row.name), line: {color: colourOf(row.family), width: 1, dash: ['solid', '6px,3px', '2px,2px', '8px,3px,2px,3px'][place % 4]}};
  });
  draw('plot-profile', traces, layout('on the scale of the score, 100 unharmed', '', {
    xaxis: {zeroline: true, zerolinecolor: theme('control')}, yaxis: {type: 'category', autorange: 'reversed', categoryarray: columns.map((column) => column.name), showgrid: true},
  }));
}

function profileTrace(row, columns, scaled) {
  const low = scaled.map(([mean, ...others]) => mean - Math.min(mean, ...others));
  const high = scaled.map(([mean, ...others]) => Math.max(mean, ...others) - mean);
  return {
    x: scaled.map(([mean]) => mean), y: columns.map((column) => column.name), mode: 'lines+markers', customdata: columns.map(() => row.key),
    error_y: {visible: false}, error_x: {type: 'data', symmetric: false, array: high, arrayminus: low, thickness: 1, width: 0, color: colourOf(row.family), visible: true},
    text: columns.map((column) => `<b>${plain(row.name)}</b><br>${plain(column.name)} ${number(row.values[column.place][0], column.decimals)}`),
  };
}
