//! The language of Azure's role assignment conditions, version 2.0, as far as the map uses it. Pure. What it does not
//! know, it refuses: a misspelled operator or attribute must not pass for one that never holds. The same for the conditions
//! by which the right to assign roles is delegated, whose attributes are ids.
//!
//! Sources: Microsoft Learn, "Azure role assignment condition format and syntax"; "Actions and attributes for Azure role
//! assignment conditions for Azure Blob Storage"; "Microsoft Entra-based repository permissions in Azure Container
//! Registry"; "Authorization actions and attributes".

use std::collections::BTreeMap;

/// The attributes that the map may use, with where they come from.
pub const ATTRIBUTES: [&str; 4] = [
    "@Request[Microsoft.ContainerRegistry/registries/repositories:name]",
    "@Request[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix]",
    "@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path]",
    "@Resource[Microsoft.Storage/storageAccounts/blobServices/containers:name]",
];

/// What a role assignment that is to be, or that stands there, has.
pub const DELEGATED: [&str; 4] = [
    "@Request[Microsoft.Authorization/roleAssignments:PrincipalId]",
    "@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId]",
    "@Resource[Microsoft.Authorization/roleAssignments:PrincipalId]",
    "@Resource[Microsoft.Authorization/roleAssignments:RoleDefinitionId]",
];

/// Whether one of the attribute's values is one of these, as ids.
const ANY_ID: &str = "ForAnyOfAnyValues:GuidEquals";

const SUBOPERATIONS: [&str; 1] = ["Blob.List"];

/// A request as a condition sees it.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The data action, e.g. `Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read`.
    pub action: String,
    /// Which of the action's operations, where it has several.
    pub suboperation: Option<&'static str>,
    /// What the request and its resource have, by attribute.
    pub attributes: BTreeMap<&'static str, String>,
}

/// A condition that was read.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Action(String),
    Suboperation(String),
    Compare { attribute: &'static str, operator: Operator, value: String },
    AnyId { attribute: &'static str, ids: Vec<String> },
}

/// Comparisons of text, all of them with regard to case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Equals,
    NotEquals,
    StartsWith,
    NotStartsWith,
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// In words, what is not known or not allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { tokens: tokens(text)?, at: 0 };
        let condition = parser.expression()?;
        match parser.next() {
            None => Ok(condition),
            Some(token) => Err(format!("{token:?} is behind the end")),
        }
    }

    /// Whether it holds for a request. An attribute that the request does not have makes a comparison false, whichever
    /// operator it has.
    pub fn holds(&self, request: &Request) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(request)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(request)),
            Self::Not(part) => !part.holds(request),
            Self::Action(action) => action.eq_ignore_ascii_case(&request.action),
            Self::AnyId { attribute, ids } => request
                .attributes
                .get(attribute)
                .is_some_and(|given| ids.iter().any(|id| id.eq_ignore_ascii_case(given))),
            Self::Suboperation(name) => request.suboperation == Some(name.as_str()),
            Self::Compare { attribute, operator, value } => {
                request.attributes.get(attribute).is_some_and(|given| match operator {
                    Operator::Equals => given == value,
                    Operator::NotEquals => given != value,
                    Operator::StartsWith => given.starts_with(value.as_str()),
                    Operator::NotStartsWith => !given.starts_with(value.as_str()),
                })
            }
        }
    }

    /// The actions that it speaks of.
    pub fn actions(&self) -> Vec<&str> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::actions).collect(),
            Self::Not(part) => part.actions(),
            Self::Action(action) => vec![action],
            Self::Suboperation(_) | Self::Compare { .. } | Self::AnyId { .. } => Vec::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Open,
    Close,
    BraceOpen,
    BraceClose,
    Word(String),
    Attribute(String),
    Text(String),
    Id(String),
    Comma,
}

