//! Parquet: one row per operation. [`COLUMNS`] declares each column once; schema, rows and docs/exports.md follow.
//!
//! Rows are written in groups of [`ROW_GROUP`]; memory is that of one group, whatever the recording's length.

use super::Operation;
use anyhow::Context;
use parquet::basic::{
    Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel,
};
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{ColumnPath, Type};
use std::io::Write;
use std::sync::Arc;

/// Rows that are written together.
pub const ROW_GROUP: usize = 131_072;

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nanoseconds since 1970.
    Time,
    /// UTF-8.
    Text,
    /// A number with a sign, of 32 bits.
    Int32,
    /// A number without a sign, of 32 bits.
    UInt32,
    /// A number without a sign, of 64 bits.
    UInt64,
}

impl Kind {
    /// The name that SQL has for it, as DuckDB says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Time => "TIMESTAMP_NS (UTC)",
            Self::Text => "VARCHAR",
            Self::Int32 => "INTEGER",
            Self::UInt32 => "UINTEGER",
            Self::UInt64 => "UBIGINT",
        }
    }

    fn physical(self) -> (Physical, LogicalType) {
        match self {
            Self::Time => (Physical::INT64, LogicalType::timestamp(true, TimeUnit::NANOS)),
            Self::Text => (Physical::BYTE_ARRAY, LogicalType::String),
            Self::Int32 => (Physical::INT32, LogicalType::integer(32, true)),
            Self::UInt32 => (Physical::INT32, LogicalType::integer(32, false)),
            Self::UInt64 => (Physical::INT64, LogicalType::integer(64, false)),
        }
    }
}

/// One value.
enum Cell<'a> {
    Text(&'a str),
    Signed(i32),
    Unsigned(u64),
}

/// A column.
#[derive(Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// What it says, with unit.
    pub meaning: &'static str,
    value: for<'a> fn(&'a Operation) -> Option<Cell<'a>>,
}

macro_rules! columns {
    ($($name:ident: $kind:ident = $value:expr, $meaning:literal;)*) => {
        /// Every column, in order.
        pub const COLUMNS: &[Column] = &[$(Column {
            name: stringify!($name),
            kind: Kind::$kind,
            meaning: $meaning,
            value: $value,
        }),*];
    };
}

columns! {
    start: Time = |o| o.start_ns.map(Cell::Unsigned), "when the call of NCCL began, by the clock of its host; of a graph: when its launch ended";
    end: Time = |o| o.end_ns.map(Cell::Unsigned), "when NCCL returned; of a graph: when its launch ended";
    duration_ns: UInt64 = |o| o.duration_ns.map(Cell::Unsigned), "nanoseconds that the call took on the host; the transfer goes on on the GPU. Null for an operation of a graph: no call is made for it";
    job: Text = |o| Some(Cell::Text(&o.who.job)), "`NCCLTAP_JOB` of the process, empty when unset";
    host: Text = |o| Some(Cell::Text(&o.who.host)), "host name";
    pid: UInt32 = |o| Some(Cell::Unsigned(o.who.pid.into())), "process id";
    stage: UInt32 = |o| o.who.stage.map(|stage| Cell::Unsigned(stage.into())), "pipeline stage, from 0";
    tensor_rank: UInt32 = |o| o.who.tensor_rank.map(|rank| Cell::Unsigned(rank.into())), "rank in the tensor-parallel group";
    communicator: Text = |o| o.group.as_ref()?.communicator.as_deref().map(Cell::Text), "names the communicator on all its ranks: 16 hexadecimal digits";
    group: Text = |o| o.group.as_ref()?.name.as_deref().map(Cell::Text), "the group by its role, as in reports: `tp0`, `pp1.1`";
    role: Text = |o| o.group.as_ref()?.role.map(Cell::Text), "`tensor`, `pipeline`, `data`, `expert` or `world`";
    rank: Int32 = |o| o.group.as_ref()?.rank.map(Cell::Signed), "rank in the communicator";
    ranks_in_group: UInt32 = |o| o.group.as_ref()?.ranks.map(|ranks| Cell::Unsigned(ranks.into())), "size of the communicator";
    op: Text = |o| Some(Cell::Text(o.op.name())), "NCCL's name without prefix: `AllReduce`, `Send`";
    dtype: Text = |o| o.dtype.map(|dtype| Cell::Text(dtype.name())), "NCCL's name of the data type";
    elements: UInt64 = |o| o.elements.map(Cell::Unsigned), "NCCL's count argument; null for a kernel beside NCCL that does not say it";
    peer: Int32 = |o| o.peer.map(Cell::Signed), "peer or root, as a rank of the communicator";
    path: Text = |o| Some(Cell::Text(o.path.name())), "the way the data took: `nccl`, or the kernel's, as docs/coverage.md has them";
    launch: Text = |o| Some(Cell::Text(o.launch.name())), "`eager` or `graph`";
    phase: Text = |o| Some(Cell::Text(o.phase.name())), "`prefill`, `decode`, `mixed`, `startup` or `unknown`";
    phase_source: Text = |o| o.phase_source.map(|source| Cell::Text(source.name())), "how the phase is known: docs/phases.md";
    message_bytes: UInt64 = |o| o.message_bytes.map(Cell::Unsigned), "elements x element size, as this rank stated them";
    bus_bytes: UInt64 = |o| o.bus_bytes.map(Cell::Unsigned), "bytes that this rank sends through its link at best: message bytes x the correction factor of nccl-tests";
}

