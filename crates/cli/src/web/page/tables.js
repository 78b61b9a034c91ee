// What stands in words and numbers: the budget, the findings, the slots and what their sessions do.
import { fleet, slots } from './fleet.js';
import { clock, h, keep, one, s, say, set, span } from './dom.js';

export function drawSummary(summary) {
  const all = slots();
  const serving = all.filter((slot) => slot.state === 'serving').length;
  say(summary, `${fleet.picture.apps.map(({ app }) => app).join(', ')}: ${serving} of ${one(all.length, 'worker')} serving, up for ${span(fleet.picture.at_unix_ms - fleet.picture.since_unix_ms)}`);
}

/** Seen, declared and overhead on the scale of what is usable. */
export function drawBudget(section) {
  const { bound, seen, overhead, usable } = fleet.picture.budget;
  const holds = seen <= bound;
  const figures = section.querySelector('.figures');
  const parts = [['seen', seen, 'seen'], ['bound', bound, 'declared'], ['overhead', overhead, 'overhead'], ['usable', usable, 'usable']];
  keep(figures, parts.map(([name]) => name), (name) => h('span', { class: name }, h('b'), h('small'))).forEach((part, at) => {
    say(part.children[0], String(parts[at][1]));
    say(part.children[1], parts[at][2]);
  });
  set(section, { 'data-holds': String(holds) });
  const bar = section.querySelector('svg');
  const wide = bar.clientWidth || 300;
  const scale = wide / Math.max(usable, bound + overhead, seen, 1);
  const part = (kind, from, to) => s('rect', { class: kind, x: from * scale, width: Math.max(0, (to - from) * scale), y: 8, height: 22, rx: 4 });
  bar.replaceChildren(
    part('usable', 0, Math.max(usable, bound + overhead)),
    part('declared', 0, bound),
    part('overhead', bound, bound + overhead),
    part(holds ? 'seen' : 'excess', 0, seen),
    s('line', { class: 'bound', x1: bound * scale, x2: bound * scale, y1: 2, y2: 36 }));
  set(bar, { 'aria-label': `${seen} connections seen of ${bound} declared, ${overhead} of overhead, ${usable} usable` });
}

const KINDS = { error: 'error', warning: 'warning', info: 'note' };

export function drawFindings(section) {
  const { findings } = fleet.picture;
  const list = section.querySelector('ul');
  const keys = findings.map((finding, at) => `${finding.kind} ${finding.slot ?? ''} ${finding.pool ?? ''} ${at}`);
  const items = keep(list, keys.length > 0 ? keys : ['none'], () => h('li', { 'data-testid': 'finding' }, h('strong'), ' ', h('span'), h('small')));
  if (findings.length === 0) {
    set(items[0], { 'data-severity': 'none' });
    say(items[0].children[0], 'none');
    say(items[0].children[1], 'Everything is as declared.');
    return;
  }
  items.forEach((item, at) => {
    const { severity, message, cure, kind } = findings[at];
    set(item, { 'data-severity': severity, 'data-kind': kind });
    say(item.children[0], KINDS[severity]);
    say(item.children[1], message);
    say(item.children[2], cure);
  });
}

const COLUMNS = ['Slot', 'State', 'Process', 'Executor', 'Pools', 'Memory', 'CPU', 'Restarts', 'Last step'];

/** Which slots' sessions are shown. */
const open = new Set();

/** A row for each slot, and below it its sessions while they are asked for. */
export function drawSlots(body) {
  const all = slots();
  const keys = all.flatMap(({ slot }) => (open.has(slot) ? [slot, `${slot} sessions`] : [slot]));
  keep(body, keys, (key) => (key.endsWith(' sessions') ? sessionsRow(key.split(' ')[0]) : slotRow(key, body)));
  for (const slot of all) updateRow(body.querySelector(`[data-slot="${slot.slot}"]`), slot);
}

