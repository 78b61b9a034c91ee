//! What a lock is called: the same text on both stacks, proven by `fixtures/lock/names.json`.

use std::fmt;

/// Sets locks apart that would otherwise meet: a process that is given another one does not see the others'.
/// For tests that need an intruder, and for hosts where two different servers are reached by one address.
pub(crate) const NAMESPACE: &str = "POOLWRIGHT_LOCK_NAMESPACE";

/// The name of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockName(String);

impl LockName {
    /// The lock of `executor_id` where its work lives in `store` (`host:port/database`).
    ///
    /// The id stands in it for people who look at `/proc/net/unix`; the rest is hashed, because a name has
    /// room for 107 bytes and an executor id takes up to 63 of them.
    #[must_use]
    pub fn of(executor_id: &str, store: &str, namespace: &str) -> Self {
        let hash = fnv1a(&format!("{namespace}\n{executor_id}\n{store}"));
        Self(format!("poolwright/executor/{executor_id}/{hash:016x}"))
    }

    /// The same, with the namespace that the environment says.
    #[must_use]
    pub fn here(executor_id: &str, store: &str) -> Self {
        let namespace = std::env::var(NAMESPACE).unwrap_or_default();
        Self::of(executor_id, store, &namespace)
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// FNV-1a, 64 bits: a few lines in either language, and nobody gains from a collision.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn names_are_those_that_the_node_stack_reads_too() {
        let fixture = include_str!("../../../fixtures/lock/names.json");
        let examples: Vec<Value> = serde_json::from_str(fixture).unwrap();
        assert!(examples.len() > 2);
        for example in examples {
            let text = |key: &str| example[key].as_str().unwrap();
            let name = LockName::of(text("executor_id"), text("store"), text("namespace"));
            assert_eq!(name.to_string(), text("name"));
        }
    }

    #[test]
    fn id_store_and_namespace_each_make_another_lock() {
        let name = LockName::of("web-0", "db:5432/dbos", "");
        assert_ne!(name, LockName::of("web-1", "db:5432/dbos", ""));
        assert_ne!(name, LockName::of("web-0", "db:5433/dbos", ""));
        assert_ne!(name, LockName::of("web-0", "db:5432/dbos", "other"));
    }
}
