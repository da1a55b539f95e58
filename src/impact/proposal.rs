//! What is proposed: objects to add or replace, and objects to remove.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use cluster::manifests::Manifests;
use cluster::{Key, Object};

use super::Args;
use crate::objects;

/// What would be applied to the cluster.
pub(super) struct Proposal {
    objects: Manifests,
    removed: Vec<Removal>,
}

/// An object as `--remove` names it.
struct Removal {
    asked: String,
    /// Lower-case; with its group where one is given.
    kind: String,
    group: Option<String>,
    namespace: Option<String>,
    name: String,
}

// === impl Proposal ===

impl Proposal {
    /// Reads the proposed files.
    pub(super) fn read(files: &[PathBuf], removed: &[String]) -> Result<Self> {
        let objects = if files.is_empty() { Manifests::default() } else { objects::gather(files)? };
        let removed = removed.iter().map(|asked| Removal::parse(asked)).collect::<Result<_>>()?;
        Ok(Self { objects, removed })
    }

    /// The manifests with everything applied. Of two proposed objects of one name the later stands.
    pub(super) fn apply(&self, mut manifests: Manifests) -> Result<Manifests> {
        for removal in &self.removed {
            removal.apply(&mut manifests)?;
        }
        for object in &self.objects.objects {
            let key = key(object);
            manifests.objects.retain(|other| self::key(other) != key);
            manifests.objects.push(object.clone());
        }
        manifests.broken.extend(self.objects.broken.iter().cloned());
        manifests.files += self.objects.files;
        Ok(manifests)
    }

    /// What people should know of it.
    pub(super) fn notes(&self, args: &Args, notes: &mut Vec<String>) {
        let objects = &self.objects.objects;
        for object in objects {
            if object.kind.starts_with("Staged") && !args.staged {
                let name = object.key();
                notes.push(format!(
                    "{name} is staged and so enforces nothing: with --staged it is asked as if it \
                     did"
                ));
            }
            let is_policy = policy::reads(&object.api_version, &object.kind);
            if !is_policy && args.flows.is_some() {
                let name = object.key();
                notes.push(format!(
                    "{name} changes nothing of recorded flows, which keep who they were of: \
                     --reach asks of the cluster with it"
                ));
            }
        }
    }
}

/// One object is served under both of Calico's groups.
fn key(object: &Object) -> Key {
    let key = object.key();
    let group = key.group.strip_prefix("crd.").unwrap_or(&key.group).into();
    Key { group, ..key }
}

// === impl Removal ===

impl Removal {
    fn parse(asked: &str) -> Result<Self> {
        let (kind, namespace, name) = match *asked.split('/').collect::<Vec<_>>() {
            [kind, name] => (kind, None, name),
            [kind, namespace, name] => (kind, Some(namespace), name),
            _ => ("", None, ""),
        };
        let is_whole = !kind.is_empty() && !name.is_empty() && namespace != Some("");
        ensure!(
            is_whole,
            "'{asked}' names no object: KIND/NAMESPACE/NAME, or KIND/NAME of what has no namespace"
        );
        let (kind, group) = match kind.split_once('.') {
            Some((kind, group)) => (kind, Some(group.to_owned())),
            None => (kind, None),
        };
        Ok(Self {
            asked: asked.to_owned(),
            kind: kind.to_lowercase(),
            group,
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        })
    }

    fn apply(&self, manifests: &mut Manifests) -> Result<()> {
        let mut found: Vec<Key> =
            manifests.objects.iter().filter(|object| self.is(object)).map(key).collect();
        found.sort();
        found.dedup();
        match &found[..] {
            [only] => {
                manifests.objects.retain(|object| key(object) != *only);
                Ok(())
            }
            [] => bail!("cannot remove {}: there is none{}", self.asked, self.like(manifests)),
            many => {
                let groups: Vec<String> =
                    many.iter().map(|key| format!("{}.{}", key.kind, key.group)).collect();
                let groups = groups.join(" and ");
                bail!("cannot remove {}: it may be {groups}; name one of these", self.asked)
            }
        }
    }

