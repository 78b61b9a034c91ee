// Places orders without a reload and follows running ones. The server renders every order: this only
// fetches the page again and puts its list in place of the one that is shown.
const form = document.querySelector('[data-testid="place-order"]');
const orders = document.getElementById('orders');
const problem = document.getElementById('problem');
const status = document.getElementById('status');
// By name: `form.elements.item` is the collection's own method.
const field = (name) => form.elements.namedItem(name);
const tenant = field('tenant').value;
const page = `/?tenant=${encodeURIComponent(tenant)}`;

const FAST = 400; // while an order is running
const SLOW = 5000; // when all have shipped: another window may place one
let timer;

const running = () => orders.querySelector('[data-testid="order"]:not([data-status="shipped"])');
const statuses = () =>
  new Map([...orders.querySelectorAll('[data-testid="order"]')].map((row) => [row.dataset.orderId, row]));

async function refresh() {
  clearTimeout(timer);
  try {
    const response = await fetch(page, { headers: { accept: 'text/html' } });
    if (response.ok) {
      const fresh = new DOMParser().parseFromString(await response.text(), 'text/html').getElementById('orders');
      if (fresh.innerHTML !== orders.innerHTML) {
        const before = statuses();
        orders.replaceChildren(...fresh.childNodes);
        for (const [id, row] of statuses()) {
          if (before.get(id)?.dataset.status === row.dataset.status) continue;
          status.textContent = `${row.querySelector('strong').textContent}: ${row.dataset.status}`;
        }
      }
    }
  } catch {
    // A worker is being replaced, or the network is away; the next look will tell.
  }
  timer = setTimeout(refresh, running() ? FAST : SLOW);
}

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  problem.textContent = '';
  const button = form.querySelector('button');
  button.disabled = true;
  try {
    const response = await fetch('/api/orders', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-tenant-id': tenant },
      body: JSON.stringify({ item: field('item').value, quantity: field('quantity').valueAsNumber }),
    });
    if (response.ok) {
      form.reset();
      field('item').focus();
    } else {
      problem.textContent = (await response.json()).error.message;
    }
  } catch {
    problem.textContent = 'The order desk did not answer. Try again.';
  } finally {
    button.disabled = false;
  }
  await refresh();
});

refresh();
