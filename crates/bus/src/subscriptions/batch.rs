//! Messages that a foreign producer sent as one entry.

use std::collections::{HashMap, HashSet};

use pulsar::proto::MessageIdData;

/// hazard 1: the broker keeps a batch as one entry, and the library acknowledges the whole entry when one message
/// of it is acknowledged: its siblings would be lost. Our producers never batch, but others may. So an entry is
/// acknowledged when every message in it was.
#[derive(Default)]
pub(super) struct Batches {
    acked: HashMap<(u64, u64), HashSet<i32>>,
}

impl Batches {
    /// Notes one message's acknowledgement; `Some` is what may be acknowledged at the broker now.
    pub(super) fn ack(&mut self, id: MessageIdData, batch_size: Option<i32>) -> Option<MessageIdData> {
        let (Some(size), Some(index)) = (batch_size, id.batch_index.filter(|index| *index >= 0)) else {
            return Some(id);
        };
        let entry = (id.ledger_id, id.entry_id);
        let acked = self.acked.entry(entry).or_default();
        acked.insert(index);
        // Indexes are counted by the library from what it unpacked, so there are never more than `size`.
        if i64::try_from(acked.len()).unwrap_or(i64::MAX) < i64::from(size) {
            return None;
        }
        self.acked.remove(&entry);
        Some(whole_entry(id))
    }

    /// It was acknowledged before, and came again only because a sibling was not.
    pub(super) fn is_done(&self, id: &MessageIdData) -> bool {
        id.batch_index.is_some_and(|index| {
            self.acked.get(&(id.ledger_id, id.entry_id)).is_some_and(|acked| acked.contains(&index))
        })
    }
}

/// The id that means the entry and not one message of it.
pub(super) fn whole_entry(id: MessageIdData) -> MessageIdData {
    MessageIdData { batch_index: None, batch_size: None, ack_set: Vec::new(), ..id }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sibling(index: i32) -> MessageIdData {
        MessageIdData { ledger_id: 1, entry_id: 2, batch_index: Some(index), ..Default::default() }
    }

    #[test]
    fn an_entry_is_acknowledged_with_its_last_message() {
        let mut batches = Batches::default();
        assert_eq!(batches.ack(sibling(2), Some(3)), None);
        assert_eq!(batches.ack(sibling(0), Some(3)), None);
        assert_eq!(batches.ack(sibling(0), Some(3)), None, "twice the same is not two");
        assert!(batches.is_done(&sibling(0)) && !batches.is_done(&sibling(1)));
        let entry = MessageIdData { ledger_id: 1, entry_id: 2, ..Default::default() };
        assert_eq!(batches.ack(sibling(1), Some(3)), Some(entry));
        assert!(batches.acked.is_empty());
    }

    #[test]
    fn a_message_of_its_own_is_acknowledged_at_once() {
        let plain = MessageIdData { ledger_id: 1, entry_id: 2, partition: Some(-1), ..Default::default() };
        assert_eq!(Batches::default().ack(plain.clone(), None), Some(plain.clone()));
        assert_eq!(Batches::default().ack(sibling(0), Some(1)).map(|id| id.batch_index), Some(None));
    }
}
