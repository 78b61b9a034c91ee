//! A Prisma schema: the URL of its data source.

use crate::url;
use poolwright_topology::hazard::{Code, Hazard, Place, Position};

/// The strings of a schema, each with where it begins. Comments have none.
fn strings(text: &str) -> Vec<(usize, &str)> {
    let mut strings = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if let Some(inner) = rest.strip_prefix('"') {
            let end = inner.find(['"', '\n']).unwrap_or(inner.len());
            strings.push((at, inner.get(..end).unwrap_or_default()));
            at += end + 2;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    strings
}

/// What is wrong with a schema.
pub(crate) fn judge(file: &str, text: &str) -> Vec<Hazard> {
    let urls = strings(text).into_iter();
    let limited = urls.filter(|(_, string)| url::limits_connections(string));
    let hazards = limited.map(|(at, _)| {
        let place = Place::new(file, Some(Position::of(text, at)));
        let message = "a URL that limits connections by connection_limit, which is ignored";
        Hazard::at(Code::ConnectionLimitInUrl, place, message)
    });
    hazards.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_data_source_is_found_and_a_comment_is_none() {
        let schema = "// \"postgres://h/d?connection_limit=1\"\ndatasource db {\n  provider = \"postgresql\"\n  \
                      url = \"postgres://h/d?connection_limit=5\" // é\n}\n\"";
        let found = judge("schema.prisma", schema);
        let lines: Vec<_> = found
            .iter()
            .map(|hazard| hazard.place.as_ref().unwrap().to_string())
            .collect();
        assert_eq!(lines, ["schema.prisma:4:9"]);
    }
}
