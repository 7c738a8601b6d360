// The plots. Text for Plotly is escaped, because Plotly interprets some tags. Bold text needs styles that the policy of
// the page refuses.

const plain = (text) => String(text).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
const CONFIG = {
  responsive: true, displaylogo: false, modeBarButtons: [['toImage', 'resetScale2d']],
  plotlyServerURL: '', toImageButtonOptions: {scale: 2},  // nothing here leaves the page
};

const COSTS = {
  passes: {title: 'training cost (image passes, metered)', axis: 'log', of: (row) => (row.declared ? null : row.passes)},
  metered: {title: 'passes of the batch per iteration, metered', axis: 'linear', of: (row) => row.metered},
  nominal: {title: 'passes of the batch per iteration, eta + 1', axis: 'linear', of: (row) => row.nominal},
};

const columnPlace = (board, name) => board.columns.findIndex((column) => column.name === name);

// A point of a row or a reported result: x and y, with the ends of their bars.
function point(of, x, y, bars = {}) {
  return {of, x, y: y[0], name: of.name ?? `${of.defense}, as reported`, order: of.eta ?? 0, ...lookOf(of), ...ends('y', y), ...bars,
    curve: of.runs ? `${of.name} ${budgetOf(of)} ${of.settings}` : `${of.defense} reported`};
}

const ends = (axis, [mean, low = mean, high = mean]) => ({[`${axis}Up`]: high - mean, [`${axis}Down`]: mean - low});
const isOut = (one) => one.symbol === 'x';

// The points of a defense as a trace, joined in the order of eta if they form a curve.
function trace(points, joined, labelled = false) {
  const sorted = [...points].sort((one, other) => one.order - other.order);
  const [first] = sorted;
  const once = new Set(sorted.map((one) => one.order)).size === sorted.length;  // two sources report the same eta: no line
  const pick = (name) => sorted.map((one) => one[name] ?? 0);
  const bar = (axis) => ({type: 'data', symmetric: false, array: pick(`${axis}Up`), arrayminus: pick(`${axis}Down`), thickness: 1, width: 0,
    color: first.colour, visible: !first.hollow && `${axis}Up` in first});
  return {
    x: pick('x'), y: pick('y'), customdata: sorted.map((one) => one.of.key ?? null), type: 'scatter', name: plain(first.name), showlegend: false,
    mode: (joined && once && sorted.length > 1 ? 'lines+markers' : 'markers') + (labelled ? '+text' : ''),
    text: labelled ? sorted.map((one) => (one.of.eta ? `  ${one.of.eta}` : '')) : null, textposition: 'middle right', textfont: {color: theme('muted'), size: 11}, line: {color: first.colour, width: 1.5, dash: first.dash},
    marker: {symbol: sorted.map((one) => one.symbol + (one.hollow ? '-open' : '')), size: first.symbol === 'star' ? 13 : 11, color: pick('colour'),
      line: {color: first.hollow ? first.colour : theme('ink'), width: first.hollow ? 2 : 0.8}},
    error_x: bar('x'), error_y: bar('y'), hovertext: sorted.map(hover), hoverinfo: 'text',
  };
}

function hover(one) {
  const flags = isOut(one) ? `disqualified: ${one.of.disqualifying.join(', ')}` : null;
  const lines = [plain(one.name), one.of.eta === null ? null : `eta ${one.of.eta}`, `${number(one.x, 1)} / ${number(one.y, 1)}`, flags && plain(flags)];
  return lines.filter(Boolean).join('<br>');
}

