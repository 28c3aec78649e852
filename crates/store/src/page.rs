//! A page of a list: what matches among the newest rows of a window.

use bridge_protocol::ExecutionId;
use uuid::Uuid;

use crate::rows;

/// Rows that one search looks at.
pub(crate) const WINDOW: i64 = 10_000;

/// A row that was found, counted from the window's newest.
pub(crate) trait Found {
    fn id(&self) -> Uuid;
    fn number(&self) -> i64;
    /// The window's last row comes in any case, so that the next search knows where to go on.
    fn matches(&self) -> bool;
}

pub(crate) struct Page<R> {
    pub rows: Vec<R>,
    pub partial: bool,
    pub next: Option<ExecutionId>,
}

/// `found` is in order and has one row more than the page where there is one.
pub(crate) fn page<R: Found>(found: Vec<R>, limit: u16) -> Result<Page<R>, sqlx::Error> {
    let mut page = Page { rows: Vec::with_capacity(found.len()), partial: false, next: None };
    for row in found {
        let end = (row.number() == WINDOW).then(|| row.id());
        if row.matches() {
            if page.rows.len() == usize::from(limit) {
                page.next = page.rows.last().map(|last: &R| rows::execution_id(last.id())).transpose()?;
                return Ok(page);
            }
            page.rows.push(row);
        }
        if let Some(end) = end {
            page.partial = page.rows.len() < usize::from(limit);
            page.next = Some(rows::execution_id(end)?);
        }
    }
    Ok(page)
}
