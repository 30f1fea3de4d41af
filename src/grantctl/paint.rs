//! Colours for people, put on text that is finished: heads of tables and titles are bold, states have the colour of what
//! they mean. Takes nothing away, so that what is piped elsewhere reads the same. Pure.

/// Bold.
const BOLD: &str = "1";

/// `text` as a whole in red, for a word that tells of a failure.
#[must_use]
pub fn failure(text: &str) -> String {
    marked(text, "31")
}

/// `text` - tables, facts - with its colours.
pub(crate) fn painted(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_mul(2));
    // Where the states of the table that we are in stand, in characters.
    let mut column = None;
    for line in text.lines() {
        let words = line.trim_start();
        let is_head =
            words.len() > 1 && words.contains("  ") && words.chars().all(|c| c.is_ascii_uppercase() || c == ' ');
        if is_head {
            column = line.find("STATE").map(|at| line.chars().count().min(at));
            out.push_str(&marked(line, BOLD));
        } else if let Some(fact) = line.strip_prefix("  state ") {
            let (gap, state) = fact.split_at(fact.len().saturating_sub(fact.trim_start().len()));
            out.push_str("  state ");
            out.push_str(gap);
            out.push_str(&state_first(state));
        } else if let Some(column) = column.filter(|_| !words.is_empty()) {
            let split = line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
            let (before, state) = line.split_at(split);
            out.push_str(before);
            out.push_str(&state_first(state));
        } else if !line.starts_with(' ') && (line.starts_with("grant-") || line.starts_with("lease-")) {
            out.push_str(&marked(line, BOLD));
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

/// Text that begins with a state.
fn state_first(text: &str) -> String {
    let end = text.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let colour = match word {
        "active" | "ready" => "32",
        "pending" | "scheduled" | "issuing" | "revoking" | "expiring" | "degraded" => "33",
        "denied" | "failed" | "lapsed" | "revoke_failed" | "revoked" | "stopping" => "31",
        _ => return text.to_owned(),
    };
    format!("{}{rest}", marked(word, colour))
}

fn marked(text: &str, code: &str) -> String {
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_their_colour_wherever_they_stand() {
        let text =
            "GRANT   STATE          WHY\ngrant-é active         an active one\ngrant-b revoking (requested)  x\n";
        assert_eq!(
            painted(text),
            "\u{1b}[1mGRANT   STATE          WHY\u{1b}[0m\ngrant-é \u{1b}[32mactive\u{1b}[0m         an active one\n\
             grant-b \u{1b}[33mrevoking\u{1b}[0m (requested)  x\n"
        );
        assert_eq!(
            painted("grant-a\n  state         denied: x\n  why           y\n"),
            "\u{1b}[1mgrant-a\u{1b}[0m\n  state         \u{1b}[31mdenied\u{1b}[0m: x\n  why           y\n"
        );
        assert_eq!(painted("no grants\n"), "no grants\n");
    }
}