// The single seeds of a row, smaller and fainter; x and y are functions of a run's values.
function seeds(rows, x, y) {
  return rows.filter((row) => row.runs.length > 1 && row.disqualifying.length === 0).map((row) => ({
    x: row.runs.map((run) => x(row, run)), y: row.runs.map((run) => y(run)), mode: 'markers', type: 'scatter', hoverinfo: 'skip', showlegend: false,
    marker: {symbol: lookOf(row).symbol, size: 6, color: lookOf(row).colour, opacity: 0.45},
  }));
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
    showlegend: false, annotations: more.annotations ?? [], shapes: more.shapes ?? [],
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

function drawPlots(allRows) {
  const view = currentView();
  const allReported = view && state.reported ? reportedOf(view).filter((one) => !one.collapsed) : [];
  byId('plots').hidden = allRows.length === 0 && allReported.length === 0;
  if (byId('plots').hidden) return;
  drawKey(allRows, allReported);
  const [rows, reported] = [allRows, allReported].map((found) => found.filter((one) => !off.has(keyName(one))));
  drawEfficiency(view, rows, reported);
  drawTradeoff(view, rows, reported);
  drawProfile(rows);
}

const keyName = (one) => (one.disqualifying?.length ? 'disqualified' : one.runs ? one.written : `${one.defense}, as reported`);

// A click hides or shows a defense in the plots; a double click, or a click with Shift, shows it alone, or all again.
function toggleKey(name, alone, names) {
  const others = names.filter((other) => other !== name);
  if (alone && others.every((other) => off.has(other)) && !off.has(name)) off.clear();
  else if (alone) { off.clear(); others.forEach((other) => off.add(other)); } else if (!off.delete(name)) off.add(name);
  drawPlots(shownRows());
  [...byId('key').querySelectorAll('button')].find((button) => button.dataset.name === name)?.focus();
}

function drawKey(rows, reported) {
  const names = [...new Set([...rows, ...reported].map(keyName))];
  const item = (one, name) => h('li', {}, h('button', {type: 'button', class: 'toggle', 'data-name': keyName(one), 'aria-pressed': String(!off.has(keyName(one))),
    click: (event) => event.detail < 2 && toggleKey(keyName(one), event.shiftKey, names),
    dblclick: () => toggleKey(keyName(one), true, names)}, mark(one), name));
  const first = (found, name) => [...new Map([...found].reverse().map((one) => [name(one), one])).values()].reverse();
  const ranked = first(rows.filter((row) => row.disqualifying.length === 0), (row) => row.written).map((row) => item(row, row.standing === 'baseline' ? `${row.written} (baseline)` : row.written));
  const out = first(rows.filter((row) => row.disqualifying.length > 0), () => '').map((row) => item(row, 'disqualified'));
  const papers = first(reported, (one) => one.defense).map((one) => item(one, one.defense));
  byId('key').replaceChildren(...ranked, ...out, ...(papers.length ? [h('li', {class: 'which'}, 'hollow, as reported:')] : []), ...papers);
}

const scoreOf = (view) => view.board?.score ?? 'ERS';
const scoreTitle = (view) => (scoreOf(view) === 'MR' ? (NARROW.matches ? 'MR (1/255)' : 'MR: mean radius that breaks a query (1/255)') : scoreOf(view));
const comparable = (view) => scoreOf(view) === 'ERS';  // with reported results

function drawEfficiency(view, rows, reported) {
  const chosen = view.board ? state.cost : 'nominal';  // the only cost of reported results
  Object.assign(byId('cost'), {value: chosen, disabled: !view.board});
  const cost = COSTS[chosen];
  const place = view.board ? columnPlace(view.board, scoreOf(view)) : -1;
  const free = rows.filter((row) => row.standing === 'baseline' && row.eta === null && row.values[place]);
  const points = rows.filter((row) => cost.of(row) && row.values[place]).map((row) => point(row, cost.of(row), row.values[place]));
  const papers = chosen === 'nominal' && comparable(view) ? reported.map((one) => point(one, (one.eta ?? 0) + 1, [one.values.ERS])) : [];
  const honest = points.filter((one) => !isOut(one));
  const traces = [...grouped(papers), ...grouped(points.filter(isOut)), ...grouped(honest)].map((group) => trace(group, true, true));
  traces.unshift(...seeds(rows.filter((row) => cost.of(row)), cost.of, (run) => run.values[place]));
  const ticks = cost.axis === 'log' ? {type: 'log', dtick: 'D2', tickformat: '~s', exponentformat: 'SI', ...around(points)} : {rangemode: 'tozero'};
  draw('plot-efficiency', traces, layout(cost.title, scoreTitle(view), {xaxis: ticks, yaxis: {rangemode: 'tozero'}, ...levels(free, place)}));
  const unknown = rows.length - points.length - free.length;
  byId('note-efficiency').textContent = [
    'One curve per defense; numbers: its eta. Faint marks: single seeds.', free.length > 0 && 'Dotted lines: baselines without training.',
    unknown > 0 && `Rows without a ${chosen === 'passes' ? 'metered' : 'known'} cost: ${unknown}.`,
    reported.length > papers.length && 'Of reported results only eta + 1 is known: choose it as the cost to see them.',
  ].filter(Boolean).join(' ');
}

// A range of at least a factor of four on a logarithmic axis: equal costs stand in the middle.
function around(points) {
  if (points.length === 0) return {};
  const logs = points.map((one) => Math.log10(one.x));
  const [least, most] = [Math.min(...logs), Math.max(...logs)];
  const margin = Math.max(0.3, (most - least) * 0.12);
  return {range: [least - margin, most + margin]};
}

// Horizontal lines with names, for rows without a cost.
function levels(rows, place) {
  const at = (row) => row.values[place][0];
  return {
    shapes: rows.map((row) => ({type: 'line', xref: 'paper', x0: 0, x1: 1, y0: at(row), y1: at(row), line: {color: lookOf(row).colour, width: 1.5, dash: 'dot'}})),
    annotations: rows.map((row) => ({xref: 'paper', x: 0, xanchor: 'left', y: at(row), yanchor: 'bottom', text: plain(row.name), showarrow: false, font: {color: theme('muted')}})),
  };
}

function drawTradeoff(view, rows, reported) {
  const score = scoreOf(view);
  const [y, x] = [score, 'R@1'].map((name) => (view.board ? columnPlace(view.board, name) : -1));
  const points = rows.filter((row) => row.values[x] && row.values[y]).map((row) => point(row, row.values[x][0], row.values[y], ends('x', row.values[x])));
  const papers = comparable(view) ? reported.map((one) => point(one, one.values['R@1'], [one.values.ERS])) : [];
  const honest = points.filter((one) => !isOut(one));
  const traces = [...front(honest, '5px,3px'), ...front(papers, '1px,3px'),
    ...[...grouped(papers), ...grouped(points.filter(isOut)), ...grouped(honest)].map((group) => trace(group, false))];
  traces.unshift(...seeds(rows.filter((row) => row.values[x] && row.values[y]), (_, run) => run.values[x], (run) => run.values[y]));
  draw('plot-tradeoff', traces, layout('benign recall at 1 (%)', scoreTitle(view), {yaxis: {rangemode: 'tozero'}}));
  const told = [view.board && 'Dashed: the Pareto front, what no other row beats in both.',
    papers.length > 0 && `Dotted: ${view.board ? 'that' : 'the Pareto front'} of reported results.`];
  byId('note-tradeoff').textContent = told.filter(Boolean).join(' ');
}

// The steps between points that no other point beats on both axes; each layer has its own.
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
  const columns = (board?.columns ?? []).map((column, place) => ({...column, place})).filter((column) => column.counts);
  byId('profile').hidden = columns.length < 3;  // two columns have no profile
  if (byId('profile').hidden) return;
  const chosen = rows.filter((row) => profile.has(row.key));
  const dashes = chosen.map((row, place) => DASHES[chosen.slice(0, place).filter((other) => other.written === row.written).length % DASHES.length]);
  draw('plot-profile', chosen.map((row, place) => profileTrace(row, columns, dashes[place])), layout('on the scale of the score, 100 unharmed', '', {
    xaxis: {zeroline: true, zerolinecolor: theme('control')}, yaxis: {type: 'category', autorange: 'reversed', categoryarray: columns.map((column) => column.name), showgrid: true},
  }));
  byId('profile-key').replaceChildren(...chosen.map((row, place) => h('li', {}, mark(row, dashes[place]), row.eta ? `${row.written}, eta ${row.eta}` : row.written)));
}

const DASHES = ['solid', '6px,3px', '2px,2px', '8px,3px,2px,3px'];  // for the rows of a defense, in order

function profileTrace(row, columns, dash) {
  const known = columns.filter((column) => row.values[column.place]);
  const scaled = known.map((column) => row.values[column.place].slice(0, 3).map((value) => column.offset + column.slope * value));
  const points = known.map((column, place) => {
    const [mean, ...others] = scaled[place];
    return {...point(row, mean, [0]), order: place, xDown: mean - Math.min(mean, ...others), xUp: Math.max(mean, ...others) - mean};
  });
  if (points.length === 0) return {x: [], y: []};
  const drawn = trace(points, true);
  return {
    ...drawn, y: known.map((column) => column.name), line: {...drawn.line, width: 1, dash}, error_y: {visible: false},
    hovertext: known.map((column) => `${plain(row.name)}<br>${plain(column.name)} ${number(row.values[column.place][0], column.decimals)}`),
  };
}
