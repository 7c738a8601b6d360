// The columns of the two tables: their values, and how these are shown, sorted, saved and explained.
// A column has name, field, meaning, better (1, -1 or 0), group, width, value(row), cell(row) and saved(row). An
// `unsaved` column has no value and is not sorted.

const RANK = '1 + the number of significantly better defenses of the same budget (t test over seeds and queries, 5%, Holm). '
  + 'Baselines, models from elsewhere, disqualified rows and rows of fewer than three seeds have none.';
const NARROW = matchMedia('(max-width: 40rem)');

function recordColumns(board) {
  const values = board.columns.map((column, place) => valueColumn(column, place, board.score));
  const group = (name) => values.filter((column) => column.group === name);
  const benign = group('benign');
  return [
    {name: 'rank', meaning: RANK, better: -1, width: NARROW.matches ? 46 : 54, fixed: true, number: true,
      value: (row) => row.rank, cell: (row) => h('span', {class: row.rank === null ? 'half' : 'rank', title: row.standing},
        row.rank !== null ? String(row.rank) : row.standing === 'provisional' ? 'prov.' : '–')},
    {name: 'defense', meaning: 'The defense, with what is not its own setting; its budget, and PGD steps in training (eta). Provisional: fewer than three seeds.',
      better: 0, width: NARROW.matches ? 144 : 268, fixed: true, words: true, value: (row) => row.name, cell: nameCell},
    ...group('scores'),
    ...(board.rows.some((row) => row.ers !== null) ? [ersColumn()] : []),
    ...benign.filter((column) => column.name === 'R@1'),
    {name: 'flags', group: 'entry', words: true, width: 264, better: 0,
      meaning: 'Reasons to doubt the scores. Red ones disqualify; the others say that the attacks were too weak for this model. Not above: not significantly above this baseline.',
      value: (row) => doubts(row).join('; '), cell: (row) => h('span', {class: 'badges'}, badges(doubts(row).filter((one) => !board.common.includes(one)), row.disqualifying))},
    {name: 'status', group: 'entry', words: true, width: 124, better: 0,
      meaning: 'verified: the checkpoint was evaluated again on a part of the queries and agreed.',
      value: (row) => row.status, cell: (row) => badge(row.status)},
    ...(board.columns.filter((column) => column.counts).length < 3 ? [] : [{name: 'profile', group: 'entry', width: 70, better: 0, unsaved: true, meaning: 'Draw this row in the plot of single attacks.',
      value: (row) => Number(profile.has(row.key)), cell: profileCell}]),
    {name: 'seeds', group: 'entry', number: true, width: 66, better: 0, meaning: 'How many trainings, from different seeds; values are means over them.',
      value: (row) => row.runs.length, cell: (row) => String(row.runs.length)},
    ...costColumns(),
    ...benign.filter((column) => column.name !== 'R@1'),
    ...group('attacked'),
  ].map((column) => ({field: column.name, saved: column.value, ...column}));
}

function ersColumn() {
  return {name: 'ERS as published', group: 'scores', number: true, width: 128, better: 1, value: (row) => row.ers,
    meaning: 'Empirical Robustness Score of the same weights, from their evaluation by protocol ers.',
    cell: (row) => (row.ers === null ? '–' : number(row.ers, 1))};
}

function costColumns() {
  const known = (value, text) => (value === null ? '–' : text(value));
  return [
    {name: 'eta + 1', group: 'cost', number: true, width: 74, better: -1, value: (row) => row.nominal,
      meaning: 'Passes of the batch per training iteration as papers count them.',
      cell: (row) => known(row.nominal, String)},
    {name: 'metered', group: 'cost', number: true, width: 82, better: -1, value: (row) => row.metered,
      meaning: 'Passes of the batch per training iteration as metered. One pass: an image forward and backward.',
      cell: (row) => known(row.metered, (value) => number(value, 1))},
    {name: 'passes', group: 'cost', number: true, width: 92, better: -1, value: (row) => row.passes,
      meaning: 'Image passes of one training, metered; declared where only the submitter says so.',
      cell: (row) => known(row.passes, (value) => h('span', {}, millions(value), row.declared && h('div', {class: 'half'}, 'declared')))},
  ];
}

function valueColumn(column, place, score) {
  const value = (row) => row.values[place]?.[0] ?? null;
  const ranking = column.name === score;
  return {...column, number: true, value, place,
    width: 92 + (column.decimals > 1 ? 26 : 0) + (ranking ? 8 : 0),
    cell: (row) => valueCell(row.values[place], column.decimals, ranking),
    saved: (row) => (row.values[place] ?? []).slice(0, 3)};
}

function valueCell(found, decimals, ranking) {
  if (!found) return '–';
  const [mean, low, high, least, greatest] = found;
  const half = low === undefined ? null : h('span', {class: 'half'}, ` ±${number((high - low) / 2, decimals)}`);
  const told = [low !== undefined && `95% interval ${interval([low, high], decimals)}`,
    least !== undefined && `seeds ${interval([least, greatest], decimals)}`].filter(Boolean).join('; ');
  return h('span', {title: told || null}, h('span', {class: ranking ? 'score' : null}, number(mean, decimals)), half);
}

function nameCell(row) {
  const under = [row.standing === 'ranked' ? null : row.standing, row.written === row.name ? null : row.written, budgetOf(row),
    row.eta === null || budgetOf(row).endsWith(`eta ${row.eta}`) ? null : `eta ${row.eta}`, ...row.settings].filter(Boolean).join(' · ');
  return h('div', {class: 'named'},
    h('button', {type: 'button', class: 'open', tabindex: '-1', title: row.name}, mark(row), h('span', {}, row.name)),
    h('div', {class: 'under', title: under}, under));
}

function profileCell(row) {
  return h('input', {type: 'checkbox', 'aria-label': `profile of ${row.name}`, checked: profile.has(row.key),
    click: (event) => event.stopPropagation(),
    change: (event) => { profile[event.target.checked ? 'add' : 'delete'](row.key); drawProfile(shownRows()); }});
}

function reportedColumns(rows) {
  const shown = data.reportedColumns.filter((column) => rows.some((one) => column.name in one.values));
  return [
    {name: 'defense', width: NARROW.matches ? 150 : 230, fixed: true, words: true, better: 0, meaning: 'As written in the source.',
      value: (one) => one.defense, cell: (one) => h('span', {class: 'open'}, mark(one), h('span', {}, one.defense))},
    {name: 'eta', number: true, width: 64, better: -1, meaning: 'PGD steps in training; none for training without attacks.',
      value: (one) => one.eta, cell: (one) => (one.eta === null ? '–' : String(one.eta))},
    ...shown.map((column) => ({...column, number: true, width: 82, value: (one) => one.values[column.name] ?? null,
      cell: (one) => (column.name in one.values ? number(one.values[column.name], column.decimals) : '–')})),
    {name: 'remark', words: true, width: 110, better: 0, meaning: 'collapsed: the authors report that training collapsed.',
      value: (one) => (one.collapsed ? 'collapsed' : ''), cell: (one) => (one.collapsed ? h('span', {class: 'badge bad'}, 'collapsed') : '')},
    {name: 'source', words: true, width: 540, better: 0, meaning: 'Where it is printed.', value: (one) => one.source, cell: (one) => one.source},
  ].map((column) => ({field: column.name, ...column}));
}

const preference = (column) => ({'1': ' Higher is better.', '-1': ' Lower is better.', '0': ''})[column.better];
