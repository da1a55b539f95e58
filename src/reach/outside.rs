//! What a row may open to addresses outside the cluster, and they to it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use policy::{Party, Reach};
use schemas::{Endpoint, Handle};

use super::ways::connections;
use super::{Pair, Row};
use crate::objects::Described;

/// Addresses that every policy treats alike: first and last.
pub(super) type Region = (IpAddr, IpAddr);

/// A pair for each range of addresses and direction; neighbours that behave alike are one range.
pub(super) fn with(described: &Described, row: &Row) -> Vec<Pair> {
    let Some(member) = row.members.first() else { return Vec::new() };
    let mut pairs = Vec::new();
    for is_v4 in [true, false] {
        let own = member.addresses.iter().copied().find(|addr| addr.is_v4() == is_v4);
        if own.is_none() && !(member.addresses.is_empty() && is_v4) {
            continue;
        }
        let own = Party { addr: own, endpoint: member };
        let regions = regions(&described.nets, is_v4);
        for (range, connections) in
            merged(&regions, |outside| connections(described, own, outside), described)
        {
            pairs.push(Pair { from: row.name.clone(), to: range, connections });
        }
        for (range, connections) in
            merged(&regions, |outside| connections(described, outside, own), described)
        {
            pairs.push(Pair { from: range, to: row.name.clone(), connections });
        }
    }
    pairs
}

fn merged(
    regions: &[Region],
    ask: impl Fn(Party<'_>) -> Vec<Reach>,
    described: &Described,
) -> Vec<(String, Vec<Reach>)> {
    let mut found: Vec<(Region, Vec<Reach>)> = Vec::new();
    for &(first, last) in regions {
        let endpoint: Handle<Endpoint> = described.view.unknown(first.into());
        let connections = ask(Party { addr: Some(first.into()), endpoint: &endpoint });
        match found.last_mut() {
            Some((range, before)) if *before == connections => range.1 = last,
            _ => found.push(((first, last), connections)),
        }
    }
    found.into_iter().map(|(range, connections)| (said(range), connections)).collect()
}

/// The address space of one family, cut where a block begins or ends.
pub(super) fn regions(nets: &[IpNet], is_v4: bool) -> Vec<Region> {
    let bits = if is_v4 { 32 } else { 128 };
    let top = u128::MAX >> (128 - bits);
    let number = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let mut starts = BTreeSet::from([0]);
    for net in nets.iter().filter(|net| net.addr().is_ipv4() == is_v4) {
        starts.insert(number(net.network()));
        starts.extend(number(net.broadcast()).checked_add(1).filter(|after| *after <= top));
    }
    let ip = |number: u128| match u32::try_from(number) {
        Ok(number) if is_v4 => IpAddr::V4(Ipv4Addr::from_bits(number)),
        _ => IpAddr::V6(Ipv6Addr::from_bits(number)),
    };
    let ends = starts.iter().skip(1).map(|start| start - 1).chain([top]);
    starts.iter().zip(ends).map(|(first, last)| (ip(*first), ip(last))).collect()
}

/// As one block where it is one.
pub(super) fn said((first, last): Region) -> String {
    let block = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            let mut nets = Ipv4Subnets::new(first, last, 0);
            nets.next().filter(|_| nets.next().is_none()).map(IpNet::V4)
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            let mut nets = Ipv6Subnets::new(first, last, 0);
            nets.next().filter(|_| nets.next().is_none()).map(IpNet::V6)
        }
        _ => None,
    };
    block.map_or_else(|| format!("{first}-{last}"), |block| block.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_cover_the_space_and_break_at_blocks() {
        let nets: Vec<IpNet> = ["10.0.0.0/8", "10.1.0.0/16", "fd00::/8"]
            .iter()
            .map(|net| net.parse().unwrap())
            .collect();
        let said: Vec<String> = regions(&nets, true).into_iter().map(said).collect();
        assert_eq!(
            said,
            [
                "0.0.0.0-9.255.255.255",
                "10.0.0.0/16",
                "10.1.0.0/16",
                "10.2.0.0-10.255.255.255",
                "11.0.0.0-255.255.255.255"
            ]
        );
        assert_eq!(regions(&nets, false).len(), 3);
        assert_eq!(super::said(regions(&[], false)[0]), "::/0");
    }
}
