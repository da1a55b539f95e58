//! Recordings: what was recorded is replayed, row by row, and foreign bytes are refused.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use collector::{Recorder, RecordingError, Tables, replay};
use schemas::{
    Addr, Batch, Direction, Drop, Interface, InterfaceId, InterfaceKind, Lane, Observation,
    Protocol, TcpFlags, Tuple, UnixNanos,
};

fn lane() -> Lane {
    Lane { node: "node-a".into(), boot_id: "b00f".into(), incarnation: 7 }
}

fn tuple(port: u16) -> Tuple {
    Tuple {
        src: Addr::from(std::net::IpAddr::from(Ipv4Addr::new(10, 0, 0, 1))),
        dst: Addr::from(std::net::IpAddr::from(Ipv6Addr::LOCALHOST)),
        src_port: port,
        dst_port: 443,
        protocol: Protocol::TCP,
    }
}

fn observation(tables: &Tables, number: u16) -> Observation {
    let drop = Drop {
        reason: tables.names.intern("NETFILTER_DROP"),
        place: tables.names.intern("nft_do_chain"),
    };
    Observation {
        tuple: tuple(number),
        translated: number.is_multiple_of(2).then(|| tuple(number + 1)),
        interface: InterfaceId(3),
        interface_kind: InterfaceKind::Uplink,
        direction: Direction::Egress,
        packets: u64::from(number) + 1,
        bytes: 1 << 40,
        opened: 2,
        tcp_flags: TcpFlags(0x112),
        first: UnixNanos(5),
        last: UnixNanos(6),
        drop: number.is_multiple_of(3).then_some(drop),
    }
}

fn batches(tables: &Tables) -> Vec<Batch<Observation>> {
    let lane = Arc::new(lane());
    let batch = |from: u64, to: u64, rows| Batch {
        lane: lane.clone(),
        from: UnixNanos(from),
        to: UnixNanos(to),
        rows,
        ledger: None,
    };
    let rows = (0..100).map(|number| observation(tables, number)).collect();
    vec![batch(0, 10, rows), batch(10, 20, Vec::new()), batch(20, 30, vec![observation(tables, 1)])]
}

fn record(folder: &Path, tables: &Tables) {
    tables.interfaces.insert(Interface {
        id: InterfaceId(3),
        node: "node-a".into(),
        netns: "a".into(),
        ifindex: 9,
        name: "eth0".into(),
        kind: InterfaceKind::Uplink,
    });
    let mut recorder = Recorder::create(folder, &lane(), tables).unwrap();
    for batch in batches(tables) {
        recorder.record(&batch).unwrap();
    }
    recorder.finish().unwrap();
}

#[test]
fn a_replay_gives_what_was_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let tables = Tables::default();
    record(folder.path(), &tables);
    let replayed = Tables::default();
    // A name that is there already gives the others other numbers.
    let other = replayed.names.intern("OTHER");
    assert_eq!(&*replayed.names.get(other), "OTHER");
    let (mut source, control) = replay::open(folder.path(), 0.0, &replayed).unwrap();
    assert_eq!(*control.lane(), lane());
    assert_eq!(&*replayed.interfaces.get(InterfaceId(3)).unwrap().name, "eth0");
    for expected in batches(&tables) {
        let batch = source.blocking_next().unwrap();
        assert_eq!((batch.from, batch.to, &*batch.lane), (expected.from, expected.to, &lane()));
        assert_eq!(batch.rows.len(), expected.rows.len());
        for (row, expected) in batch.rows.iter().zip(&expected.rows) {
            assert_eq!(Observation { drop: None, ..*row }, Observation { drop: None, ..*expected });
            let names = |tables: &Tables, row: &Observation| {
                row.drop.map(|it| (tables.names.get(it.reason), tables.names.get(it.place)))
            };
            assert_eq!(names(&replayed, row), names(&tables, expected));
        }
    }
    assert!(source.blocking_next().is_none());
}

#[test]
fn a_recording_cut_off_ends_after_its_last_whole_batch() {
    let folder = tempfile::tempdir().unwrap();
    let tables = Tables::default();
    record(folder.path(), &tables);
    let path = folder.path().join("observations.arrows");
    let whole = std::fs::read(&path).unwrap();
    for kept in [whole.len() - 1, whole.len() * 3 / 4, whole.len() / 2, 40, 7, 0] {
        std::fs::write(&path, &whole[..kept]).unwrap();
        let Ok((mut source, _control)) = replay::open(folder.path(), 0.0, &tables) else {
            continue;
        };
        let mut count = 0;
        while let Some(batch) = source.blocking_next() {
            assert_eq!(batch.rows.len(), batches(&tables)[count].rows.len());
            count += 1;
        }
        assert!(count <= 3);
    }
}

#[test]
fn what_is_no_recording_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let tables = Tables::default();
    let refused = |expected: &str| {
        let error = replay::open(folder.path(), 0.0, &tables).unwrap_err().to_string();
        assert!(error.contains("observations.arrows") && error.contains(expected), "{error}");
    };
    refused("could not open");
    std::fs::write(folder.path().join("observations.arrows"), b"nonsense").unwrap();
    refused("not an Arrow stream");
    let again = Recorder::create(folder.path(), &lane(), &tables);
    assert!(matches!(again, Err(RecordingError::File { attempt: "make", .. })));
}

#[test]
fn a_stopped_replay_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let tables = Tables::default();
    record(folder.path(), &tables);
    // At this speed the first batch is due in months.
    let (mut source, control) = replay::open(folder.path(), 1e-15, &tables).unwrap();
    control.stop();
    assert!(source.blocking_next().is_none());
}
