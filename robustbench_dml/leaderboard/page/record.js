// A row in a dialog: its settings, its results and their evidence.

let openedFrom = null;

function openRecord(row) {
  const dialog = byId('record');
  if (!row) return;
  openedFrom = document.activeElement;
  state.row = row.key;
  writeAddress();
  dialog.replaceChildren(...recordContent(row, currentView().board));
  if (!dialog.open) dialog.showModal();
  dialog.querySelector('.body').scrollTop = 0;
  dialog.querySelector('.close').focus();
}

function closedRecord() {
  state.row = null;
  writeAddress();
  if (openedFrom?.isConnected) openedFrom.focus();
}

function recordContent(row, board) {
  const [panel, tabs] = [h('div', {id: 'seed-panel', role: row.runs.length > 1 ? 'tabpanel' : null}), seedTabs(row)];
  const show = (place) => {
    panel.replaceChildren(...runContent(row, row.runs[place], board));
    tabs?.querySelectorAll('button').forEach((tab, other) => {
      tab.setAttribute('aria-selected', String(other === place));
      tab.tabIndex = other === place ? 0 : -1;
    });
  };
  tabs?.addEventListener('click', (event) => event.target.closest('button') && show([...tabs.children].indexOf(event.target.closest('button'))));
  tabs?.addEventListener('keydown', (event) => {
    const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (!step) return;
    const place = ([...tabs.children].indexOf(event.target) + step + row.runs.length) % row.runs.length;
    show(place);
    tabs.children[place].focus();
  });
  show(0);
  return [recordHead(row, board), h('div', {class: 'body', tabindex: '-1'}, disqualified(row), tabs, panel)];
}

function recordHead(row, board) {
  const ranked = board.rows.filter((other) => other.rank !== null && other.budget === row.budget).length;
  const place = row.rank === null ? `${row.standing}, no rank` : `rank ${row.rank} of ${ranked}`;
  return h('header', {}, h('div', {},
    h('p', {}, [row.written, board.dataset, board.network ?? 'from elsewhere', place].join(' · ')),
    h('h2', {id: 'record-title'}, mark(row), h('span', {}, row.name)),
    h('div', {class: 'badges'}, badge(row.status), badges(doubts(row), row.disqualifying))),
  h('button', {type: 'button', class: 'close', 'aria-label': 'Close', 'data-close': true}, '×'));
}

function disqualified(row) {
  return row.disqualifying.length > 0 && h('p', {class: 'notice'},
    `Disqualified (${row.disqualifying.join(', ')}): the scores are not to be believed, and the row has no rank.`);
}

function seedTabs(row) {
  if (row.runs.length < 2) return null;
  return h('div', {class: 'tabs', role: 'tablist', 'aria-label': 'Seeds'}, row.runs.map((run) => h('button',
    {type: 'button', role: 'tab', 'aria-controls': 'seed-panel'}, `seed ${run.seed}`)));
}

const PLACEHOLDER = /FILE\.py|SURROGATE-|WEIGHTS-/;
const section = (title, ...content) => h('section', {}, h('h3', {}, title), content);
const fold = (title, ...content) => h('details', {class: 'fold'}, h('summary', {}, title), content);
const json = (value) => h('pre', {}, h('code', {}, JSON.stringify(value, null, 1)));

function runContent(row, run, board) {
  const spec = {...data.shared[row.spec], ...(run.seed === null ? {} : {seed: run.seed}), evaluation: board.evaluation};
  return [
    section('Reproduce', h('div', {class: 'command'}, h('pre', {}, h('code', {}, run.command)), copyButton(run.command)),
      h('p', {class: 'note'}, PLACEHOLDER.test(run.command) && 'Names in capitals stand for files; digits after them are the start of their hash. ',
        'Record: ', recordLink(`${board.records}/${run.digest}/record.json`))),
    section('Values', valuesTable(row, run, board)),
    section('Protocol', h('p', {class: 'protocol'}, board.line), fold('Evaluation, exactly', json(board.evaluation)), fold('Spec, whole', json(spec))),
    section('Flags and what was measured', flagsOf(run), measuredList(run)),
    section('Training', trainingList(row, run)),
    section('Entry', entryList(run), verificationOf(run)),
    section('Runs of the same spec by others', rerunsTable(run, board)),
    section('Made with', madeList(run)),
  ];
}

// A page alone on a host has no records beside it.
const recordLink = (path) => (location.protocol === 'file:' ? h('a', {href: path}, path) : h('code', {}, `leaderboards/${path}`));

function copyButton(text) {
  const said = h('span', {}, 'Copy');
  return h('button', {type: 'button', 'aria-live': 'polite', click: async (event) => {
    const done = await copied(text, event.currentTarget.previousElementSibling);
    said.textContent = done ? 'Copied' : 'Press Ctrl+C';
    setTimeout(() => { said.textContent = 'Copy'; }, 2000);
  }}, said);
}

async function copied(text, shown) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {  // not allowed here: select it
    getSelection().selectAllChildren(shown);
    return document.execCommand('copy');
  }
}

