//! The document as one HTML page that loads nothing else.

const PAGE: &str = include_str!("page.html");
const PLACE: &str = "\"the document\"";

pub fn page() -> String {
    // Inside a script element, "<" could end it.
    let document = super::document().to_string().replace('<', "\\u003c");
    PAGE.replace(PLACE, &document)
}
