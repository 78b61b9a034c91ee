// Follows the fleet: a stream of pictures and steps. Says so when the stream is lost, and takes it up again.
import { fleet, seen, slots, step } from './fleet.js';
import { clock, h, keep, one, say, set, span } from './dom.js';
import { drawPools } from './plots.js';
import { drawTopology } from './topology.js';
import { drawBudget, drawFindings, drawSlots, drawSteps, drawSummary, refreshSessions } from './tables.js';

const SILENCE = 5_000; // a picture comes every second
const AGAIN = 1_000;

const element = (id) => document.getElementById(id);
const body = element('slots').querySelector('tbody');
let stream = null;
let heard = 0;

function connect() {
  stream?.close();
  stream = new EventSource('api/events');
  const on = (name, take) => stream.addEventListener(name, (event) => {
    heard = performance.now();
    take(JSON.parse(event.data));
    draw();
  });
  on('hello', async ({ version, writes }) => {
    say(element('version'), `poolwright ${version}`);
    set(element('change'), { hidden: writes ? null : '' });
    await recall();
  });
  on('picture', (picture) => {
    seen(picture);
    refreshSessions(body);
  });
  on('step', step);
  on('ended', ({ failure }) => say(element('outcome'), failure ? `The reload stopped: ${failure}` : 'Done.'));
  stream.addEventListener('error', () => lost());
  heard = performance.now();
}

/** What happened before this page was there, or while it was away. */
async function recall() {
  try {
    const response = await fetch('api/history');
    if (response.ok) fleet.history = await response.json();
    for (const mark of fleet.history.marks) fleet.steps.set(mark.slot, mark);
    draw();
  } catch {
    // Without it the plots begin now.
  }
}

function lost() {
  stream.close();
  live(false);
  clearTimeout(lost.timer);
  lost.timer = setTimeout(connect, AGAIN);
}

function live(is) {
  document.body.dataset.stream = is ? 'live' : 'lost';
  const last = fleet.picture ? `, what is shown is of ${clock(fleet.picture.at_unix_ms)}` : '';
  say(element('stream'), is ? 'live' : `the stream is lost${last}; reconnecting…`);
}

setInterval(() => {
  if (performance.now() - heard > SILENCE && stream.readyState === EventSource.OPEN) lost();
}, AGAIN);

/** Once for all that has come together. By a timer and not by frames: a page in the background has none, and its title counts on. */
let asked = false;
function draw() {
  if (asked || !fleet.picture) return;
  asked = true;
  setTimeout(() => {
    asked = false;
    live(stream.readyState === EventSource.OPEN);
    paint();
  });
}

function paint() {
  const { picture } = fleet;
  drawSummary(element('summary'));
  drawBudget(element('budget'));
  drawFindings(element('findings'));
  drawTopology(element('topology-picture'), Math.floor(element('topology').querySelector('.scroll').clientWidth));
  drawSteps(element('steps'));
  drawPools(element('pools').querySelector('.cards'));
  drawSlots(body);
  const silent = picture.postgres.state === 'silent';
  set(element('alarm'), { hidden: silent ? null : '' });
  if (silent) say(element('alarm'), `Postgres does not answer: ${picture.postgres.reason}. What it showed is from before.`);
  document.title = `${picture.budget.seen}/${picture.budget.bound} Poolwright`;
  const apps = keep(element('app'), picture.apps.map(({ app }) => app), (app) => h('option', { value: app }, app));
  if (element('instances').value === '' && apps.length > 0) element('instances').value = picture.apps[0].instances;
}

new ResizeObserver(() => draw()).observe(document.body);

// What changes the fleet: asked twice, with the token, which is kept nowhere but in its field.
const sure = element('sure');

function ask(question, act) {
  say(element('sure-question'), question);
  element('sure-yes').onclick = () => {
    sure.close();
    act();
  };
  sure.showModal();
}
element('sure-no').addEventListener('click', () => sure.close());

async function change(route, what, doing) {
  const outcome = element('outcome');
  say(outcome, `${doing}…`);
  const began = performance.now();
  try {
    const response = await fetch(route, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${element('token').value}` },
      body: JSON.stringify(what),
    });
    const answer = await response.json();
    const failure = answer.error ?? answer.failure?.reason;
    say(outcome, failure ? `Refused or failed: ${failure}` : `Done in ${span(performance.now() - began)}.`);
  } catch {
    say(outcome, 'The supervisor did not answer to the end; the picture shows how it goes.');
  }
}

element('reload').addEventListener('click', () => {
  ask(`Replace ${one(slots().length, 'worker')}, one after the other?`, () => change('api/reload', {}, 'Reloading'));
});
element('scale').addEventListener('click', () => {
  const [app, instances] = [element('app').value, element('instances').valueAsNumber];
  ask(`Give ${app} ${one(instances, 'worker')}?`, () => change('api/scale', { app, instances }, 'Scaling'));
});

connect();
