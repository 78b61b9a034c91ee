//! What `doctor --static` takes for a large TypeScript project, and for one of half its size.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use poolwright_testkit::built;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;

use crate::report::say;

/// Files of both projects; the second is what a large company's application has.
pub(crate) const SIZES: [usize; 2] = [5_000, 10_000];
/// How often each is examined, after once that is not counted: then the files are in the system's cache.
pub(crate) const RUNS: usize = 9;
/// Every so many'th module is a route.
const ROUTES: usize = 10;
/// Every so many'th route opens a pool for each request, through a helper two modules away.
const BROKEN: usize = 25;

/// What one size took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Examined {
    pub(crate) files: usize,
    pub(crate) mib: f64,
    /// Hazards that were built in; all are found.
    pub(crate) hazards: usize,
    /// From the command to its end, every run.
    pub(crate) seconds: Vec<f64>,
}

/// Both sizes, by turns: what else the machine does meets both.
pub(crate) fn examine() -> Result<Vec<Examined>> {
    let mut projects = Vec::new();
    for files in SIZES {
        projects.push(Project::generate(files)?);
    }
    for round in 0..=RUNS {
        for project in &mut projects {
            let took = project.examine()?;
            if round > 0 {
                project.examined.seconds.push(took);
            }
        }
    }
    let examined: Vec<Examined> = projects.into_iter().map(|p| p.examined).collect();
    for size in &examined {
        say(&format!("{size:?}"));
    }
    Ok(examined)
}

struct Project {
    folder: TempDir,
    examined: Examined,
}

impl Project {
    /// A SvelteKit application of so many files.
    fn generate(files: usize) -> Result<Self> {
        let folder = TempDir::new()?;
        let root = folder.path();
        let mut written = Written::default();
        written.file(&root.join("package.json"), PACKAGE)?;
        written.file(&root.join("src/server/db.ts"), DB)?;
        written.file(&root.join("src/server/dbos/init.ts"), INIT)?;
        let mut hazards = 0;
        // Three files are there; a broken route is one with its helper.
        let mut number = 0;
        while written.files < files {
            let area = root.join(format!("src/lib/area{}", number / 200));
            if number % ROUTES == 0 {
                let is_broken =
                    (number / ROUTES).is_multiple_of(BROKEN) && written.files + 2 <= files;
                let route = root.join(format!("src/routes/r{number}/+server.ts"));
                written.file(&route, &route_text(number, is_broken))?;
                if is_broken {
                    hazards += 1;
                    written.file(&area.join(format!("opened{number}.ts")), OPENED)?;
                }
            } else {
                let module = area.join(format!("m{number}.ts"));
                written.file(&module, &module_text(number))?;
            }
            number += 1;
        }
        let examined = Examined {
            files: written.files,
            mib: f64::from(u32::try_from(written.bytes)?) / f64::from(1 << 20),
            hazards,
            seconds: Vec::new(),
        };
        Ok(Self { folder, examined })
    }

    /// Runs the command once, and sees that it found what there is; answers with how long it took.
    fn examine(&self) -> Result<f64> {
        let mut command = Command::new(built::program("poolwright")?);
        command
            .args(["doctor", "--static", "--json"])
            .arg(self.folder.path())
            .env_clear();
        let begin = Instant::now();
        let output = command.output().context("running poolwright doctor")?;
        let took = begin.elapsed().as_secs_f64();
        let report: Value = serde_json::from_slice(&output.stdout)?;
        let found = report["findings"].as_array().map_or(0, Vec::len);
        ensure!(
            found == self.examined.hazards && report["files"] == self.examined.files,
            "{found} hazards in {} files, expected {:?}",
            report["files"],
            self.examined
        );
        Ok(took)
    }
}

#[derive(Default)]
struct Written {
    files: usize,
    bytes: usize,
}

impl Written {
    fn file(&mut self, path: &Path, text: &str) -> Result<()> {
        fs::create_dir_all(path.parent().context("a folder")?)?;
        fs::write(path, text)?;
        self.files += 1;
        self.bytes += text.len();
        Ok(())
    }
}

const PACKAGE: &str = r#"{
	"name": "large",
	"type": "module",
	"dependencies": { "@dbos-inc/dbos-sdk": "5.3.0", "pg": "8.23.1" },
	"devDependencies": { "@sveltejs/kit": "3.2.0", "vite": "^8.0.0" }
}
"#;

const DB: &str = "import pg from 'pg';

const POOL = Symbol.for('large.pool');
const globals = globalThis as { [POOL]?: pg.Pool };

function open(): pg.Pool {
	const pool = new pg.Pool({ max: 3, connectionTimeoutMillis: 5000 });
	pool.on('error', (error) => console.warn(error));
	return pool;
}

export function pool(): pg.Pool {
	return (globals[POOL] ??= open());
}
";

const INIT: &str = "import { DBOS } from '@dbos-inc/dbos-sdk';

const EXECUTOR = Symbol.for('large.dbos');
const globals = globalThis as { [EXECUTOR]?: Promise<void> };

