//! "Did you mean": the known word that is nearest to an unknown one.

/// The nearest of `known`, where one is near enough to be what was meant.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // Distance is quadratic in length, and nobody meant a word of a thousand letters.
    if word.len() > LONGEST {
        return None;
    }
    let wanted = folded(word);
    known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(&wanted, &folded(known)), known))
        .filter(|(distance, known)| *distance <= word.len().max(known.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// "did you mean `x`?", or all there is to choose from.
pub(super) fn help(word: &str, known: &[&str]) -> String {
    if let Some(nearest) = nearest(word, known.iter().copied()) {
        return format!("did you mean `{nearest}`?");
    }
    match known {
        [] => "remove it".to_owned(),
        [only] => format!("write `{only}`"),
        several => format!("write one of `{}`", several.join("`, `")),
    }
}

/// Case and the choice between `-` and `_` are never what tells two words apart.
fn folded(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
}

const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let known = ["protocol", "proxy_protocol", "origin_direct", "dns"];
        for (word, meant) in [
            ("protocl", Some("protocol")),
            ("Protocol", Some("protocol")),
            ("origin-direct", Some("origin_direct")),
            ("orgin_driect", Some("origin_direct")),
            ("dsn", Some("dns")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(1 << 20), known), None);
    }
}
