// The tables. Tabulator shows, sorts and scrolls them; their cells are elements.

let table = null;
let tableColumns = [];
const profile = new Set();  // keys of the rows in the plot of single attacks

const rowsOf = (found) => found.map((row) => row.getData().row);
const shownRows = () => (table === null ? [] : rowsOf(table.getRows('active')));

function makeTable(board) {
  table?.destroy();
  profile.clear();
  board.rows.filter((row) => row.disqualifying.length === 0).slice(0, 4).forEach((row) => profile.add(row.key));
  tableColumns = recordColumns(board);
  const sorted = tableColumns.some((column) => column.field === state.sort?.column) ? state.sort : null;
  const made = new Tabulator(byId('table'), {
    ...common(tableColumns, board.rows),
    index: 'key',
    groupBy: ({row}) => row.section,
    groupHeader: (section) => h('span', {class: 'section'}, section),
    groupToggleElement: false,
    maxHeight: 'min(85vh, 60rem)',
    initialSort: sorted ? [{column: sorted.column, dir: sorted.direction}] : [],
    initialFilter: ({row}) => passes(row),
    placeholder: () => 'No row fits these filters.',
    rowFormatter: (row) => row.getElement().classList.toggle('out', row.getData().row.disqualifying.length > 0),
  });
  made.element.classList.add('records');
  made.on('tableBuilt', () => { table = made; hideColumns(); updated(); });
  made.on('rowClick', (event, row) => openRecord(row.getData().row));
  made.on('dataFiltered', () => table && setTimeout(updated));
  made.on('dataSorted', (sorters) => {
    const [first] = sorters;
    state.sort = first ? {column: first.field, direction: first.dir} : null;
    if (table) { writeAddress(); setTimeout(rove); }
  });
  made.on('renderComplete', () => { nameRoles(made.element); rove(); });
}

// Tabulator leaves the roles of its body and of group headings incomplete.
function nameRoles(element) {
  element.querySelector('.tabulator-tableholder')?.setAttribute('role', 'rowgroup');
  element.querySelector('.tabulator-table')?.setAttribute('role', 'presentation');
  for (const group of element.querySelectorAll('.tabulator-group')) {
    group.setAttribute('role', 'row');
    group.querySelector('.section')?.setAttribute('role', 'gridcell');
    group.querySelector('.tabulator-group-toggle')?.setAttribute('aria-hidden', 'true');
  }
}

function common(columns, rows) {
  return {
    data: rows.map((row) => ({key: row.key, row, ...Object.fromEntries(columns.map((column) => [column.field, column.value(row)]))})),
    columns: columns.map(defined),
    layout: 'fitData',
    nestedFieldSeparator: false,
    renderVertical: rows.length > 150 ? 'virtual' : 'basic',
    headerSortElement: '<span></span>',
  };
}

function defined(column, place, all) {
  const edge = column.fixed && !all[place + 1]?.fixed;
  return {
    title: column.name, field: column.field, width: column.width, frozen: Boolean(column.fixed), resizable: false,
    cssClass: [column.number && 'number', edge && 'edge'].filter(Boolean).join(' '),
    headerSort: !column.unsaved, headerSortStartingDir: column.better === 1 ? 'desc' : 'asc',
    sorter: sorterFor,
    titleFormatter: () => h(column.unsaved ? 'span' : 'button', {type: column.unsaved ? null : 'button', class: 'sort', title: column.meaning + preference(column)}, column.name),
    formatter: (cell) => { const shown = column.cell(cell.getData().row); return typeof shown === 'string' ? h('span', {}, shown) : shown; },
  };
}

// Sort disqualified rows and unknown values last, in either direction.
function sorterFor(one, other, oneRow, otherRow, column, direction) {
  const down = direction === 'asc' ? 1 : -1;
  const out = (row) => Number((row.getData().row.disqualifying ?? []).length > 0);
  const missing = (value) => Number(value === null || value === '');
  return down * (out(oneRow) - out(otherRow)) || down * (missing(one) - missing(other))
    || (typeof one === 'number' ? one - other : String(one).localeCompare(String(other), 'en', {numeric: true}));
}

