//! Groups of people, so that a capacity need not be written name by name. A group approves nothing by itself and never is
//! who will use the access: it stands for its members, each a person of people.toml, as they are when this is read.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::People;
use super::raw::{ConfigError, Host, plain_name};

const FILE: &str = "people.toml";

/// A `[[group]]` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGroup {
    name: String,
    #[serde(default)]
    members: Vec<String>,
    unix_group: Option<String>,
}

/// Every group with its members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Groups {
    members: BTreeMap<String, Vec<String>>,
    unix: BTreeMap<String, Vec<String>>,
}

impl Groups {
    /// The groups as written, with the members that the host's own groups have now.
    ///
    /// # Errors
    /// When a name is taken, a member is no person of `people`, a Unix group is not there, or nobody is in a group.
    pub(super) fn resolve(raw: Vec<RawGroup>, people: &People, host: &Host<'_>) -> Result<Self, ConfigError> {
        let mut groups = Self::default();
        for group in raw {
            let wrong = |member: &str, problem: String| {
                ConfigError::new(FILE, format!("group {:?}{member}", group.name), problem)
            };
            plain_name(&group.name).map_err(|problem| wrong(".name", problem))?;
            if people.is_taken(&group.name) || groups.members.contains_key(&group.name) {
                return Err(wrong(
                    "",
                    "the name stands twice: a group, a person and a workload never share one".to_owned(),
                ));
            }
            if let Some(nested) = group.members.iter().find(|member| member.starts_with("group:")) {
                let problem = format!("{nested:?} is a group, and groups do not nest: name its people");
                return Err(wrong(".members", problem));
            }
            let mut members = people.chosen(FILE, &format!("group {:?}.members", group.name), &group.members)?;
            if let Some(unix) = &group.unix_group {
                let found = unix_members(unix, people, host).map_err(|problem| wrong(".unix_group", problem))?;
                groups.unix.insert(unix.clone(), found.clone());
                members.extend(found.into_iter().filter(|name| !group.members.contains(name)));
            }
            if members.is_empty() {
                let problem =
                    "nobody is in it: name people in members, or a unix_group that people of people.toml are in";
                return Err(wrong("", problem.to_owned()));
            }
            groups.members.insert(group.name.clone(), members);
        }
        Ok(groups)
    }

    /// The people of a group.
    pub(super) fn members(&self, group: &str) -> Option<&[String]> {
        self.members.get(group).map(Vec::as_slice)
    }

    /// The people in each Unix group that is named.
    pub(super) fn unix(&self) -> &BTreeMap<String, Vec<String>> {
        &self.unix
    }
}

/// The people who are in a Unix group of this host. Users who are nobody here do not matter; a workload must not be in it.
fn unix_members(unix: &str, people: &People, host: &Host<'_>) -> Result<Vec<String>, String> {
    let missing = || {
        format!("this host has no Unix group \"{unix}\": create it, correct the name, or name its people in members")
    };
    let mut members = Vec::new();
    for (uid, subject) in people.uids() {
        if !(host.group)(unix, uid).ok_or_else(missing)? {
            continue;
        }
        if !people.is_person(&subject.name) {
            return Err(format!(
                "{subject} is in the Unix group \"{unix}\", and only people answer for anything: take it out"
            ));
        }
        if !members.contains(&subject.name) {
            members.push(subject.name.clone());
        }
    }
    members.sort();
    Ok(members)
}

#[cfg(test)]
#[path = "groups_tests.rs"]
mod tests;
