//! Azure's language for conditions of role assignments, version 2.0 (Azure RBAC, "Azure role assignment condition format
//! and syntax"): read, refused when it is not in the grammar, and evaluated. Only what the tests need of its operators.

use std::collections::BTreeMap;

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
    /// `ActionMatches{'...'}`.
    Action(String),
    /// `SubOperationMatches{'...'}`.
    Suboperation(String),
    /// `Exists @Source[name]`.
    Exists(String),
    /// `@Source[name] Operator value`.
    Compare {
        attribute: String,
        operator: String,
        values: Vec<String>,
    },
}

/// What a condition is judged by.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) action: String,
    /// Which of the action's operations, where it has several.
    pub(crate) suboperation: Option<String>,
    /// By `@Source[name]`, lowercase.
    pub(crate) attributes: BTreeMap<String, String>,
}

const OPERATORS: [&str; 9] = [
    "StringEquals",
    "StringNotEquals",
    "StringEqualsIgnoreCase",
    "StringStartsWith",
    "StringLike",
    "StringNotLike",
    "GuidEquals",
    "GuidNotEquals",
    "BoolEquals",
];

const QUANTIFIERS: [&str; 4] = ["ForAnyOfAnyValues", "ForAllOfAnyValues", "ForAnyOfAllValues", "ForAllOfAllValues"];

impl Condition {
    /// Reads a condition.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > 8 * 1024 {
            return Err("longer than 8 KB".to_owned());
        }
        let mut parser = Parser { rest: text };
        let condition = parser.either()?;
        parser.skip();
        if parser.rest.is_empty() { Ok(condition) } else { Err(format!("what is {:?}?", parser.rest)) }
    }

    /// Whether it holds.
    pub(crate) fn holds(&self, facts: &Facts) -> bool {
        match self {
            Self::And(left, right) => left.holds(facts) && right.holds(facts),
            Self::Or(left, right) => left.holds(facts) || right.holds(facts),
            Self::Not(inner) => !inner.holds(facts),
            Self::Action(pattern) => matches(&pattern.to_lowercase(), &facts.action.to_lowercase()),
            Self::Suboperation(name) => facts.suboperation.as_ref() == Some(name),
            Self::Exists(attribute) => facts.attributes.contains_key(attribute),
            Self::Compare { attribute, operator, values } => {
                let Some(found) = facts.attributes.get(attribute) else { return false };
                let name = operator.rsplit(':').next().unwrap_or_default();
                let any = |test: &dyn Fn(&str) -> bool| values.iter().any(|value| test(value));
                match name {
                    "StringEquals" => any(&|value| value == found),
                    "StringNotEquals" => !any(&|value| value == found),
                    "StringEqualsIgnoreCase" | "GuidEquals" | "BoolEquals" => {
                        any(&|value| value.eq_ignore_ascii_case(found))
                    }
                    "GuidNotEquals" => !any(&|value| value.eq_ignore_ascii_case(found)),
                    "StringStartsWith" => any(&|value| found.starts_with(value)),
                    "StringLike" => any(&|value| matches(value, found)),
                    "StringNotLike" => !any(&|value| matches(value, found)),
                    _ => false,
                }
            }
        }
    }
}

