//! The files of ids: 32 bytes a record, so that 10,000 a second cost next to nothing.
//!
//! | bytes  | accepted file                          | seen file               |
//! |--------|----------------------------------------|-------------------------|
//! | 0..16  | execution id                           | execution id            |
//! | 16..24 | when the request was due, unix µs (LE) | when it arrived, unix µs |
//! | 24..32 | when its 202 was read, unix µs (LE)    | attempt                 |

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::Context;
use uuid::Uuid;

pub const LEN: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub id: Uuid,
    pub at: u64,
    /// The 202's time in the accepted file, the attempt in the seen file.
    pub more: u64,
}

impl Record {
    fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..16].copy_from_slice(self.id.as_bytes());
        bytes[16..24].copy_from_slice(&self.at.to_le_bytes());
        bytes[24..].copy_from_slice(&self.more.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; LEN]) -> Self {
        let mut id = [0; 16];
        let (mut at, mut more) = ([0; 8], [0; 8]);
        id.copy_from_slice(&bytes[..16]);
        at.copy_from_slice(&bytes[16..24]);
        more.copy_from_slice(&bytes[24..]);
        Self { id: Uuid::from_bytes(id), at: u64::from_le_bytes(at), more: u64::from_le_bytes(more) }
    }
}

/// Appends records through a buffer; the owner flushes it at a steady pace.
pub struct Writer {
    file: BufWriter<File>,
}

impl Writer {
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { file: BufWriter::with_capacity(16 * 1024, file) })
    }

    pub fn push(&mut self, record: &Record) -> std::io::Result<()> {
        self.file.write_all(&record.encode())
    }

    pub fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Reads a file that may still grow: each call returns what is new.
pub struct Tail {
    file: File,
    read: u64,
}

impl Tail {
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { file, read: 0 })
    }

    pub fn read(&mut self) -> anyhow::Result<Vec<Record>> {
        self.file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes)?;
        let (records, _partial) = bytes.as_chunks::<LEN>();
        self.read += (records.len() * LEN) as u64;
        Ok(records.iter().map(Record::decode).collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_tail_reads_only_what_is_new_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ids");
        let record = |n: u128| Record { id: Uuid::from_u128(n), at: 7, more: 9 };
        let mut writer = Writer::create(&path).unwrap();
        let mut tail = Tail::open(&path).unwrap();
        writer.push(&record(1)).unwrap();
        writer.flush().unwrap();
        assert_eq!(tail.read().unwrap(), [record(1)]);
        writer.push(&record(2)).unwrap();
        writer.file.write_all(&[1, 2, 3]).unwrap();
        writer.flush().unwrap();
        assert_eq!(tail.read().unwrap(), [record(2)]);
        assert_eq!(tail.read().unwrap(), []);
    }
}