    fn is(&self, object: &Object) -> bool {
        let key = key(object);
        let kind = key.kind.to_lowercase();
        // Also the plural, as kubectl takes it.
        let plural = match kind.strip_suffix('y') {
            Some(stem) => format!("{stem}ies"),
            None => format!("{kind}s"),
        };
        let namespace = if key.namespace.is_empty() { None } else { Some(&*key.namespace) };
        let asked_namespace = self.namespace.as_deref().or(namespace.and(Some("default")));
        (kind == self.kind || plural == self.kind)
            && *key.name == *self.name
            && namespace == asked_namespace
            && self.group.as_ref().is_none_or(|group| *key.group == **group)
    }

    /// Objects of the same name elsewhere, to choose from.
    fn like(&self, manifests: &Manifests) -> String {
        let same = manifests.objects.iter().filter(|object| *object.name == *self.name);
        let names: Vec<String> = same.take(3).map(ToString::to_string).collect();
        if names.is_empty() { String::new() } else { format!("; there are {}", names.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use cluster::manifests::parse;

    use super::*;

    fn manifests(objects: &[(&str, &str)]) -> Manifests {
        let text = |(head, body): &(&str, &str)| {
            let (version, kind) = head.split_once(' ').unwrap();
            format!("---\napiVersion: {version}\nkind: {kind}\n{body}\n")
        };
        parse(&"a.yaml".into(), &objects.iter().map(text).collect::<String>())
    }

    fn cluster() -> Manifests {
        manifests(&[
            ("networking.k8s.io/v1 NetworkPolicy", "metadata: {name: web, namespace: shop}"),
            ("networking.k8s.io/v1 NetworkPolicy", "metadata: {name: db}"),
            ("crd.projectcalico.org/v1 NetworkPolicy", "metadata: {name: web, namespace: shop}"),
            ("projectcalico.org/v3 GlobalNetworkPolicy", "metadata: {name: all}"),
        ])
    }

    fn left(removed: &[&str]) -> Result<usize, String> {
        let removed: Vec<String> = removed.iter().map(ToString::to_string).collect();
        let applied = Proposal::read(&[], &removed).and_then(|one| one.apply(cluster()));
        applied.map(|after| after.objects.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_removed_is_named_exactly() {
        assert_eq!(left(&["GlobalNetworkPolicy/all"]), Ok(3));
        assert_eq!(left(&["networkpolicies/db", "globalnetworkpolicy/all"]), Ok(2));
        assert_eq!(left(&["NetworkPolicy.projectcalico.org/shop/web"]), Ok(3));
        assert_eq!(
            left(&["NetworkPolicy/shop/web"]).unwrap_err(),
            "cannot remove NetworkPolicy/shop/web: it may be NetworkPolicy.networking.k8s.io and \
             NetworkPolicy.projectcalico.org; name one of these"
        );
        assert_eq!(
            left(&["NetworkPolicy/shop/db"]).unwrap_err(),
            "cannot remove NetworkPolicy/shop/db: there is none; there are NetworkPolicy \
             default/db at a.yaml:6"
        );
        assert!(left(&["web"]).unwrap_err().contains("names no object"));
    }

    #[test]
    fn a_proposed_object_replaces_the_one_of_its_name_whatever_its_version() {
        let objects = manifests(&[
            (
                "projectcalico.org/v3 NetworkPolicy",
                "metadata: {name: web, namespace: shop}\nspec: 1",
            ),
            ("networking.k8s.io/v1 NetworkPolicy", "metadata: {name: new, namespace: shop}"),
        ]);
        let after = Proposal { objects, removed: Vec::new() }.apply(cluster()).unwrap();
        let versions: Vec<&str> = after.objects.iter().map(|object| &*object.api_version).collect();
        assert_eq!(
            versions,
            [
                "networking.k8s.io/v1",
                "networking.k8s.io/v1",
                "projectcalico.org/v3",
                "projectcalico.org/v3",
                "networking.k8s.io/v1"
            ]
        );
    }
}
