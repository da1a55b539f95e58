//! What changes while a lab runs: objects are applied and deleted, and everything follows.

use serde_json::Value;

use super::{Lab, reap};
use crate::annotations::{ADDRESS, Lie, UnexplainedDrop};
use crate::clock;
use crate::declared::Declared;
use crate::dialects;
use crate::enforce;
use crate::error::Result;
use crate::live;
use crate::manifests::Object;
use crate::plan::Pod;
use crate::programs;
use crate::services;
use crate::topology;

impl Lab {
    /// Adds objects, or replaces those of the same kind and name; everything follows at once:
    /// pods come and go, rules and live manifests are made anew.
    ///
    /// # Errors
    /// What went wrong first; the lab may then be between two states.
    pub fn apply(&mut self, bodies: impl IntoIterator<Item = Value>) -> Result<()> {
        for body in bodies {
            let object = Object::new(body);
            let id = object.id();
            let objects = &mut self.state.spec.objects;
            match objects.iter_mut().find(|old| old.id() == id) {
                Some(old) => *old = object,
                None => objects.push(object),
            }
        }
        self.settle()?;
        self.save()
    }

    /// Replaces all policies, tiers and network sets by these.
    ///
    /// # Errors
    /// A policy that no rules can be made from; the rules before it are still in force then.
    pub fn apply_policies(&mut self, bodies: impl IntoIterator<Item = Value>) -> Result<()> {
        self.state.spec.objects.retain(|object| !dialects::is_policy(object));
        self.apply(bodies)
    }

    /// Deletes an object; false if there is none.
    ///
    /// # Errors
    /// What went wrong first.
    pub fn delete(&mut self, kind: &str, namespace: &str, name: &str) -> Result<bool> {
        let before = self.state.spec.objects.len();
        self.state.spec.objects.retain(|object| {
            let id = object.id();
            (id.kind.as_str(), id.namespace.as_str(), id.name.as_str()) != (kind, namespace, name)
        });
        self.settle()?;
        self.save()?;
        Ok(self.state.spec.objects.len() < before)
    }

    /// Adds a pod; it gets the lowest free address of its node, or those it asks for.
    ///
    /// # Errors
    /// What went wrong first.
    pub fn add_pod(&mut self, body: Value) -> Result<Pod> {
        let id = Object::new(body.clone()).id();
        self.apply([body])?;
        self.pod(&format!("{}/{}", id.namespace, id.name)).cloned()
    }

    /// Deletes a pod that stands by itself, by `NS/NAME`.
    ///
    /// # Errors
    /// There is none, or it could not be taken away.
    pub fn delete_pod(&mut self, name: &str) -> Result<()> {
        let pod = self.pod(name)?.clone();
        if self.delete("Pod", &pod.namespace, &pod.name)? {
            return Ok(());
        }
        Err(self.absent("pod without an owner", name))
    }

    /// Tells these lies from now on.
    ///
    /// # Errors
    /// The rules could not be made or loaded.
    pub fn lie(&mut self, lies: &[Lie], unexplained: &[UnexplainedDrop]) -> Result<()> {
        self.state.spec.enforcement.lies = lies.to_vec();
        self.state.spec.enforcement.unexplained = unexplained.to_vec();
        self.settle()?;
        self.save()
    }

    /// Makes everything be as the objects say.
    pub(super) fn settle(&mut self) -> Result<()> {
        let declared = Declared::read(&self.state.spec.objects)?;
        self.remove_pods(&declared)?;
        self.state.plan.place_services(&declared.services)?;
        let added = self.place_pods(&declared)?;
        let ports = services::ports(&declared, &self.state.plan);
        // The rules of a pod are there before the pod is.
        let services = services::ruleset(&ports, self.state.spec.masquerade);
        let policies =
            enforce::rulesets(&declared, &self.state.plan, &self.state.spec.enforcement)?;
        for (node, rules) in policies {
            self.load(&node, "lab_services", &services)?;
            self.load(&node, "lab_policies", &rules)?;
        }
        let plan = &self.state.plan;
        self.files.write_json(&self.files.names(), &live::dns(&declared, plan, &ports))?;
        let now = live::objects(&self.state.spec.objects, &declared, plan, &ports);
        self.files.publish(&self.published, &now)?;
        self.published = now;
        self.start_pods(&added)
    }

    /// Takes away the pods that are no longer declared, or no longer what they were.
    fn remove_pods(&mut self, declared: &Declared) -> Result<()> {
        let gone: Vec<_> = {
            let pods = self.state.plan.pods.keys();
            pods.filter(|name| !declared.pods.contains_key(*name)).cloned().collect()
        };
        for name in gone {
            let Some(pod) = self.state.plan.pods.remove(&name) else { continue };
            let children = &mut self.children;
            if pod.is_host_network() {
                if let Some(pid) = self.state.programs.get(&name) {
                    let pid = i32::try_from(*pid).unwrap_or_default();
                    programs::end(pid, &pod.netns, || reap(children));
                }
            } else {
                programs::end_all(std::slice::from_ref(&pod.netns), || reap(children));
            }
            self.state.programs.remove(&name);
            topology::remove_pod(&self.state.plan.node(&pod.node)?.netns, &pod)?;
        }
        Ok(())
    }

    fn place_pods(&mut self, declared: &Declared) -> Result<Vec<Pod>> {
        let now = clock::kubernetes_time();
        let plan = &mut self.state.plan;
        let new: Vec<_> =
            declared.pods.iter().filter(|(name, _)| !plan.pods.contains_key(*name)).collect();
        // Who asks for an address gets it before the others choose.
        let (asking, others): (Vec<_>, Vec<_>) = new.into_iter().partition(|(_, pod)| {
            let annotations = pod.metadata.annotations.as_ref();
            annotations.is_some_and(|a| a.contains_key(ADDRESS))
        });
        asking.into_iter().chain(others).map(|(_, pod)| plan.place(pod, &now)).collect()
    }

    fn load(&mut self, node: &str, table: &'static str, rules: &str) -> Result<()> {
        let key = (node.to_owned(), table);
        if self.loaded.get(&key).is_none_or(|loaded| loaded != rules) {
            self.state.plan.node(node)?.netns.check(&["nft", "-f", "-"], rules)?;
            self.loaded.insert(key, rules.to_owned());
        }
        Ok(())
    }
}
