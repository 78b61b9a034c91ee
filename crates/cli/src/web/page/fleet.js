// The fleet as it is known here: the newest picture, the last hour, and the steps.

/** What has come so far. `picture` is null until the first one. */
export const fleet = {
  picture: null,
  /** The last hour: columns of one length, as `api/history` has them. */
  history: { at: [], bound: [], seen: [], pools: [], marks: [] },
  /** Since when the newest known step of each slot is, by slot. */
  steps: new Map(),
};

const HOUR = 3_600_000;
const SUMS = ['declared', 'open', 'busy', 'shown', 'waiting'];

/** Takes in a picture. */
export function seen(picture) {
  slots(picture).forEach(stepped);
  moved(picture);
  fleet.picture = picture;
  remember(picture);
}

/** How a slot is once it has taken a step; one that boots a successor still serves. */
const AFTER = { drains: 'draining', serves: 'serving' };

/** Takes in a step. */
export function step(mark) {
  const known = fleet.steps.get(mark.slot);
  if (known && known.at_unix_ms > mark.at_unix_ms) return;
  fleet.steps.set(mark.slot, mark);
  fleet.history.marks.push(mark);
  if (fleet.picture) moved(fleet.picture);
}

/** Shows each slot as it is after its newest step, where the picture is older: one that says so may come late, or tell of the next state already. */
function moved(picture) {
  for (const slot of slots(picture)) {
    const taken = fleet.steps.get(slot.slot);
    if (taken?.at_unix_ms > picture.at_unix_ms) slot.state = AFTER[taken.step] ?? slot.state;
  }
}

/** A step that was heard of at once is known already; one that a picture has first was taken before this page was there. */
function stepped({ slot, last_step: taken }) {
  const known = fleet.steps.get(slot);
  if (taken && (!known || known.at_unix_ms < taken.at_unix_ms)) {
    if (known?.step === taken.step && taken.at_unix_ms - known.at_unix_ms < 1000) return;
    fleet.steps.set(slot, { slot, ...taken });
  }
}

/** Every slot of a picture. */
export function slots(picture = fleet.picture) {
  return picture ? picture.apps.flatMap((app) => app.slots) : [];
}

/** Every pool of every app, summed up over its slots. */
export function pools(picture = fleet.picture) {
  const sums = new Map();
  for (const app of picture?.apps ?? []) {
    for (const slot of app.slots) {
      for (const [pool, declared] of Object.entries(slot.pools)) {
        const key = `${app.app}:${pool}`;
        const empty = { key, app: app.app, pool, declared: 0, open: 0, busy: 0, idle: 0, waiting: 0, shown: 0, said: false };
        const sum = sums.get(key) ?? empty;
        const gauge = slot.gauges[pool];
        sum.declared += declared;
        sum.shown += slot.shown?.[pool]?.open ?? 0;
        sum.open += gauge?.open ?? 0;
        sum.busy += gauge?.busy ?? 0;
        sum.idle += gauge?.idle ?? 0;
        sum.waiting += gauge?.waiting ?? 0;
        sum.said ||= Boolean(gauge);
        sums.set(key, sum);
      }
    }
  }
  return [...sums.values()];
}

/** Adds a picture to the hour, as the supervisor does on its side: the newest of each second. */
function remember(picture) {
  const { history } = fleet;
  const last = history.at.at(-1) ?? 0;
  if (last > picture.at_unix_ms) return;
  const again = Math.floor(last / 1000) === Math.floor(picture.at_unix_ms / 1000);
  const put = (column, value) => {
    if (again) column.pop();
    column.push(value);
  };
  const before = again ? history.at.length - 1 : history.at.length;
  put(history.at, picture.at_unix_ms);
  put(history.bound, picture.budget.bound);
  put(history.seen, picture.budget.seen);
  const sums = new Map(pools(picture).map((sum) => [sum.key, sum]));
  for (const { app, pool, key } of sums.values()) {
    if (history.pools.some((columns) => columns.app === app && columns.pool === pool)) continue;
    const zeros = () => new Array(again ? before + 1 : before).fill(0);
    history.pools.push({ app, pool, declared: zeros(), open: zeros(), busy: zeros(), shown: zeros(), waiting: zeros() });
  }
  for (const columns of history.pools) {
    const sum = sums.get(`${columns.app}:${columns.pool}`);
    for (const name of SUMS) put(columns[name], sum?.[name] ?? 0);
  }
  const oldest = picture.at_unix_ms - HOUR;
  const stale = history.at.findIndex((at) => at >= oldest);
  if (stale > 0) {
    for (const column of [history.at, history.bound, history.seen]) column.splice(0, stale);
    for (const columns of history.pools) for (const name of SUMS) columns[name].splice(0, stale);
  }
  history.marks = history.marks.filter((mark) => mark.at_unix_ms >= oldest);
}
