//! Observations as Arrow columns: one record batch for each batch. A batch without rows, a tick, is
//! one row without packets.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryBuilder, RecordBatch, StringBuilder, UInt8Builder,
    UInt16Builder, UInt32Builder, UInt64Builder,
};
use arrow::datatypes::{DataType, Field, Schema, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow::error::ArrowError;
use schemas::observation::Names;
use schemas::{
    Addr, Direction, Drop, InterfaceId, InterfaceKind, Observation, Protocol, TcpFlags, Tuple,
    UnixNanos,
};

/// Raised with every change of a column.
pub(crate) const VERSION: &str = "1";

/// The columns, in their order. Times are nanoseconds since the Unix epoch, UTC.
pub(crate) fn fields() -> Vec<Field> {
    let address = DataType::FixedSizeBinary(16);
    let field = |name: &str, kind: DataType| Field::new(name, kind, false);
    let nullable = |name: &str, kind: DataType| Field::new(name, kind, true);
    vec![
        field("from", DataType::UInt64),
        field("to", DataType::UInt64),
        field("src", address.clone()),
        field("dst", address.clone()),
        field("src_port", DataType::UInt16),
        field("dst_port", DataType::UInt16),
        field("protocol", DataType::UInt16),
        nullable("translated_src", address.clone()),
        nullable("translated_dst", address),
        nullable("translated_src_port", DataType::UInt16),
        nullable("translated_dst_port", DataType::UInt16),
        field("interface", DataType::UInt32),
        field("interface_kind", DataType::UInt8),
        field("direction", DataType::UInt8),
        field("packets", DataType::UInt64),
        field("bytes", DataType::UInt64),
        field("opened", DataType::UInt32),
        field("tcp_flags", DataType::UInt16),
        field("first", DataType::UInt64),
        field("last", DataType::UInt64),
        nullable("drop_reason", DataType::Utf8),
        nullable("drop_place", DataType::Utf8),
    ]
}

/// Builders in the order of the columns.
#[derive(Default)]
struct Builders {
    u64s: [UInt64Builder; 6],
    u32s: [UInt32Builder; 2],
    u16s: [UInt16Builder; 6],
    u8s: [UInt8Builder; 2],
    names: [StringBuilder; 2],
}

/// The record batch of a batch.
pub(crate) fn write(
    schema: Arc<Schema>,
    from: UnixNanos,
    to: UnixNanos,
    rows: &[Observation],
    names: &Names,
) -> Result<RecordBatch, ArrowError> {
    let tick = [tick(from)];
    let rows = if rows.is_empty() { &tick } else { rows };
    let mut builders = Builders::default();
    let mut addresses: [FixedSizeBinaryBuilder; 4] =
        std::array::from_fn(|_| FixedSizeBinaryBuilder::new(16));
    for row in rows {
        builders.append(from, to, row, names);
        addresses[0].append_value(row.tuple.src.0)?;
        addresses[1].append_value(row.tuple.dst.0)?;
        match row.translated {
            Some(tuple) => {
                addresses[2].append_value(tuple.src.0)?;
                addresses[3].append_value(tuple.dst.0)?;
            }
            None => addresses[2..].iter_mut().for_each(FixedSizeBinaryBuilder::append_null),
        }
    }
    RecordBatch::try_new(schema, builders.finish(addresses))
}

/// A record batch's time and rows.
pub(crate) fn read(
    batch: &RecordBatch,
    names: &Names,
) -> Result<(UnixNanos, UnixNanos, Vec<Observation>), ArrowError> {
    let known = fields();
    let is_known = |(field, known): (&Arc<Field>, &Field)| {
        field.name() == known.name() && field.data_type() == known.data_type()
    };
    let fields = batch.schema().fields().clone();
    if fields.len() != known.len() || !fields.iter().zip(&known).all(is_known) {
        return Err(ArrowError::SchemaError("other columns than a recording has".into()));
    }
    if batch.num_rows() == 0 {
        return Err(ArrowError::SchemaError("a batch without a row, and so without a time".into()));
    }
    let time =
        |column: usize| UnixNanos(batch.column(column).as_primitive::<UInt64Type>().value(0));
    let rows = (0..batch.num_rows()).map(|row| observation(batch, row, names));
    let rows = rows.filter(|row| row.packets > 0).collect();
    Ok((time(0), time(1), rows))
}

// === impl Builders ===

impl Builders {
    fn append(&mut self, from: UnixNanos, to: UnixNanos, row: &Observation, names: &Names) {
        let u64s = [from.0, to.0, row.packets, row.bytes, row.first.0, row.last.0];
        self.u64s.iter_mut().zip(u64s).for_each(|(builder, value)| builder.append_value(value));
        let u32s = [row.interface.0, row.opened];
        self.u32s.iter_mut().zip(u32s).for_each(|(builder, value)| builder.append_value(value));
        let tuple = &row.tuple;
        let u16s = [
            Some(tuple.src_port),
            Some(tuple.dst_port),
            Some(tuple.protocol.0),
            row.translated.map(|it| it.src_port),
            row.translated.map(|it| it.dst_port),
            Some(row.tcp_flags.0),
        ];
        self.u16s.iter_mut().zip(u16s).for_each(|(builder, value)| builder.append_option(value));
        let u8s = [
            u8::from(row.interface_kind == InterfaceKind::Uplink),
            u8::from(row.direction == Direction::Egress),
        ];
        self.u8s.iter_mut().zip(u8s).for_each(|(builder, value)| builder.append_value(value));
        let drop = row.drop.map(|drop| [names.get(drop.reason), names.get(drop.place)]);
        for (index, builder) in self.names.iter_mut().enumerate() {
            builder.append_option(drop.as_ref().map(|drop| &*drop[index]));
        }
    }

    fn finish(mut self, addresses: [FixedSizeBinaryBuilder; 4]) -> Vec<ArrayRef> {
        let [mut src, mut dst, mut to_src, mut to_dst] = addresses;
        let [from, to, packets, bytes, first, last] = &mut self.u64s;
        let [interface, opened] = &mut self.u32s;
        let [src_port, dst_port, protocol, to_src_port, to_dst_port, flags] = &mut self.u16s;
        let [kind, direction] = &mut self.u8s;
        let [reason, place] = &mut self.names;
        vec![
            Arc::new(from.finish()),
            Arc::new(to.finish()),
            Arc::new(src.finish()),
            Arc::new(dst.finish()),
            Arc::new(src_port.finish()),
            Arc::new(dst_port.finish()),
            Arc::new(protocol.finish()),
            Arc::new(to_src.finish()),
            Arc::new(to_dst.finish()),
            Arc::new(to_src_port.finish()),
            Arc::new(to_dst_port.finish()),
            Arc::new(interface.finish()),
            Arc::new(kind.finish()),
            Arc::new(direction.finish()),
            Arc::new(packets.finish()),
            Arc::new(bytes.finish()),
            Arc::new(opened.finish()),
            Arc::new(flags.finish()),
            Arc::new(first.finish()),
            Arc::new(last.finish()),
            Arc::new(reason.finish()),
            Arc::new(place.finish()),
        ]
    }
}

/// One row; the columns are known to be of their kinds.
fn observation(batch: &RecordBatch, row: usize, names: &Names) -> Observation {
    let u64_at = |column: usize| batch.column(column).as_primitive::<UInt64Type>().value(row);
    let u32_at = |column: usize| batch.column(column).as_primitive::<UInt32Type>().value(row);
    let u16_at = |column: usize| batch.column(column).as_primitive::<UInt16Type>().value(row);
    let u8_at = |column: usize| batch.column(column).as_primitive::<UInt8Type>().value(row);
    let address = |column: usize| {
        let bytes = batch.column(column).as_fixed_size_binary().value(row);
        Addr(bytes.try_into().unwrap_or_default())
    };
    let name = |column: usize| names.intern(batch.column(column).as_string::<i32>().value(row));
    let is_there = |column: usize| batch.column(column).is_valid(row);
    let protocol = Protocol(u16_at(6));
    let tuple = |src: usize, port: usize| Tuple {
        src: address(src),
        dst: address(src + 1),
        src_port: u16_at(port),
        dst_port: u16_at(port + 1),
        protocol,
    };
    let is_translated = (7..11).all(is_there);
    let is_drop = is_there(20) && is_there(21);
    Observation {
        tuple: tuple(2, 4),
        translated: is_translated.then(|| tuple(7, 9)),
        interface: InterfaceId(u32_at(11)),
        interface_kind: if u8_at(12) == 0 { InterfaceKind::Pod } else { InterfaceKind::Uplink },
        direction: if u8_at(13) == 0 { Direction::Ingress } else { Direction::Egress },
        packets: u64_at(14),
        bytes: u64_at(15),
        opened: u32_at(16),
        tcp_flags: TcpFlags(u16_at(17)),
        first: UnixNanos(u64_at(18)),
        last: UnixNanos(u64_at(19)),
        drop: is_drop.then(|| Drop { reason: name(20), place: name(21) }),
    }
}

fn tick(at: UnixNanos) -> Observation {
    Observation {
        tuple: Tuple::default(),
        translated: None,
        interface: InterfaceId(0),
        interface_kind: InterfaceKind::Uplink,
        direction: Direction::Ingress,
        packets: 0,
        bytes: 0,
        opened: 0,
        tcp_flags: TcpFlags::default(),
        first: at,
        last: at,
        drop: None,
    }
}
