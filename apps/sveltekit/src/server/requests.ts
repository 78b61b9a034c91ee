/** What comes in over HTTP, checked at the door. */
import { badRequest } from './errors.ts';

export interface NewOrder {
	readonly item: string;
	readonly quantity: number;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export function isUuid(text: string): boolean {
	return UUID.test(text);
}

/** A tenant as given (header, field, query), null where none is. Throws for anything but a UUID. */
export function readTenant(found: string | null, where: string): string | null {
	if (found === null) return null;
	if (!isUuid(found)) throw badRequest(`${where}: found ${JSON.stringify(found)}, expected a UUID`);
	return found.toLowerCase();
}

/** The tenant of an API request. */
export function tenantOf(request: Request): string | null {
	return readTenant(request.headers.get('x-tenant-id'), 'x-tenant-id');
}

/** The limits are the table's CHECK constraints. */
export function readNewOrder(body: unknown): NewOrder {
	if (typeof body !== 'object' || body === null || Array.isArray(body)) {
		throw badRequest('body: expected {"item": text, "quantity": number}');
	}
	const { item, quantity } = body as Record<string, unknown>;
	if (typeof item !== 'string' || item.includes('\0') || !within([...item.trim()].length, 1, 200)) {
		throw badRequest('item: expected a text of 1 to 200 characters');
	}
	if (typeof quantity !== 'number' || !Number.isInteger(quantity) || !within(quantity, 1, 1000)) {
		throw badRequest(`quantity: found ${JSON.stringify(quantity) ?? 'nothing'}, expected a whole number from 1 to 1000`);
	}
	return { item: item.trim(), quantity };
}

function within(value: number, min: number, max: number): boolean {
	return value >= min && value <= max;
}
