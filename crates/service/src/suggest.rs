//! "did you mean": the nearest known name to a mistyped one.

/// ` (did you mean ...?)`, or nothing when no name is close.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    closest(word, known).map_or_else(String::new, |name| format!(" (did you mean {name}?)"))
}

/// The known name that is nearest to `word`, if it is near at all.
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Comparing costs the product of the lengths; nobody mistypes a name by hundreds of letters.
    if word.len() > 100 {
        return None;
    }
    let word = word.to_ascii_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(&word, &name.to_ascii_lowercase()), name))
        .filter(|(nearness, _)| *nearness >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_names_are_suggested() {
        let known = ["workflow_id", "payload", "idempotency_key"];
        assert_eq!(closest("workflowId", known), Some("workflow_id"));
        assert_eq!(closest("paylod", known), Some("payload"));
        assert_eq!(closest("colour", known), None);
        assert_eq!(did_you_mean("Payload", known), " (did you mean payload?)");
    }
}