// Tab reaches one row; the arrow keys move on from there.
function rove(chosen = null) {
  const buttons = [...byId('table').querySelectorAll('.open')];
  const first = chosen ?? buttons.find((button) => button === document.activeElement) ?? buttons[0];
  buttons.forEach((button) => button.setAttribute('tabindex', button === first ? '0' : '-1'));
}

function goWithArrows(event) {
  const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
  const button = event.target.closest('.open');
  if (!step || !button) return;
  event.preventDefault();
  const rows = table.getRows('active');
  const place = rows.findIndex((row) => row.getElement().contains(button));
  const next = rows[place + step];
  if (!next) return;
  table.scrollToRow(next, 'nearest', false).catch(() => null).then(() => {
    const target = next.getElement().querySelector('.open');
    rove(target);
    target.focus();
  });
}

function hideColumns() {
  for (const column of table.getColumns()) {
    const hidden = state.hidden.includes(column.getField());
    if (column.isVisible() === hidden) column.toggle();
  }
}

function columnChoices() {
  const groups = {scores: 'Scores', benign: 'Benign', attacked: 'Under attack', cost: 'Cost', entry: 'Entry'};
  return Object.entries(groups).map(([group, title]) => h('fieldset', {}, h('legend', {}, title),
    tableColumns.filter((column) => column.group === group).map((column) => h('label', {},
      h('input', {type: 'checkbox', value: column.field, checked: !state.hidden.includes(column.field),
        change: (event) => chooseColumn(column.field, event.target.checked)}), column.name))));
}

function chooseColumn(field, shown) {
  state.hidden = tableColumns.map((column) => column.field)
    .filter((name) => (name === field ? !shown : state.hidden.includes(name)));
  hideColumns();
  writeAddress();
}

// What identifies a row in a saved table, whatever columns are visible.
const IDENTITY = {
  eta: (row) => row.eta, budget: budgetOf, settings: (row) => row.settings.join('; '),
  'seed numbers': (row) => row.runs.map((run) => run.seed ?? '-').join(' '), records: (row) => row.runs.map((run) => run.digest).join(' '),
};

// The visible rows in order: values with the ends of their intervals.
function savedTable() {
  const visible = new Set(table.getColumns().filter((column) => column.isVisible()).map((column) => column.getField()));
  const columns = tableColumns.filter((column) => visible.has(column.field) && !column.unsaved);
  const heads = columns.flatMap(({name, place}) => (place === undefined ? [name] : [name, `${name} low`, `${name} high`]));
  const lines = shownRows().map((row) => [...columns.flatMap((column) => {
    const value = column.saved(row);
    return column.place === undefined ? [value] : [0, 1, 2].map((end) => value[end] ?? '');
  }), ...Object.values(IDENTITY).map((of) => of(row))]);
  return [[...heads, ...Object.keys(IDENTITY)], ...lines].map((line) => line.map(quoted).join(',')).join('\r\n') + '\r\n';
}

// Put an apostrophe before text that a spreadsheet would read as a formula.
function quoted(value) {
  if (value === null) return '';
  if (typeof value === 'number') return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function saveTable() {
  const address = URL.createObjectURL(new Blob([savedTable()], {type: 'text/csv'}));
  h('a', {href: address, download: `${state.view}.csv`}).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

let reportedTable = null;

function makeReportedTable(rows) {
  reportedTable?.destroy();
  const made = reportedTable = new Tabulator(byId('reported-table'), {
    ...common(reportedColumns(rows), rows.map((row, place) => ({...row, key: place}))), maxHeight: '70vh',
  });
  made.on('renderComplete', () => nameRoles(made.element));
}
