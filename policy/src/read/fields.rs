//! Reading an object field by field: what is not what it should be is noted with its path, and
//! so is every field that nobody read.

use serde_json::{Map, Value};

use crate::document::Severity;

/// What is wrong with one object so far.
#[derive(Debug, Default)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

/// One thing that is wrong.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) severity: Severity,
    pub(crate) field: String,
    pub(crate) message: String,
}

/// How a message begins of what an API server refuses although its meaning is clear.
pub(crate) const REFUSED: &str = "an API server refuses it: ";

/// A value that is there and not null, and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) path: String,
    pub(crate) value: &'a Value,
}

/// An object whose fields are read one by one.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    pub(crate) path: String,
    map: &'a Map<String, Value>,
    read: Vec<&'a str>,
}

// === impl Faults ===

impl Faults {
    /// Notes what an API server would refuse.
    pub(crate) fn error(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.note(Severity::Error, field, message);
    }

    /// Notes what an API server would refuse although its meaning is clear: verdicts count it as
    /// if it were taken.
    pub(crate) fn refuse(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.note(Severity::Warning, field, format!("{REFUSED}{}", message.into()));
    }

    /// Notes what a cluster takes, yet hardly means what it says.
    pub(crate) fn warning(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.note(Severity::Warning, field, message);
    }

    fn note(&mut self, severity: Severity, field: impl Into<String>, message: impl Into<String>) {
        let (field, message) = (field.into(), message.into());
        self.0.push(Fault { severity, field, message });
    }

    /// The first error.
    pub(crate) fn first_error(&self) -> Option<&Fault> {
        self.0.iter().find(|fault| fault.severity == Severity::Error)
    }
}

// === impl Field ===

impl<'a> Field<'a> {
    /// The value as an object.
    pub(crate) fn object(&self, faults: &mut Faults) -> Option<Object<'a>> {
        let Some(map) = self.value.as_object() else {
            self.is_not("an object", faults);
            return None;
        };
        Some(Object { path: self.path.clone(), map, read: Vec::new() })
    }

    /// The value as a list. A null entry is refused: whether it means nothing or everything is
    /// not for this program to guess.
    pub(crate) fn list(&self, faults: &mut Faults) -> Vec<Field<'a>> {
        let Some(values) = self.value.as_array() else {
            self.is_not("a list", faults);
            return Vec::new();
        };
        let entry = |(index, value)| Field { path: format!("{}[{index}]", self.path), value };
        let entries: Vec<Field<'a>> = values.iter().enumerate().map(entry).collect();
        for null in entries.iter().filter(|entry| entry.value.is_null()) {
            faults.error(&null.path, "is null; write {} for an entry without conditions");
        }
        entries.into_iter().filter(|entry| !entry.value.is_null()).collect()
    }

    /// The value as a text.
    pub(crate) fn text(&self, faults: &mut Faults) -> Option<&'a str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.is_not("a text", faults);
        }
        text
    }

    /// The value as true or false.
    pub(crate) fn flag(&self, faults: &mut Faults) -> Option<bool> {
        let flag = self.value.as_bool();
        if flag.is_none() {
            self.is_not("true or false", faults);
        }
        flag
    }

    /// The value as a number of any kind.
    pub(crate) fn number(&self, faults: &mut Faults) -> Option<f64> {
        let number = self.value.as_f64();
        if number.is_none() {
            self.is_not("a number", faults);
        }
        number
    }

    /// The value as a whole number from `first` to `last`.
    pub(crate) fn whole(&self, first: u32, last: u32, faults: &mut Faults) -> Option<u32> {
        let number = self.value.as_u64().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| (first..=last).contains(number));
        if number.is_none() {
            self.is_not(&format!("a whole number from {first} to {last}"), faults);
        }
        number
    }

    /// The value as a port.
    pub(crate) fn port(&self, faults: &mut Faults) -> Option<u16> {
        self.whole(1, 65_535, faults).and_then(|port| u16::try_from(port).ok())
    }

    /// Notes that the value is not what it should be.
    pub(crate) fn is_not(&self, wanted: &str, faults: &mut Faults) {
        let found = self.value.to_string();
        let found = match found.char_indices().nth(60) {
            Some((end, _)) => format!("{}…", &found[..end]),
            None => found,
        };
        faults.error(&self.path, format!("should be {wanted}, found {found}"));
    }
}

// === impl Object ===

impl<'a> Object<'a> {
    /// The object that a whole document is; `None` when it is none.
    pub(crate) fn whole(value: &'a Value) -> Option<Self> {
        let map = value.as_object()?;
        Some(Self { path: String::new(), map, read: Vec::new() })
    }

    /// A field that is there and not null.
    pub(crate) fn get(&mut self, name: &'a str) -> Option<Field<'a>> {
        self.skip(name);
        let value = self.map.get(name).filter(|value| !value.is_null())?;
        Some(Field { path: self.path_of(name), value })
    }

    /// A list's entries; none when it is not there.
    pub(crate) fn list(&mut self, name: &'a str, faults: &mut Faults) -> Vec<Field<'a>> {
        self.get(name).map(|field| field.list(faults)).unwrap_or_default()
    }

    /// A text; `None` when it is not there.
    pub(crate) fn text(&mut self, name: &'a str, faults: &mut Faults) -> Option<&'a str> {
        self.get(name).and_then(|field| field.text(faults))
    }

    /// A field that has to be there.
    pub(crate) fn need(&mut self, name: &'a str, faults: &mut Faults) -> Option<Field<'a>> {
        let field = self.get(name);
        if field.is_none() {
            faults.error(self.path_of(name), "is missing");
        }
        field
    }

    /// Reads a field of no consequence.
    pub(crate) fn skip(&mut self, name: &'a str) {
        if !self.read.contains(&name) {
            self.read.push(name);
        }
    }

    /// The names of its fields that are not null.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.map.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name.as_str())
    }

    /// Its fields and their values, read or not.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        self.map.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// All of its fields, as a map of free keys has them.
    pub(crate) fn entries(self) -> impl Iterator<Item = (&'a str, Field<'a>)> {
        let path = self.path;
        self.map.iter().map(move |(name, value)| {
            (name.as_str(), Field { path: format!("{path}.{name}"), value })
        })
    }

    /// Notes every field that nobody has read.
    pub(crate) fn finish(self, faults: &mut Faults) {
        for name in self.map.keys().filter(|name| !self.read.contains(&name.as_str())) {
            let known = self.read.join(", ");
            let message = format!("is not a field of this kind; known here: {known}");
            faults.error(self.path_of(name), message);
        }
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}