/// `*` is any text, `?` one character.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| matches(rest, &text[at..]))
        }
        Some(first) => {
            let mut chars = text.chars();
            let same = chars.next().is_some_and(|c| first == '?' || c == first);
            same && matches(&pattern[first.len_utf8()..], chars.as_str())
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn need(&mut self, token: &str) -> Result<(), String> {
        if self.take(token) { Ok(()) } else { Err(format!("{token:?} is missing at {:?}", self.rest)) }
    }

    fn word(&mut self) -> &'a str {
        self.skip();
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != ':').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn either(&mut self) -> Result<Condition, String> {
        let mut left = self.both()?;
        while self.take("OR") || self.take("||") {
            left = Condition::Or(Box::new(left), Box::new(self.both()?));
        }
        Ok(left)
    }

    fn both(&mut self) -> Result<Condition, String> {
        let mut left = self.one()?;
        while self.take("AND") || self.take("&&") {
            left = Condition::And(Box::new(left), Box::new(self.one()?));
        }
        Ok(left)
    }

    fn one(&mut self) -> Result<Condition, String> {
        if self.take("!") || self.take("NOT ") {
            return Ok(Condition::Not(Box::new(self.one()?)));
        }
        if self.take("(") {
            let inner = self.either()?;
            self.need(")")?;
            return Ok(inner);
        }
        self.skip();
        if self.rest.starts_with('@') {
            let attribute = self.attribute()?;
            let operator = self.word();
            let (quantifier, name) = operator.split_once(':').map_or((None, operator), |(q, n)| (Some(q), n));
            if !OPERATORS.contains(&name) || quantifier.is_some_and(|q| !QUANTIFIERS.contains(&q)) {
                return Err(format!("{operator:?} is no operator"));
            }
            let values = self.values()?;
            if values.len() != 1 && quantifier.is_none() {
                return Err(format!("{operator} takes one value"));
            }
            return Ok(Condition::Compare { attribute, operator: operator.to_owned(), values });
        }
        match self.word() {
            "ActionMatches" => {
                self.need("{")?;
                let action = self.quoted()?;
                self.need("}")?;
                Ok(Condition::Action(action))
            }
            "SubOperationMatches" => {
                self.need("{")?;
                let name = self.quoted()?;
                self.need("}")?;
                if name == "Blob.List" {
                    Ok(Condition::Suboperation(name))
                } else {
                    Err(format!("{name:?} is no suboperation"))
                }
            }
            "Exists" => Ok(Condition::Exists(self.attribute()?)),
            other => Err(format!("{other:?} is no function")),
        }
    }

    fn attribute(&mut self) -> Result<String, String> {
        self.need("@")?;
        let source = self.word();
        if !["Resource", "Request", "Principal", "Environment"].contains(&source) {
            return Err(format!("{source:?} is no source of attributes"));
        }
        self.need("[")?;
        let end = self.rest.find(']').ok_or("an attribute does not end")?;
        let (name, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        Ok(attribute(source, name))
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        if !self.take("{") {
            return Ok(vec![self.value()?]);
        }
        let mut values = vec![self.value()?];
        while self.take(",") {
            values.push(self.value()?);
        }
        self.need("}")?;
        Ok(values)
    }

    fn value(&mut self) -> Result<String, String> {
        self.skip();
        if self.rest.starts_with('\'') {
            return self.quoted();
        }
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(self.rest.len());
        let (value, rest) = self.rest.split_at(end);
        let guid = uuid::Uuid::try_parse(value).is_ok();
        if !guid && value != "true" && value != "false" {
            return Err(format!("{value:?} is neither quoted nor a GUID nor a boolean"));
        }
        self.rest = rest;
        Ok(value.to_owned())
    }

    fn quoted(&mut self) -> Result<String, String> {
        self.need("'")?;
        let end = self.rest.find('\'').ok_or("a quote does not end")?;
        let (value, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        Ok(value.to_owned())
    }
}

/// The name of an attribute, in one written form.
pub(crate) fn attribute(source: &str, name: &str) -> String {
    format!("@{source}[{name}]").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read";

    fn path(of: &str) -> Facts {
        let name = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path";
        let attributes = BTreeMap::from([(attribute("Resource", name), of.to_owned())]);
        Facts { action: READ.to_owned(), suboperation: None, attributes }
    }

    #[test]
    fn a_prefix_condition_holds_below_the_prefix_only() {
        let text = format!(
            "((!(ActionMatches{{'{READ}'}})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/\
             blobs:path] StringStartsWith 'logs/'))"
        );
        let condition = Condition::parse(&text).unwrap();
        assert!(condition.holds(&path("logs/a")) && !condition.holds(&path("a")));
        assert!(condition.holds(&Facts { action: "other".to_owned(), ..path("a") }));
    }

    #[test]
    fn what_is_not_in_the_grammar_is_refused() {
        for bad in
            ["", "(", "@Resource[a:b] Equals 'x'", "@Other[a] StringEquals 'x'", "ActionMatches{x}", "a OR b", "'x'"]
        {
            assert!(Condition::parse(bad).is_err(), "{bad:?} was taken");
        }
        let lists = "@Request[a:b] ForAnyOfAnyValues:GuidEquals {11111111-1111-1111-1111-111111111111, \
                     22222222-2222-2222-2222-222222222222}";
        assert!(Condition::parse(lists).is_ok());
        assert!(Condition::parse(&lists.replace("ForAnyOfAnyValues:", "")).is_err());
    }
}
