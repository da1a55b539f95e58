//! What a collector's batches add up to.

use std::collections::HashMap;
use std::path::Path;

use schemas::{
    Addr, Batch, Direction, InterfaceId, Ledger, Observation, Protocol, Tuple, UnixNanos,
};

use crate::world::{PATIENCE, Running, inside, run};

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// All batches so far, and their sums.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) rows: Vec<Observation>,
    pub(crate) batches: u64,
    pub(crate) drains: u64,
    pub(crate) ledger: Ledger,
    pub(crate) until: Option<UnixNanos>,
}

impl Seen {
    /// Adds a batch, and checks what holds of every batch.
    pub(crate) fn add(&mut self, batch: Batch<Observation>) {
        let Batch { from, to, rows, ledger, .. } = batch;
        assert!(from <= to);
        if let Some(until) = self.until {
            assert!(from == until || self.rows_are_of(from, to), "a gap between two batches");
        }
        for row in &rows {
            assert!(row.first >= from && row.first <= row.last && row.last <= to, "{row:?}");
            assert!(row.packets > 0, "{row:?}");
        }
        self.batches += 1;
        self.rows.extend(rows);
        if let Some(ledger) = ledger {
            self.ledger = (*ledger).clone();
            self.drains += 1;
            self.until = Some(to);
        }
    }

    fn rows_are_of(&self, from: UnixNanos, to: UnixNanos) -> bool {
        self.until.is_none_or(|until| until <= from && from <= to)
    }

    /// Reads batches until something holds of the sums.
    pub(crate) fn read_until(
        &mut self,
        running: &mut Running,
        mut holds: impl FnMut(&Self) -> bool,
    ) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let mut left = 600;
        while !holds(self) {
            let next = async { tokio::time::timeout(PATIENCE, running.source.next()).await };
            let batch = runtime.block_on(next).expect("a batch in time");
            self.add(batch.expect("the collector goes on"));
            left -= 1;
            assert!(left > 0, "it does not come to hold: {:#?}", self.by_interface());
        }
    }

    /// Reads so many drains.
    pub(crate) fn read_drains(&mut self, running: &mut Running, count: u64) {
        let until = self.drains + count;
        self.read_until(running, |seen| seen.drains >= until);
    }

    /// Reads until what was seen of these interfaces equals their own counters.
    pub(crate) fn read_until_exact(&mut self, running: &mut Running, wanted: &[(&str, &str)]) {
        for _ in 0..100 {
            self.read_drains(running, 1);
            if wanted.iter().all(|(node, name)| equals_counters(self, running, node, name)) {
                return;
            }
        }
        for (node, name) in wanted {
            let (seen, own) = (self.by_interface(), counters(node, name));
            println!("{node}/{name}: its counters {own:?}, seen {seen:?}");
        }
        panic!("what was seen does not come to equal the interfaces' counters");
    }

    /// Stops the collector and reads what is left.
    pub(crate) fn finish(&mut self, running: Running) {
        let Running { mut source, control, .. } = running;
        control.stop();
        while let Some(batch) = source.blocking_next() {
            self.add(batch);
        }
        control.join();
    }

    /// What passed each hook.
    pub(crate) fn by_interface(&self) -> HashMap<(InterfaceId, Direction), Carried> {
        let mut sums: HashMap<_, Carried> = HashMap::new();
        for row in self.rows.iter().filter(|row| row.drop.is_none()) {
            let sum = sums.entry((row.interface, row.direction)).or_default();
            sum.packets += row.packets;
            sum.bytes += row.bytes;
        }
        sums
    }

    /// Rows that passed, of a protocol.
    pub(crate) fn of(&self, protocol: Protocol) -> impl Iterator<Item = &Observation> {
        self.rows.iter().filter(move |row| row.drop.is_none() && row.tuple.protocol == protocol)
    }

    /// Rows with this tuple, as one.
    pub(crate) fn sum_of(&self, tuple: &Tuple, direction: Direction) -> Carried {
        let mut sum = Carried::default();
        let is_it = |row: &&Observation| {
            row.drop.is_none() && row.tuple == *tuple && row.direction == direction
        };
        for row in self.rows.iter().filter(is_it) {
            sum.packets += row.packets;
            sum.bytes += row.bytes;
        }
        sum
    }

    /// Connections opened, by interface and direction.
    pub(crate) fn opened(&self, interface: InterfaceId, direction: Direction) -> u64 {
        let at = |row: &&Observation| {
            row.drop.is_none() && row.interface == interface && row.direction == direction
        };
        self.rows.iter().filter(at).map(|row| u64::from(row.opened)).sum()
    }
}

/// The number of an interface.
pub(crate) fn id_of(running: &Running, node: &str, name: &str) -> InterfaceId {
    let interfaces = running.tables.interfaces.all();
    let found = interfaces.iter().find(|it| &*it.netns == node && &*it.name == name);
    found.unwrap_or_else(|| panic!("{node}/{name} is watched: {interfaces:#?}")).id
}

/// An interface's own counters, as (ingress, egress) of the node.
pub(crate) fn counters(node: &str, name: &str) -> (Carried, Carried) {
    let text = run(&format!("ip -n {node} -s -j link show dev {name}"));
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let side = |way: &str| {
        let number = |field: &str| value[0]["stats64"][way][field].as_u64().expect("a counter");
        Carried { packets: number("packets"), bytes: number("bytes") }
    };
    (side("rx"), side("tx"))
}

/// Whether what was seen of an interface, with what it had carried before, equals its own counters, which are read first, so that
/// what comes meanwhile makes a difference and not an accident.
pub(crate) fn equals_counters(seen: &Seen, running: &Running, node: &str, name: &str) -> bool {
    let (ingress, egress) = counters(node, name);
    let id = id_of(running, node, name);
    let sums = seen.by_interface();
    let report = running.control.report();
    let hooks = report.interfaces.iter().find(|it| it.interface.id == id).map(|it| &it.hooks);
    let of = |direction| {
        let sum = sums.get(&(id, direction)).copied().unwrap_or_default();
        let hook = hooks.and_then(|hooks| hooks.iter().find(|it| it.direction == direction));
        let before = hook.map_or_else(Default::default, |it| it.before);
        Carried { packets: sum.packets + before.packets, bytes: sum.bytes + before.bytes }
    };
    of(Direction::Ingress) == ingress && of(Direction::Egress) == egress
}

/// An address.
pub(crate) fn addr(text: &str) -> Addr {
    text.parse::<std::net::IpAddr>().expect("an address").into()
}

/// Writes to a namespace's own file of /proc.
pub(crate) fn sysctl(netns: &str, path: &str, value: &str) {
    let path = Path::new("/proc/sys").join(path);
    inside(netns, || std::fs::write(&path, value).expect("root may write"));
}
