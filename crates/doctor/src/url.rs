//! URLs that are told how many connections a pool may have, which nobody reads any more.

/// Prisma 6's way to say a pool's size.
pub(crate) const PARAMETER: &str = "connection_limit";

/// Whether a text is a URL with that parameter, or the part of one that a program adds.
pub(crate) fn limits_connections(text: &str) -> bool {
    // A sentence about it is no URL.
    let is_one_word = !text.contains(char::is_whitespace);
    let mut parameters = text.split(['?', '&']).skip(1);
    is_one_word
        && parameters.any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            name == PARAMETER && !value.is_empty()
        })
}

#[cfg(test)]
mod tests {
    use super::limits_connections;

    #[test]
    fn urls_and_their_parts_are_told_from_sentences() {
        for text in [
            "postgres://u:p@h/d?connection_limit=5",
            "postgresql://h/d?sslmode=require&connection_limit=$1",
            "?connection_limit=1",
            "&connection_limit=3&pool_timeout=0",
            "{url}&connection_limit={}",
        ] {
            assert!(limits_connections(text), "{text}");
        }
        for text in [
            "postgres://u:p@h/d",
            "connection_limit",
            "no ?connection_limit=5 in a URL",
            "?connection_limits=5",
            "?connection_limit=",
        ] {
            assert!(!limits_connections(text), "{text}");
        }
    }
}
