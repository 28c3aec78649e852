//! The name of a message, equal on the producing and on the consuming side.

use std::fmt;

use pulsar::proto::MessageIdData;

/// `{ledger}:{entry}:{partition}`, with `-1` for a topic without partitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(String);

impl MessageId {
    /// hazard 13: the receipt says "no partition" and the received message says "-1" for the same thing, so the
    /// library's own structs differ where the messages are the same. Only this text is ever compared.
    pub(crate) fn of(id: &MessageIdData) -> Self {
        let (ledger, entry, partition) = (id.ledger_id, id.entry_id, id.partition.unwrap_or(-1));
        match id.batch_index {
            // Only a foreign producer batches; without its index the siblings would share one name.
            Some(index) if index >= 0 => Self(format!("{ledger}:{entry}:{partition}:{index}")),
            _ => Self(format!("{ledger}:{entry}:{partition}")),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<MessageId> for String {
    fn from(id: MessageId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_saying_no_partition_are_the_same_name() {
        let receipt = MessageIdData { ledger_id: 3, entry_id: 7, ..Default::default() };
        let received = MessageIdData { partition: Some(-1), batch_index: Some(-1), ..receipt.clone() };
        assert_ne!(receipt, received);
        assert_eq!(MessageId::of(&receipt), MessageId::of(&received));
        assert_eq!(MessageId::of(&receipt).as_str(), "3:7:-1");
    }
}