function valuesTable(row, run, board) {
  const several = row.runs.length > 1;
  const heads = ['column', several ? 'mean over seeds' : 'value', '95% interval', ...(several ? ['seeds', `seed ${run.seed}`] : []), 'what it is'];
  const line = (column, place) => {
    const found = row.values[place];
    if (!found) return null;
    const [mean, low, high, least, greatest] = found;
    const own = run.values?.[place] ?? undefined;
    const cells = [number(mean, column.decimals), low === undefined ? '–' : interval([low, high], column.decimals),
      ...(several ? [least === undefined ? '–' : interval([least, greatest], column.decimals), own === undefined ? '–' : number(own, column.decimals)] : [])];
    return h('tr', {}, h('th', {scope: 'row'}, column.name), cells.map((cell) => h('td', {}, cell)), h('td', {class: 'words'}, column.meaning + '.' + preference(column)));
  };
  return h('div', {class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Values'}, h('table', {class: 'values'},
    h('thead', {}, h('tr', {}, heads.map((head, place) => h('th', {scope: 'col', class: place === heads.length - 1 ? 'words' : null}, head)))),
    h('tbody', {}, board.columns.map(line))));
}

function flagsOf(run) {
  return run.flags.length ? h('p', {class: 'badges'}, badges(run.flags, run.disqualifying)) : h('p', {class: 'note'}, 'No flag was raised.');
}

const paired = ([names, values]) => data.shared[names].map((name, place) => [name, String(values[place])]);
const measuredList = (run) => definitions(paired(run.measured), 'short');

function trainingList(row, run) {
  if (run.cost === null) {
    const declared = run.entry.declared === null ? 'not known' : `${millions(run.entry.declared)} image passes, declared by the submitter`;
    return definitions([['cost', declared]]);
  }
  const {cost, end} = run;
  return definitions([
    ['budget', budgetOf(row)],
    ['spent', `${whole(cost.input + cost.weights + cost.forward / 3)} image passes: ${whole(cost.input)} to the input, ${whole(cost.weights)} to the weights, ${whole(cost.forward)} forward only`],
    ['per iteration', `${row.nominal} passes of the batch by eta + 1, ${number(cost.metered, 2)} metered`],
    ['iterations', whole(cost.iterations)],
    ['time', `${number(cost.seconds / 60, 1)} minutes on ${end.device}`],
    ['peak memory', `${number(cost.memory / 2 ** 30, 2)} GiB`],
    ['last loss', String(end.loss)],
    ['collapsed', end.collapsed === null ? 'no' : `since iteration ${whole(end.collapsed)}${end.cause ? `: ${end.cause}` : ''}${end.stopped ? '; stopped there' : ''}`],
  ]);
}

function entryList(run) {
  const {entry} = run;
  return definitions([
    ['status', badge(entry.status)],
    ['submitted', day(entry.submitted)],
    ['by', entry.by],
    ['described in', entry.paper],
    ['checkpoint', entry.checkpoint && h('a', {href: entry.checkpoint, rel: 'noopener noreferrer'}, entry.checkpoint)],
  ]);
}

function verificationOf(run) {
  const found = run.entry.verification;
  if (found === null) return h('p', {class: 'note'}, 'The checkpoint was not evaluated again.');
  const common = data.shared[found.common];
  return h('div', {}, h('p', {}, `Evaluated again on ${whole(found.queries)} queries; ${number(100 * found.unequal, 2)}% of their values differ by more than rounding.`),
    definitions([['when', day(found.created)], ['on', common.device], ['commit', commitOf(common)], ['versions', versionsOf(common)]]),
    fold('Claimed minus found, by column', definitions(paired(found.differences), 'short')),
    found.flags.length > 0 && h('p', {class: 'badges'}, badges(found.flags, found.disqualifying)));
}

function rerunsTable(run, board) {
  if (run.reruns.length === 0) return h('p', {class: 'note'}, 'None yet.');
  const shown = board.columns.map((column, place) => ({...column, place})).filter((column) => column.group === 'scores' || column.name === 'R@1');
  return h('div', {class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Runs by others'}, h('table', {class: 'values'},
    h('thead', {}, h('tr', {}, ['made', ...shown.map((column) => column.name), 'on', 'weights'].map((head) => h('th', {scope: 'col'}, head)))),
    h('tbody', {}, run.reruns.map((again) => h('tr', {}, h('th', {scope: 'row'}, day(again.created)),
      shown.map((column) => h('td', {}, again.values[column.place] === null ? '–' : number(again.values[column.place], column.decimals))),
      h('td', {}, again.device), h('td', {}, h('code', {}, again.weights)))))));
}

const commitOf = ({commit, dirty}) => (commit === null ? 'not in a checkout' : commit + (dirty ? ', with uncommitted changes' : ''));
const versionsOf = ({versions}) => Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(', ');

function madeList(run) {
  const common = data.shared[run.made.common];
  return definitions([
    ['when', day(run.made.created)],
    ['evaluated on', `${common.device}; ${common.cpu}, ${common.threads} thread${common.threads === 1 ? '' : 's'}, batches of ${common.batch}`],
    ['versions', versionsOf(common)],
    ['commit', commitOf(common)],
    ...[['defense source', common.source], ['weights', run.made.weights], ['per-query values', run.made.queries], ...Object.entries(common.files)]
      .map(([name, hash]) => [name, h('code', {}, `SHA-256 ${hash}…`)]),
  ]);
}