/// Writes operations to a Parquet file.
pub struct Writer<W: Write + Send> {
    file: SerializedFileWriter<W>,
    rows: Vec<Operation>,
}

impl<W: Write + Send> std::fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}

impl<W: Write + Send> Writer<W> {
    /// A file with nothing in it yet.
    pub fn new(to: W) -> anyhow::Result<Self> {
        let file = SerializedFileWriter::new(to, Arc::new(schema()?), Arc::new(properties()?))?;
        Ok(Self { file, rows: Vec::new() })
    }

    /// Adds a row.
    pub fn add(&mut self, operation: &Operation) -> anyhow::Result<()> {
        self.rows.push(operation.clone());
        match self.rows.len() {
            ROW_GROUP => self.write(),
            _ => Ok(()),
        }
    }

    /// Writes what is left, and the end of the file.
    pub fn finish(mut self) -> anyhow::Result<()> {
        if !self.rows.is_empty() {
            self.write()?;
        }
        self.file.close().context("the Parquet file could not be finished")?;
        Ok(())
    }

    fn write(&mut self) -> anyhow::Result<()> {
        let mut group = self.file.next_row_group()?;
        for column in COLUMNS {
            let mut writer = group.next_column()?.context("a column has no place in the file")?;
            put(column, &self.rows, &mut writer)?;
            writer.close()?;
        }
        group.close()?;
        self.rows.clear();
        Ok(())
    }
}

/// Writes one column of a row group.
fn put(
    column: &Column,
    rows: &[Operation],
    writer: &mut SerializedColumnWriter<'_>,
) -> anyhow::Result<()> {
    let cells = || rows.iter().map(|row| (column.value)(row));
    let levels: Vec<i16> = cells().map(|cell| i16::from(cell.is_some())).collect();
    let number = |cell: Cell<'_>| match cell {
        // Parquet keeps numbers without a sign in those with one, bit by bit.
        Cell::Unsigned(number) => number as i64,
        Cell::Signed(number) => number.into(),
        Cell::Text(_) => 0,
    };
    match column.kind {
        Kind::Text => {
            let text = |cell| match cell {
                Cell::Text(text) => ByteArray::from(text),
                Cell::Unsigned(_) | Cell::Signed(_) => ByteArray::new(),
            };
            let values: Vec<_> = cells().flatten().map(text).collect();
            writer.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None)?;
        }
        Kind::Int32 | Kind::UInt32 => {
            let values: Vec<_> = cells().flatten().map(|cell| number(cell) as i32).collect();
            writer.typed::<Int32Type>().write_batch(&values, Some(&levels), None)?;
        }
        Kind::Time | Kind::UInt64 => {
            let values: Vec<_> = cells().flatten().map(number).collect();
            writer.typed::<Int64Type>().write_batch(&values, Some(&levels), None)?;
        }
    }
    Ok(())
}

fn schema() -> anyhow::Result<Type> {
    let fields = COLUMNS.iter().map(|column| {
        let (physical, logical) = column.kind.physical();
        let field = Type::primitive_type_builder(column.name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(Some(logical))
            .build();
        field.map(Arc::new)
    });
    let fields = fields.collect::<Result<Vec<_>, _>>()?;
    Ok(Type::group_type_builder("operations").with_fields(fields).build()?)
}

/// Times differ from row to row by little and are never the same: differences, no dictionary.
fn properties() -> anyhow::Result<WriterProperties> {
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("nccltap ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?));
    for column in COLUMNS.iter().filter(|c| c.kind == Kind::Time || c.name == "duration_ns") {
        let path = ColumnPath::from(column.name);
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
    }
    Ok(properties.build())
}

/// The columns, as docs/exports.md has them.
pub fn table() -> String {
    use std::fmt::Write;
    let mut text = String::from("| column | type | meaning |\n|---|---|---|\n");
    for Column { name, kind, meaning, .. } in COLUMNS {
        let _ = writeln!(text, "| `{name}` | {} | {meaning} |", kind.name());
    }
    text
}
