// The topology as a picture whose edges are the pools: supervisor, slots, their pools, Postgres.
import { fleet } from './fleet.js';
import { keep, one, s, say, set } from './dom.js';

const ROW = 34; // one pool
const GAP = 14; // between two slots
const CELLS = 12; // a pool of more connections is a bar
const NARROW = 620;
const SMALL = 200; // a pool's box that has no room for a long name

/** What the picture was last drawn for: as long as it stays, elements do too, and only what changed changes. */
let drawn = '';

export function drawTopology(svg, wide) {
  const { picture } = fleet;
  if (!picture || wide < 200) return;
  const slots = picture.apps.flatMap((app) => app.slots);
  const narrow = wide < NARROW;
  const structure = JSON.stringify([wide, slots.map((slot) => [slot.slot, slot.pools])]);
  if (structure !== drawn) {
    drawn = structure;
    build(svg, slots, wide, narrow);
  }
  for (const slot of slots) updateSlot(svg, slot);
  const { budget } = picture;
  say(svg.querySelector('.postgres .count'), `${budget.seen} of ${budget.usable}`);
  say(svg.querySelector('.supervisor .count'), `pid ${picture.pid}`);
  set(svg.querySelector('.postgres'), { 'data-silent': picture.postgres.state === 'silent' ? '' : null });
  set(svg, { 'aria-label': words(slots, budget) });
}

function words(slots, budget) {
  const serving = slots.filter((slot) => slot.state === 'serving').length;
  return `${one(slots.length, 'slot')}, ${serving} serving, with ${budget.seen} connections to Postgres, which has ${budget.usable} usable`;
}

/** Places everything. Every slot is as high as its pools are. */
function build(svg, slots, wide, narrow) {
  const top = narrow ? 62 : 8;
  const at = narrow
    ? { slot: 0, slotWide: 82, pool: 94, poolWide: wide - 94 - 52, postgres: wide - 36, postgresWide: 36 }
    : { slot: 168, slotWide: 168, pool: 372, poolWide: Math.min(280, wide - 372 - 230), postgres: wide - 132, postgresWide: 132 };
  let y = top;
  const placed = slots.map((slot) => {
    const pools = Object.keys(slot.pools);
    const high = Math.max(1, pools.length) * ROW;
    const place = { slot, pools, y, high };
    y += high + GAP;
    return place;
  });
  const bottom = Math.max(y - GAP, top + 80);
  const high = bottom + (narrow ? 8 : 34);
  const middle = (top + bottom) / 2;
  const supervisor = narrow
    ? { x: 0, y: 8, wide, high: 38 }
    : { x: 0, y: middle - 34, wide: 128, high: 68 };
  set(svg, { viewBox: `0 0 ${wide} ${high}`, width: wide, height: high });

  const edges = s('g', { class: 'edges' });
  const boxes = s('g');
  for (const { slot, pools, y: from, high: tall } of placed) {
    const centre = from + tall / 2;
    const start = narrow ? [at.slot + at.slotWide / 2, supervisor.y + supervisor.high] : [supervisor.x + supervisor.wide, middle];
    if (!narrow) edges.append(curve('watch', start, [at.slot, centre]));
    boxes.append(slotBox(slot.slot, at.slot, from, at.slotWide, tall, narrow));
    pools.forEach((pool, n) => {
      const row = from + n * ROW + ROW / 2;
      const end = [at.postgres, top + ((row - top) * (bottom - top - 20)) / Math.max(1, bottom - top) + 10];
      const key = `${slot.slot}:${pool}`;
      edges.append(curve('pool', [at.slot + at.slotWide, row], [at.pool, row], key, n));
      edges.append(curve('pool', [at.pool + at.poolWide, row], end, key, n));
      boxes.append(poolBox(key, pool, at.pool, row, at.poolWide, n));
    });
  }
  if (!narrow) {
    edges.append(s('path', { class: 'control', d: `M${supervisor.wide / 2} ${supervisor.y + supervisor.high}V${high - 12}H${at.postgres + at.postgresWide / 2}V${bottom}` }));
    boxes.append(s('text', { class: 'quiet', x: at.pool, y: high - 17 }, `control connection, ${fleet.picture.budget.overhead}`));
  }
  svg.replaceChildren(edges, boxes,
    box('supervisor', supervisor.x, supervisor.y, supervisor.wide, supervisor.high, narrow, 'supervisor'),
    postgresBox(at, top, bottom, narrow));
}

function curve(kind, [x1, y1], [x2, y2], key, n) {
  const bend = (x1 + x2) / 2;
  return s('path', { class: `${kind} hue-${(n ?? 0) % 4}`, 'data-key': key, d: `M${x1} ${y1}C${bend} ${y1} ${bend} ${y2} ${x2} ${y2}` });
}

function box(name, x, y, wide, high, narrow, title) {
  const [across, down] = narrow ? [14, high / 2 + 5] : [wide / 2, high / 2 - 3];
  const anchor = narrow ? 'start' : 'middle';
  return s('g', { class: name, transform: `translate(${x} ${y})` },
    s('rect', { width: wide, height: high, rx: 9 }),
    s('text', { class: 'name', x: across, y: down, 'text-anchor': anchor }, title),
    s('text', { class: 'count', x: narrow ? wide - 14 : across, y: narrow ? down : down + 19, 'text-anchor': narrow ? 'end' : 'middle' }));
}