/// Eight, four, four, four and twelve hexadecimal digits.
fn is_id(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '{' => (Token::BraceOpen, 1),
            '}' => (Token::BraceClose, 1),
            '!' => (Token::Word("NOT".to_owned()), 1),
            '\'' => {
                let end = rest[1..].find('\'').ok_or("a quote is not closed")?;
                let value = &rest[1..=end];
                if value.contains('\\') {
                    return Err(format!("escapes are not known here: {value:?}"));
                }
                (Token::Text(value.to_owned()), end + 2)
            }
            '@' => {
                let end = rest.find(']').ok_or("a bracket is not closed")?;
                (Token::Attribute(rest[..=end].to_owned()), end + 1)
            }
            ',' => (Token::Comma, 1),
            c if c.is_ascii_hexdigit() && rest.get(..36).is_some_and(is_id) => (Token::Id(rest[..36].to_owned()), 36),
            c if c.is_ascii_alphabetic() => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != ':').unwrap_or(rest.len());
                (Token::Word(rest[..end].to_owned()), end)
            }
            other => return Err(format!("{other:?} is not known here")),
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn next(&mut self) -> Option<Token> {
        self.at += 1;
        self.tokens.get(self.at - 1).cloned()
    }

    fn word_is(&self, word: &str) -> bool {
        matches!(self.tokens.get(self.at), Some(Token::Word(found)) if found == word)
    }

    fn expect(&mut self, token: &Token) -> Result<(), String> {
        match self.next() {
            Some(found) if found == *token => Ok(()),
            found => Err(format!("{token:?} is missing where {found:?} stands")),
        }
    }

    /// Parts joined by one word: where both are used, Azure wants brackets that say which goes first.
    fn expression(&mut self) -> Result<Condition, String> {
        let first = self.part()?;
        let joint = ["AND", "OR"].into_iter().find(|word| self.word_is(word));
        let Some(joint) = joint else { return Ok(first) };
        let mut parts = vec![first];
        while self.word_is(joint) {
            self.at += 1;
            parts.push(self.part()?);
        }
        if self.word_is("AND") || self.word_is("OR") {
            return Err("AND and OR are mixed without brackets".to_owned());
        }
        Ok(if joint == "AND" { Condition::All(parts) } else { Condition::Any(parts) })
    }

    fn part(&mut self) -> Result<Condition, String> {
        match self.next() {
            Some(Token::Word(word)) if word == "NOT" => Ok(Condition::Not(Box::new(self.part()?))),
            Some(Token::Word(word)) if word == "ActionMatches" => {
                let action = self.braced()?;
                let plain = action.starts_with("Microsoft.") && !action.contains(['*', '?', ' ']);
                if plain { Ok(Condition::Action(action)) } else { Err(format!("{action:?} is no action")) }
            }
            Some(Token::Word(word)) if word == "SubOperationMatches" => {
                let name = self.braced()?;
                let known = SUBOPERATIONS.contains(&name.as_str());
                if known { Ok(Condition::Suboperation(name)) } else { Err(format!("{name:?} is no suboperation")) }
            }
            Some(Token::Open) => {
                let inner = self.expression()?;
                self.expect(&Token::Close)?;
                Ok(inner)
            }
            Some(Token::Attribute(name)) => self.comparison(&name),
            other => Err(format!("{other:?} is not known here")),
        }
    }

    fn braced(&mut self) -> Result<String, String> {
        self.expect(&Token::BraceOpen)?;
        let Some(Token::Text(text)) = self.next() else { return Err("braces hold one text".to_owned()) };
        self.expect(&Token::BraceClose)?;
        Ok(text)
    }

    /// A list of ids in braces. A list that is empty would match nothing, and is not in the language.
    fn ids(&mut self) -> Result<Vec<String>, String> {
        self.expect(&Token::BraceOpen)?;
        let mut ids = Vec::new();
        loop {
            match self.next() {
                Some(Token::Id(id)) => ids.push(id),
                other => return Err(format!("{other:?} is no id")),
            }
            match self.next() {
                Some(Token::Comma) => {}
                Some(Token::BraceClose) => return Ok(ids),
                other => return Err(format!("{other:?} stands in a list of ids")),
            }
        }
    }

    fn comparison(&mut self, name: &str) -> Result<Condition, String> {
        if let Some(attribute) = DELEGATED.into_iter().find(|known| *known == name) {
            self.expect(&Token::Word(ANY_ID.to_owned()))?;
            return Ok(Condition::AnyId { attribute, ids: self.ids()? });
        }
        let attribute = ATTRIBUTES.into_iter().find(|known| *known == name);
        let attribute = attribute.ok_or_else(|| format!("attribute {name} is not known here"))?;
        let operator = match self.next() {
            Some(Token::Word(word)) => match word.as_str() {
                "StringEquals" => Operator::Equals,
                "StringNotEquals" => Operator::NotEquals,
                "StringStartsWith" => Operator::StartsWith,
                "StringNotStartsWith" => Operator::NotStartsWith,
                other => return Err(format!("operator {other} is not known here")),
            },
            other => return Err(format!("{other:?} is no operator")),
        };
        match self.next() {
            Some(Token::Text(value)) if !value.is_empty() => Ok(Condition::Compare { attribute, operator, value }),
            other => Err(format!("{other:?} is no value")),
        }
    }
}
