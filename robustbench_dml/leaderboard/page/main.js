// Show the state, and change it on input.

function showAll() {
  const view = currentView();
  showPickers(view);
  showHead(view);
  showCommands(view);
  const board = view?.board ?? null;
  byId('filled').hidden = board === null;
  if (board) {
    showFilters(board);
    makeTable(board);
    byId('columns-list').replaceChildren(...columnChoices());
    showFlags(board);
    byId('meanings').replaceChildren(...tableColumns.flatMap((column) => [h('dt', {}, column.name), h('dd', {}, sentence(column.meaning) + preference(column))]));
  } else {
    table?.destroy();
    table = null;
    drawPlots([]);
  }
  showReported(view);
  writeAddress();
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (text.endsWith('.') ? '' : '.');

// Update everything that depends on the rows.
function updated() {
  const [rows, all] = [shownRows(), currentView().board.rows];
  byId('count').textContent = rows.length === all.length ? `${all.length} rows` : `${rows.length} of ${all.length} rows`;
  rove();
  drawPlots(rows);
  const asked = state.row && rowOfKey(state.row);
  if (asked && !byId('record').open) openRecord(asked);
}

function showPickers(view) {
  const unique = (values) => [...new Set(values)];
  const alone = new Set(views.filter((one) => one.board).map((one) => one.dataset));
  const same = views.filter((one) => one.dataset === view?.dataset);
  options(byId('pick-dataset'), unique(views.map((one) => one.dataset)).map((name) => [name, alone.has(name) ? name : `${name} (reported)`]), view?.dataset ?? '');
  options(byId('pick-network'), unique(same.map((one) => one.network)).map((name) => [name, name]), view?.network ?? '');
  options(byId('pick-protocol'), withDistinctNames(same.filter((one) => one.network === view.network)), view?.id ?? '');
  const budgets = unique((view?.board?.rows ?? []).map((row) => row.budget).filter(Boolean));
  if (!budgets.includes(state.budget)) state.budget = '';
  options(byId('pick-budget'), [['', budgets.length ? 'all budgets' : 'none'], ...budgets.map((name) => [name, name])], state.budget);
  byId('reported-switch').checked = state.reported;
  byId('reported-switch').disabled = !view || reportedOf(view).length === 0;
}

// The meaning of every flag of this board.
function showFlags(board) {
  const flags = [...new Set(board.rows.flatMap((row) => row.flags))].filter((flag) => flag in data.flags);
  byId('flags-legend').hidden = flags.length === 0;
  byId('flag-meanings').replaceChildren(...flags.flatMap((flag) => [h('dt', {}, flag), h('dd', {}, sentence(data.flags[flag]))]));
}

function showCommands(view) {
  const dataset = view?.dataset ?? 'glyphs';
  byId('add-commands').textContent = [`for seed in 0 1 2; do rbdml run --defense FILE.py:NAME --dataset ${dataset} --seed $seed; done`, `rbdml submit runs/${dataset} --defense FILE.py:NAME --trust-code --by "your name"`,
    'git add leaderboards defenses && git commit && git push'].join('\n');
}

function showAbout() {
  const runs = data.boards.flatMap((board) => board.rows.flatMap((row) => row.runs));
  const newest = runs.reduce((one, other) => (one === null || other.made.created > one.made.created ? other : one), null);
  byId('newest').textContent = newest === null ? '' : `Newest record: ${day(newest.made.created)}, commit ${commitOf(data.shared[newest.made.common]).slice(0, 12)}.`;
  byId('papers-list').replaceChildren(...Object.entries(data.papers).flatMap(([paper, names]) => [h('dt', {}, withLinks(paper)), h('dd', {}, names.join(', '))]));
}

// Papers on arXiv as links.
function withLinks(text) {
  return text.split(/(arXiv:\d{4}\.\d{5})/).map((part, place) => (place % 2
    ? h('a', {href: `https://arxiv.org/abs/${part.slice('arXiv:'.length)}`, rel: 'noopener noreferrer'}, part) : part));
}

// Boards that differ by their data files alone are shown by name.
function withDistinctNames(found) {
  const short = (view) => view.protocol.replace(/^protocol /, '');
  const twice = (view) => found.filter((other) => other.protocol === view.protocol).length > 1;
  return found.map((view) => [view.id, twice(view) ? `${short(view)} (${view.id})` : short(view)]);
}

function showHead(view) {
  const empty = byId('empty');
  byId('board-title').textContent = view ? `${view.dataset}, ${view.network}` : 'No entries yet';
  const score = view?.board?.columns.find((column) => column.name === view.board.score);
  byId('leader').replaceChildren(...(view?.board ? [view.board.leader, h('span', {class: 'more'}, ` ${score.name}: ${score.meaning}; higher is better.`)] : []));
  byId('protocol').hidden = !view?.board;
  byId('protocol').textContent = view?.board ? view.board.line + (view.board.chance === null ? '' : `; R@1 by chance ${view.board.chance}%`)
    + (view.board.common.length ? `; flags of all rows: ${view.board.common.join(', ')}` : '') : '';
  empty.hidden = Boolean(view?.board);
  if (!view) empty.replaceChildren(h('p', {}, 'This leaderboard is empty. The commands below make the first entry.'));
  else if (!view.board) empty.replaceChildren(h('p', {}, `There are no records of ours yet for ${view.dataset} with ${view.network}; the commands below add one.`),
    h('p', {}, h('button', {type: 'button', click: () => setReported(!state.reported)}, state.reported ? 'Hide what authors report' : 'Show what authors report')));
}

function showFilters(board) {
  const labels = [...new Set(board.rows.map((row) => row.label))].sort();
  const flags = [...new Set(board.rows.flatMap((row) => row.flags))].sort();
  const choices = {
    defense: [['', 'all'], ...labels.map((label) => [label, label])],
    status: [['', 'all'], ['verified', 'verified'], ['self-reported', 'self-reported']],
    flags: [['', 'all'], ['none', 'without flags'], ['ranked', 'not disqualified'], ...flags.map((flag) => [`flag:${flag}`, flag])],
  };
  for (const [name, found] of Object.entries(choices)) {
    if (!found.some(([value]) => value === state[name])) state[name] = '';
    options(byId(`filter-${name}`), found, state[name]);
  }
  byId('search').value = state.q;
}

function showReported(view) {
  const rows = view && state.reported ? reportedOf(view) : [];
  byId('reported').hidden = rows.length === 0;
  if (rows.length) {
    byId('reported-title').textContent = `As reported by the authors: ${view.dataset}, ${view.network}`;
    makeReportedTable(rows);
  }
}

function setReported(on) {
  state.reported = on;
  const view = currentView();
  byId('reported-switch').checked = on;
  showHead(view);
  showReported(view);
  drawPlots(view.board ? shownRows() : []);
  writeAddress();
}

function chooseView(view) {
  state.view = view.id;
  state.reported = state.reported || view.board === null;  // nothing else is to be seen there
  off.clear();
  state.row = null;
  showAll();
}

function filter(name, value) {
  state[name] = value;
  table.setFilter(({row}) => passes(row));
  writeAddress();
}

function listen() {
  const first = (test) => views.find(test);
  const on = (id, kind, act) => byId(id).addEventListener(kind, act);
  on('pick-dataset', 'change', ({target}) => chooseView(first((view) => view.dataset === target.value)));
  on('pick-network', 'change', ({target}) => chooseView(first((view) => view.dataset === currentView().dataset && view.network === target.value)));
  on('pick-protocol', 'change', ({target}) => chooseView(first((view) => view.id === target.value)));
  on('pick-budget', 'change', ({target}) => filter('budget', target.value));
  on('search', 'input', ({target}) => filter('q', target.value));
  for (const name of ['defense', 'status', 'flags']) on(`filter-${name}`, 'change', ({target}) => filter(name, target.value));
  on('pickers', 'submit', (event) => event.preventDefault());
  on('reported-switch', 'change', ({target}) => setReported(target.checked));
  on('cost', 'change', ({target}) => { state.cost = target.value; writeAddress(); drawPlots(shownRows()); });
  on('download', 'click', saveTable);
  on('table', 'keydown', goWithArrows);
  on('record', 'close', closedRecord);
  document.addEventListener('click', (event) => {
    const opened = event.target.closest('[data-open]');
    if (opened) byId(opened.dataset.open).showModal();
    event.target.closest('[data-close]')?.closest('dialog').close();
    if (event.target.tagName === 'DIALOG') event.target.close();  // the backdrop
    if (!event.target.closest('#columns-menu')) byId('columns-menu').open = false;
  });
  byId('columns-menu').addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    byId('columns-menu').open = false;
    byId('columns-menu').firstElementChild.focus();
  });
  document.querySelector('.skip').addEventListener('click', (event) => { event.preventDefault(); byId('board').focus(); });
  addEventListener('hashchange', () => { byId('record').close(); readAddress(); showAll(); });
  dark.addEventListener('change', showAll);
}

readAddress();
showAbout();
if (NARROW.matches) document.querySelectorAll('[data-folds]').forEach((one) => { one.open = false; });
byId('cost').value = state.cost;
listen();
showAll();