function postgresBox(at, top, bottom, narrow) {
  const middle = (bottom - top) / 2;
  const x = at.postgresWide / 2;
  const turned = narrow ? `rotate(90 ${x} ${middle})` : null;
  return s('g', { class: 'postgres', transform: `translate(${at.postgres} ${top})` },
    s('rect', { width: at.postgresWide, height: bottom - top, rx: 9 }),
    s('text', { class: 'name', x: narrow ? x - 40 : x, y: narrow ? middle + 5 : middle - 3, 'text-anchor': 'middle', transform: turned }, 'Postgres'),
    s('text', { class: 'count', x: narrow ? x + 40 : x, y: narrow ? middle + 5 : middle + 17, 'text-anchor': 'middle', transform: turned }));
}

function slotBox(name, x, y, wide, high, narrow) {
  const middle = high / 2;
  return s('g', { class: 'slot', 'data-slot': name, transform: `translate(${x} ${y})` },
    s('rect', { width: wide, height: high, rx: 9 }),
    s('circle', { cx: 15, cy: middle - (high > ROW ? 9 : 0), r: 5 }),
    s('text', { class: 'name', x: 28, y: middle - (high > ROW ? 4 : -5) }, name),
    s('text', { class: 'state', x: narrow ? 15 : 28, y: middle + 15, visibility: high > ROW ? null : 'hidden' }));
}

function poolBox(key, pool, x, row, wide, n) {
  return s('g', { class: `pool-box hue-${n % 4}`, 'data-key': key, transform: `translate(${x} ${row - 12})` },
    s('rect', { class: 'pill', width: wide, height: 24, rx: 12 }),
    s('text', { class: 'name', x: 12, y: 16.5 }, wide < SMALL ? pool.slice(0, 7) : pool),
    s('g', { class: 'cells' }),
    s('text', { class: 'count', x: wide - 12, y: 16.5, 'text-anchor': 'end' }),
    s('title'));
}

function updateSlot(svg, slot) {
  const group = svg.querySelector(`.slot[data-slot="${slot.slot}"]`);
  const next = slot.successor_pid ? ', next boots' : '';
  const room = Number(group.querySelector('rect').getAttribute('width')) > 120;
  set(group, { 'data-state': slot.state, 'data-successor': slot.successor_pid ? '' : null });
  say(group.querySelector('.state'), `${slot.state}${room ? next : ''}`);
  for (const [pool, declared] of Object.entries(slot.pools)) {
    const key = `${slot.slot}:${pool}`;
    const counts = count(declared, slot.gauges[pool], slot.shown?.[pool]);
    const group = svg.querySelector(`.pool-box[data-key="${key}"]`);
    updatePool(group, key, declared, counts);
    for (const edge of svg.querySelectorAll(`.edges [data-key="${key}"]`)) {
      set(edge, { 'stroke-width': counts.open > 0 ? 1.5 + Math.min(6, counts.open) : 1, 'data-empty': counts.open > 0 ? null : '' });
    }
  }
}

/** A worker's word says what is busy; where it says nothing, Postgres' number has to do. */
function count(declared, gauge, shown) {
  const open = Math.max(shown?.open ?? 0, 0);
  const said = gauge ?? { busy: 0, idle: 0, waiting: 0 };
  const busy = Math.min(said.busy, open, declared);
  const idle = gauge ? Math.min(open, declared) - busy : 0;
  const plain = gauge ? 0 : Math.min(open, declared);
  return { open, busy, idle, plain, free: Math.max(0, declared - open), excess: Math.max(0, open - declared), waiting: said.waiting };
}

function updatePool(group, key, declared, counts) {
  const waits = counts.waiting > 0 ? ` +${counts.waiting}` : '';
  say(group.querySelector('.count'), `${counts.open}/${declared}${waits}`);
  const waiting = counts.waiting > 0 ? `, ${one(counts.waiting, 'caller waits', 'callers wait')}` : '';
  say(group.querySelector('title'), `${key}: ${counts.open} of ${declared} open, ${counts.busy} busy${waiting}`);
  set(group, { 'data-waiting': counts.waiting > 0 ? '' : null, 'data-over': counts.excess > 0 ? '' : null });
  const cells = group.querySelector('.cells');
  const wide = Number(group.querySelector('.pill').getAttribute('width'));
  const small = wide < SMALL;
  const from = small ? 62 : 78;
  const room = wide - from - 52;
  const kinds = [...times('busy', counts.busy), ...times('shown', counts.plain), ...times('idle', counts.idle), ...times('free', counts.free), ...times('excess', counts.excess)];
  const few = kinds.length <= CELLS && kinds.length * 8 <= room;
  const each = few ? Math.min(14, room / kinds.length) : room / Math.max(1, kinds.length);
  const parts = few ? kinds.map((kind) => [kind, 1]) : runs(kinds);
  let x = from;
  const children = keep(cells, parts.map((_, n) => String(n)), () => s('rect', { y: 7, height: 10 }));
  children.forEach((cell, n) => {
    const [kind, length] = parts[n];
    set(cell, { class: `cell ${kind}`, x: x.toFixed(1), width: Math.max(1, each * length - (few ? 3 : 0)).toFixed(1), rx: few ? 3 : 1 });
    x += each * length;
  });
}

const times = (kind, count) => new Array(Math.max(0, count)).fill(kind);

function runs(kinds) {
  const found = [];
  for (const kind of kinds) {
    if (found.at(-1)?.[0] === kind) found.at(-1)[1] += 1;
    else found.push([kind, 1]);
  }
  return found;
}