function slotRow(slot, body) {
  const button = h('button', { type: 'button', 'aria-expanded': 'false' }, 'sessions');
  button.setAttribute('aria-label', `Sessions of ${slot}`);
  button.addEventListener('click', () => {
    if (!open.delete(slot)) open.add(slot);
    drawSlots(body);
    refreshSessions(body);
  });
  const cells = COLUMNS.map((name, at) => h(at === 0 ? 'th' : 'td', { 'data-label': name, scope: at === 0 ? 'row' : null }));
  return h('tr', { 'data-testid': 'slot', 'data-slot': slot }, ...cells, h('td', { class: 'action' }, button));
}

function updateRow(row, slot) {
  const step = fleet.steps.get(slot.slot);
  set(row, { 'data-state': slot.state, 'data-step': step?.step, 'data-generation': slot.generation });
  const pools = Object.entries(slot.pools).map(([pool, declared]) => `${pool} ${slot.shown?.[pool]?.open ?? 0}/${declared}`);
  if (slot.unnamed) pools.push(`unnamed ${slot.unnamed.open}`);
  const process = slot.pid ? `${slot.pid}${slot.successor_pid ? ` → ${slot.successor_pid}` : ''}` : '–';
  const texts = [
    slot.slot,
    slot.says ? `${slot.state} (${slot.says})` : slot.state,
    process,
    slot.executor_id ?? '–',
    pools.join(', '),
    slot.usage ? `${Math.round(slot.usage.memory_bytes / 1_048_576)} MB` : '–',
    slot.usage ? `${(slot.usage.cores * 100).toFixed(0)} %` : '–',
    String(slot.restarts),
    step ? `${step.step}, ${clock(step.at_unix_ms)}` : '–',
  ];
  texts.forEach((text, at) => say(row.children[at], text));
  set(row.children[1], { title: slot.last_failure });
  set(row.querySelector('button'), { 'aria-expanded': String(open.has(slot.slot)) });
}

function sessionsRow(slot) {
  const table = h('table', { class: 'sessions' },
    h('caption', {}, `Sessions of ${slot}`),
    h('thead', {}, h('tr', {}, ...['Pool', 'Backend', 'State', 'Since', 'Transaction', 'Waits for', 'Statement'].map((name) => h('th', { scope: 'col' }, name)))),
    h('tbody'));
  return h('tr', { class: 'detail', 'data-sessions': slot }, h('td', { colspan: COLUMNS.length + 1 }, table));
}

/** Asks anew for what is open. */
export async function refreshSessions(body) {
  await Promise.all([...open].map(async (slot) => {
    const tbody = () => body.querySelector(`[data-sessions="${slot}"] tbody`);
    try {
      const response = await fetch(`api/sessions/${slot}`);
      const { sessions } = await response.json();
      tbody()?.replaceChildren(...(sessions ?? []).map(sessionRow));
      if (sessions?.length === 0) tbody()?.replaceChildren(h('tr', {}, h('td', { colspan: 7 }, 'Postgres shows none.')));
    } catch {
      // The stream says that it is lost; the next picture asks again.
    }
  }));
}

function sessionRow(session) {
  const cell = (label, text, attributes = {}) => h('td', { 'data-label': label, ...attributes }, text ?? '');
  return h('tr', { 'data-testid': 'session' },
    cell('Pool', session.pool ?? '–'), cell('Backend', String(session.pid)), cell('State', session.state),
    cell('Since', span(session.state_ms)), cell('Transaction', span(session.transaction_ms)),
    cell('Waits for', session.waits_for), cell('Statement', session.query, { class: 'statement' }));
}

/** The newest steps, the newest first. */
export function drawSteps(section) {
  const newest = fleet.history.marks.slice(-9).reverse();
  set(section.querySelector('.none'), { hidden: newest.length > 0 ? '' : null });
  const list = section.querySelector('ol');
  keep(list, newest.map((mark) => `${mark.at_unix_ms} ${mark.slot} ${mark.step}`), (key) => {
    const [at, slot, step] = key.split(' ');
    return h('li', { 'data-testid': 'step', 'data-slot': slot, 'data-step': step },
      h('time', {}, clock(Number(at))), ' ', h('b', {}, slot), ` ${step}`);
  });
}
