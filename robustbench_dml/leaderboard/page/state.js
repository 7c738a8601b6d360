// The state of the page: a view (data set, backbone and protocol) and its filters. The address contains it.

const data = JSON.parse(byId('data').textContent);
const NOT_OURS = 'not trained here';

// Every board, and every data set and backbone with reported results alone.
const views = [
  ...data.boards.map((board) => ({
    id: board.name, dataset: board.dataset, network: board.network ?? 'from elsewhere', protocol: board.line, board,
  })),
  ...reportedAlone(),
];

function reportedAlone() {
  const found = new Map();
  for (const one of data.reported) {
    const taken = data.boards.some((board) => board.dataset === one.dataset && board.network === one.network);
    const id = `${one.dataset}-${one.network}-reported`;
    if (!taken) found.set(id, {id, dataset: one.dataset, network: one.network, protocol: 'as reported', board: null});
  }
  return [...found.values()];
}

// Columns that are hidden at first.
const RARE = ['R@2', 'mAP@R'];
const START = {
  view: views[0]?.id ?? null, budget: '', q: '', defense: '', status: '', flags: '', cost: 'passes',
  reported: false, row: null, sort: null, hidden: RARE,
};
const state = {...START};
const off = new Set();  // defenses that the key hides in the plots, as written

const currentView = () => views.find((view) => view.id === state.view) ?? null;
const reportedOf = (view) => data.reported.filter((one) => one.dataset === view.dataset && one.network === view.network);
const budgetOf = (row) => row.budget ?? (row.standing === 'model' ? NOT_OURS : 'no training');

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  Object.assign(state, START);
  for (const name of ['budget', 'q', 'defense', 'status', 'flags']) state[name] = given.get(name) ?? '';
  if (views.some((view) => view.id === given.get('view'))) state.view = given.get('view');
  if (['metered', 'nominal', 'passes'].includes(given.get('cost'))) state.cost = given.get('cost');
  if (given.has('hidden')) state.hidden = given.get('hidden').split('~').filter(Boolean);
  const [, column, direction] = /^(.+)-(asc|desc)$/.exec(given.get('sort') ?? '') ?? [];
  state.sort = column ? {column, direction} : null;
  state.reported = given.get('reported') === 'on';
  state.row = given.get('row');
}

function writeAddress() {
  const told = new URLSearchParams();
  for (const name of ['view', 'budget', 'q', 'defense', 'status', 'flags', 'cost', 'row']) {
    if (state[name] && state[name] !== START[name]) told.set(name, state[name]);
  }
  if (state.hidden.join('~') !== RARE.join('~')) told.set('hidden', state.hidden.join('~'));
  if (state.sort) told.set('sort', `${state.sort.column}-${state.sort.direction}`);
  if (state.reported) told.set('reported', 'on');
  const address = `#${told}`;
  if (address !== (location.hash || '#')) history.replaceState(null, '', address);
}

// Whether a row passes the filters.
function passes(row) {
  const text = [row.name, row.written, row.eta === null ? '' : `eta ${row.eta}`, budgetOf(row), row.standing, ...row.settings, ...doubts(row),
    ...row.runs.flatMap((run) => [run.entry.by, run.entry.paper, run.digest])].join(' ').toLowerCase();
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  return words.every((word) => text.includes(word))
    && (!state.budget || budgetOf(row) === state.budget || row.standing === 'baseline')
    && (!state.defense || row.label === state.defense)
    && (!state.status || row.status === state.status)
    && passesFlags(row);
}

function passesFlags(row) {
  if (state.flags === '') return true;
  if (state.flags === 'none') return row.flags.length === 0;
  if (state.flags === 'ranked') return row.disqualifying.length === 0;
  return row.flags.includes(state.flags.slice('flag:'.length));
}
