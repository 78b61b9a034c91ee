// The last hour of each pool as two small plots: connections against what was declared, and callers that wait.
import { fleet, pools } from './fleet.js';
import { h, keep, one, s, say, set, span } from './dom.js';

const HEIGHT = 96;
const WAITING = 28;
const TOP = 6;
const SHORTEST = 60_000; // of a fleet that has just started
const LINES = ['area', 'shown', 'busy', 'bound'];

/** A card for each pool, drawn anew with every picture. */
export function drawPools(cards) {
  const sums = pools();
  keep(cards, sums.map((sum) => sum.key), card).forEach((element, at) => update(element, sums[at]));
}

function card() {
  const plot = s('svg', { class: 'plot', role: 'img', height: HEIGHT + WAITING, 'data-testid': 'plot' },
    s('g', { class: 'marks' }),
    ...LINES.map((name) => s('path', { class: name })),
    s('path', { class: 'waiting' }),
    s('line', { class: 'floor' }));
  return h('article', { class: 'card', 'data-testid': 'pool' },
    h('h3'),
    h('p', { class: 'figures' }),
    h('div', { class: 'meter', 'aria-hidden': 'true' },
      h('span', { class: 'busy' }), h('span', { class: 'idle' }), h('span', { class: 'excess' })),
    plot,
    h('p', { class: 'axis' }, h('span'), h('span', {}, 'now')));
}

function update(element, sum) {
  const find = (selector) => element.querySelector(selector);
  set(element, { 'data-pool': sum.key, 'data-starved': sum.waiting > 0 ? '' : null, 'data-over': sum.shown > sum.declared ? '' : null });
  say(find('h3'), sum.key);
  const said = sum.said ? `, ${sum.busy} busy` : '';
  const waiting = sum.waiting > 0 ? `, ${one(sum.waiting, 'caller waits', 'callers wait')}` : '';
  const words = `${sum.shown} of ${sum.declared}${said}${waiting}`;
  say(find('.figures'), words);
  const most = Math.max(sum.declared, sum.shown, 1);
  const busy = Math.min(sum.busy, sum.shown);
  const within = Math.min(sum.shown, sum.declared);
  width(find('.meter .busy'), busy / most);
  width(find('.meter .idle'), Math.max(0, within - busy) / most);
  width(find('.meter .excess'), Math.max(0, sum.shown - sum.declared) / most);

  const columns = fleet.history.pools.find(({ app, pool }) => app === sum.app && pool === sum.pool);
  if (columns) plot(find('svg'), find('.axis span'), columns, `${sum.key}: ${words}`);
}

// Through the object model: the page's policy lets no style stand in an attribute.
function width(element, share) {
  element.style.inlineSize = `${(share * 100).toFixed(2)}%`;
}

function plot(svg, axis, columns, words) {
  const { at, marks } = fleet.history;
  const wide = svg.clientWidth || 300;
  const now = at.at(-1) ?? 0;
  const begin = Math.min(at[0] ?? now, now - SHORTEST);
  const x = (time) => ((time - begin) / (now - begin)) * wide;
  const bins = binned(at, columns, x, Math.max(1, Math.floor(wide / 2)));
  const highest = Math.max(1, ...bins.map((bin) => Math.max(bin.declared, bin.shown)));
  const y = (count) => HEIGHT - (count / highest) * (HEIGHT - TOP);
  const steps = (name) => bins.map((bin, n) => `${n === 0 ? 'M' : `H${bin.x.toFixed(1)}V`}${n === 0 ? `${bin.x.toFixed(1)} ` : ''}${y(bin[name]).toFixed(1)}`).join('');
  const shown = steps('shown');
  set(svg.querySelector('.shown'), { d: shown });
  set(svg.querySelector('.area'), { d: bins.length > 0 ? `${shown}V${HEIGHT}H${bins[0].x.toFixed(1)}Z` : '' });
  set(svg.querySelector('.busy'), { d: steps('busy') });
  set(svg.querySelector('.bound'), { d: steps('declared') });
  const foot = HEIGHT + WAITING;
  const most = Math.max(1, ...bins.map((bin) => bin.waiting));
  const bars = bins.filter((bin) => bin.waiting > 0);
  set(svg.querySelector('.waiting'), { d: bars.map((bin) => `M${bin.x.toFixed(1)} ${foot}v${(-(bin.waiting / most) * (WAITING - 6)).toFixed(1)}`).join('') });
  set(svg.querySelector('.floor'), { x1: 0, x2: wide, y1: HEIGHT + 0.5, y2: HEIGHT + 0.5 });
  const within = marks.filter((mark) => mark.at_unix_ms >= begin && mark.slot.startsWith(`${columns.app}-`));
  svg.querySelector('.marks').replaceChildren(...within.map((mark) =>
    s('line', { class: `mark-${mark.step}`, 'data-testid': 'mark', x1: x(mark.at_unix_ms).toFixed(1), x2: x(mark.at_unix_ms).toFixed(1), y1: 0, y2: HEIGHT },
      s('title', {}, `${mark.slot} ${mark.step}`))));
  say(axis, `${span(now - begin)} ago`);
  const peak = Math.max(0, ...bins.map((bin) => bin.shown));
  set(svg, { 'aria-label': `${words}. In the last ${span(now - begin)} Postgres showed ${peak} at most, and ${most > 1 || bars.length > 0 ? one(most, 'caller') : 'nobody'} waited.` });
}

/** As many points as there are places for, each with the most that was seen in it. */
function binned(at, columns, x, room) {
  const each = Math.max(1, Math.ceil(at.length / room));
  const bins = [];
  for (let from = 0; from < at.length; from += each) {
    const bin = { x: x(at[from]) };
    for (const name of ['declared', 'shown', 'busy', 'waiting']) bin[name] = Math.max(...columns[name].slice(from, from + each));
    bins.push(bin);
  }
  return bins;
}
