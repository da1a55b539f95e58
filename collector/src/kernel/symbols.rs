//! Names of kernel functions by address, from `/proc/kallsyms`.

use std::fs::File;
use std::io::{BufRead, BufReader};

use rustc_hash::FxHashMap;
use schemas::observation::{NameId, Names};

/// Addresses that are remembered; later ones read `other`.
const PLACES_MAX: usize = 8_192;

/// The functions in which packets were dropped so far.
#[derive(Debug)]
pub(crate) struct Symbols {
    names: Names,
    known: FxHashMap<u64, NameId>,
}

// === impl Symbols ===

impl Symbols {
    pub(crate) fn new(names: Names) -> Self {
        Self { names, known: FxHashMap::default() }
    }

    /// Finds the functions that hold these addresses; the table is read only for new ones.
    pub(crate) fn resolve(&mut self, addresses: impl Iterator<Item = u64>) {
        let is_new = |address: &u64| !self.known.contains_key(address);
        let mut wanted: Vec<u64> = addresses.filter(is_new).collect();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            return;
        }
        let found = match File::open("/proc/kallsyms") {
            Ok(file) => search(BufReader::new(file), &wanted),
            Err(_) => Vec::new(),
        };
        for (index, address) in wanted.into_iter().enumerate() {
            let name = found.get(index).map_or("unknown", |(_, name)| name);
            let name = if self.known.len() < PLACES_MAX { name } else { "other" };
            let id = self.names.intern(if name.is_empty() { "unknown" } else { name });
            if self.known.len() < PLACES_MAX {
                self.known.insert(address, id);
            }
        }
    }

    /// The function's name.
    pub(crate) fn place(&self, address: u64) -> NameId {
        self.known.get(&address).copied().unwrap_or_else(|| self.names.intern("other"))
    }
}

/// For each address, in order, the nearest symbol at or below it. Lines are
/// `ffffffff81000000 T name [module]`; addresses read 0 for those who may not see them.
fn search(lines: impl BufRead, wanted: &[u64]) -> Vec<(u64, String)> {
    let mut best = vec![(0, String::new()); wanted.len()];
    for line in lines.lines().map_while(Result::ok) {
        let mut words = line.split_ascii_whitespace();
        let (Some(address), Some(_), Some(name)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let Ok(address) = u64::from_str_radix(address, 16) else { continue };
        if address == 0 {
            continue;
        }
        // Every wanted address at or above this symbol may be inside it.
        let from = wanted.partition_point(|wanted| *wanted < address);
        for nearest in &mut best[from..] {
            if nearest.0 >= address {
                break;
            }
            *nearest = (address, name.to_owned());
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_the_nearest_symbol_below_it() {
        let table = "0000000000000100 T first\n0000000000000300 t third [nf_tables]\n\
                     broken\n0000000000000200 T second\n0000000000000000 T hidden\n";
        let found = search(table.as_bytes(), &[0x50, 0x1ff, 0x2ff, 0x300]);
        let names: Vec<&str> = found.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["", "first", "second", "third"]);
    }
}