export function ensureDbosLaunched(): Promise<void> {
	return (globals[EXECUTOR] ??= launch());
}

async function launch(): Promise<void> {
	DBOS.setConfig({ name: 'large', runMigrations: false });
	await DBOS.launch();
}
";

const OPENED: &str = "import { Pool } from 'pg';

function opened(): Pool {
	const pool = new Pool({ max: 3, connectionTimeoutMillis: 5000 });
	pool.on('error', () => {});
	return pool;
}

export const report = async () => (await opened().query('SELECT 1')).rows;
";

fn route_text(number: usize, is_broken: bool) -> String {
    let area = number / 200;
    let (import, call) = match is_broken {
        true => (
            format!("import {{ report }} from '$lib/area{area}/opened{number}';\n"),
            "\tawait report();\n",
        ),
        false => (String::new(), ""),
    };
    let next = number + 1;
    format!(
        "import {{ json, error }} from '@sveltejs/kit';
import {{ pool }} from '../../server/db';
import {{ total{next} }} from '$lib/area{area}/m{next}';
{import}
interface Query {{
	readonly from: string;
	readonly limit: number;
}}

function queryOf(url: URL): Query {{
	const limit = Number(url.searchParams.get('limit') ?? 50);
	if (!Number.isInteger(limit) || limit < 1) throw error(400, 'limit: expected a whole number from 1');
	return {{ from: url.searchParams.get('from') ?? '', limit }};
}}

export async function GET({{ url }}: {{ url: URL }}) {{
{call}	const {{ from, limit }} = queryOf(url);
	const {{ rows }} = await pool().query('SELECT id, price FROM items WHERE id > $1 ORDER BY id LIMIT $2', [from, limit]);
	return json({{ rows, total: total{next}(rows) }});
}}

export async function POST({{ request }}: {{ request: Request }}) {{
	const items: unknown[] = await request.json();
	for (const item of items) {{
		await pool().query('INSERT INTO items (body) VALUES ($1)', [JSON.stringify(item)]);
	}}
	return json({{ placed: items.length }}, {{ status: 202 }});
}}
"
    )
}

/// A module as they are: types, functions, a class, imports from its neighbours.
fn module_text(number: usize) -> String {
    let neighbours = [number.saturating_sub(1), number.saturating_sub(2)]
        .into_iter()
        .filter(|other| other % ROUTES != 0 && other / 200 == number / 200 && *other != number);
    let mut text = String::from("import type { Readable } from 'svelte/store';\n");
    for other in neighbours {
        // `write!` to a String cannot fail.
        let _infallible = writeln!(
            text,
            "import {{ total{other}, Basket{other} }} from './m{other}';"
        );
        let _infallible = writeln!(
            text,
            "export const with{other} = (items: readonly Item[]) => total{other}(items) + new Basket{other}(items).total;"
        );
    }
    text.push_str(
        "
export interface Item {
	readonly id: string;
	readonly price: number;
	readonly tags?: readonly string[];
}

/** What a basket may become. */
export type State = { kind: 'open'; items: Item[] } | { kind: 'placed'; at: Date } | { kind: 'failed'; why: string };

const DISCOUNTS: Readonly<Record<string, number>> = { few: 0, some: 0.05, many: 0.1 };
",
    );
    let _infallible = write!(
        text,
        "
export function total{number}(items: readonly Item[]): number {{
	return items.map((item) => item.price).reduce((sum, price) => sum + price, 0);
}}

export class Basket{number} {{
	#items: Item[] = [];
	readonly #listeners = new Set<(state: State) => void>();

	constructor(items: readonly Item[] = []) {{
		for (const item of items) this.add(item);
	}}

	get total(): number {{
		const discount = DISCOUNTS[this.#items.length > 10 ? 'many' : this.#items.length > 3 ? 'some' : 'few'] ?? 0;
		return total{number}(this.#items) * (1 - discount);
	}}

	add(item: Item): this {{
		if (this.#items.some(({{ id }}) => id === item.id)) throw new Error(`${{item.id}} is in the basket already`);
		this.#items = [...this.#items, item];
		this.#tell({{ kind: 'open', items: this.#items }});
		return this;
	}}

	onChange(listener: (state: State) => void): () => void {{
		this.#listeners.add(listener);
		return () => this.#listeners.delete(listener);
	}}

	async place(send: (items: readonly Item[]) => Promise<Response>): Promise<State> {{
		try {{
			const response = await send(this.#items);
			if (!response.ok) return {{ kind: 'failed', why: `${{response.status}}: ${{await response.text()}}` }};
			const state: State = {{ kind: 'placed', at: new Date() }};
			this.#tell(state);
			return state;
		}} catch (error) {{
			return {{ kind: 'failed', why: error instanceof Error ? error.message : String(error) }};
		}}
	}}

	#tell(state: State): void {{
		for (const listener of this.#listeners) listener(state);
	}}
}}

export const store{number}: Readable<State> = {{
	subscribe(run) {{
		const basket = new Basket{number}();
		run({{ kind: 'open', items: [] }});
		return basket.onChange(run);
	}}
}};
"
    );
    text
}
