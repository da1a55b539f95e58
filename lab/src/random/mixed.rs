//! Random policies of every dialect at once: tiers of any order and default action, policies of
//! equal order, sets of networks, and staged policies, which change nothing.

mod admin;
mod calico;

use serde_json::{Value, json};

use super::Dice;

/// Tiers beside those that are always there; their names stand before, between and after those.
const TIERS: [&str; 3] = ["alpha", "dusk", "zeta"];
/// Orders before, at, between and after those of the tiers that are always there.
const TIER_ORDERS: [f64; 7] = [1.0, 999.5, 1_000.0, 5_000.0, 1_000_000.0, 2_000_000.0, 2e7];

/// Up to eight policies of every dialect for [`super::cluster`], with their tiers and sets of
/// networks, always the same for a seed.
pub fn mixed_policies(seed: u64) -> Vec<Value> {
    let mut dice = Dice(fastrand::Rng::with_seed(seed));
    let mut objects = Vec::new();
    let count = dice.0.usize(0..=TIERS.len());
    let tiers = dice.0.choose_multiple(TIERS, count);
    objects.extend(tiers.iter().map(|tier| dice.tier(tier)));
    for index in 0..dice.0.usize(0..=2) {
        objects.push(dice.network_set(&format!("set-{index}")));
    }
    let policies = dice.0.usize(2..=8);
    let mut has_baseline = false;
    for _ in 0..policies {
        // Names decide between equal orders, so they are not in the order of the policies.
        let name = format!("p{}-{}", dice.0.u8(0..100), objects.len());
        objects.push(match dice.0.usize(0..9) {
            0 | 1 => dice.policy(&name),
            2..=4 => dice.calico_policy(&name, &tiers),
            5 => dice.global_policy(&name, &tiers),
            6 => dice.cluster_policy(&name),
            7 => dice.admin_policy(&name),
            // There is one at most.
            _ if std::mem::replace(&mut has_baseline, true) => dice.cluster_policy(&name),
            _ => dice.baseline_policy(),
        });
    }
    if dice.once_in(4) {
        let mut staged = dice.calico_policy("staged", &tiers);
        staged["kind"] = json!("StagedNetworkPolicy");
        objects.push(staged);
    }
    objects
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declared::Declared;
    use crate::manifests::Object;

    #[test]
    fn random_policies_of_every_dialect_are_such_as_a_lab_enforces() {
        assert_eq!(mixed_policies(7), mixed_policies(7));
        let mut sums = (0, 0, 0, 0);
        for seed in 0..200 {
            let objects: Vec<_> = mixed_policies(seed).into_iter().map(Object::new).collect();
            let declared = Declared::read(&objects).unwrap();
            sums.0 += declared.policies.len();
            sums.1 += declared.dialects.calico.len();
            sums.2 += declared.dialects.admin.len();
            sums.3 += declared.dialects.sets.len();
        }
        assert!([sums.0, sums.1, sums.2, sums.3].iter().all(|sum| *sum > 100), "{sums:?}");
    }
}
