//! What must be seen: every claim about the order desk, on both stacks, under both process managers.
//!
//! Each test has a Postgres, a port and state directories of its own, all of them gone afterwards.

mod blackhole;
mod bound;
mod chaos;
mod clock;
mod cold_start;
mod collected;
mod doctor;
mod dotenv;
mod enforce;
mod environment;
mod exported;
mod foreign;
mod full_disk;
mod identity;
mod identity_lock;
mod interruptions;
mod life;
mod metrics;
mod orphans;
mod outages;
mod page;
mod plan;
mod recover;
mod releases;
mod reload;
mod shown;
mod starved;
mod tenants;
mod top;
mod traced;
mod tune;
mod verify;
