//! The AWS query protocol, as far as STS and IAM need it: form bodies in, XML out. Pure.

use std::collections::BTreeMap;

/// The namespace of STS answers (AWS STS API Reference).
pub(crate) const STS_NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
/// The namespace of IAM answers (AWS IAM API Reference).
pub(crate) const IAM_NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";
/// What STS and IAM send as the type of their answers.
pub(crate) const XML: &str = "text/xml";

/// Reads an `application/x-www-form-urlencoded` body. What is not UTF-8 is replaced.
pub(crate) fn parse_form(body: &[u8]) -> BTreeMap<String, String> {
    body.split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let key = halves.next().unwrap_or_default();
            (percent_decoded(key), percent_decoded(halves.next().unwrap_or_default()))
        })
        .collect()
}

fn percent_decoded(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Percent-encodes all but RFC 3986's unreserved characters: how IAM returns policy documents.
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The text of the first `<tag>` in `xml`, unescaped.
pub(crate) fn xml_text(xml: &str, tag: &str) -> Option<String> {
    xml_texts(xml, tag).next()
}

/// The text of every `<tag>` in `xml`, unescaped. Knows neither attributes nor nesting of a tag in itself: the answers
/// that this is for have neither.
pub(crate) fn xml_texts(xml: &str, tag: &str) -> impl Iterator<Item = String> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    xml.split(&open)
        .skip(1)
        .filter_map(|after| after.split_once(&close))
        .map(|(text, _)| unescaped(text))
        .collect::<Vec<_>>()
        .into_iter()
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'").replace("&amp;", "&")
}

/// Makes `text` fit between two tags.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The namespace in which AWS answers `action`.
pub(crate) fn namespace_of(action: &str) -> &'static str {
    let of_sts = action.starts_with("AssumeRole") || matches!(action, "GetCallerIdentity" | "GetSessionToken");
    if of_sts { STS_NAMESPACE } else { IAM_NAMESPACE }
}

/// The body of an error answer (AWS STS API Reference, "Common Error Types"). `status` decides whose fault it is.
pub(crate) fn error_body(action: &str, status: u16, code: &str, message: &str) -> String {
    let fault = if status >= 500 { "Receiver" } else { "Sender" };
    format!(
        "<ErrorResponse xmlns=\"{}\"><Error><Type>{fault}</Type><Code>{}</Code><Message>{}</Message></Error>\
         <RequestId>00000000-0000-4000-8000-000000000000</RequestId></ErrorResponse>",
        namespace_of(action),
        escaped(code),
        escaped(message)
    )
}

/// The body of a successful answer.
pub(crate) fn result_body(action: &str, result: &str) -> String {
    format!(
        "<{action}Response xmlns=\"{}\"><{action}Result>{result}</{action}Result><ResponseMetadata>\
         <RequestId>00000000-0000-4000-8000-000000000000</RequestId></ResponseMetadata></{action}Response>",
        namespace_of(action)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_body_is_decoded() {
        let form = parse_form(b"Action=AssumeRole&Policy=%7B%22a%22%3A+1%7D&Odd=%zz%&Empty=");
        assert_eq!(form["Action"], "AssumeRole");
        assert_eq!(form["Policy"], r#"{"a": 1}"#);
        assert_eq!(form["Odd"], "%zz%");
        assert_eq!(form["Empty"], "");
    }

    #[test]
    fn xml_text_comes_back_as_it_went_in() {
        let text = r#"<a> & "b" &amp;"#;
        assert_eq!(xml_text(&format!("<X><Y>{}</Y></X>", escaped(text)), "Y").unwrap(), text);
    }

    #[test]
    fn percent_encoding_comes_back_as_it_went_in() {
        let text = r#"{"Statement": ["a/b+c~é"]}"#;
        assert_eq!(percent_decoded(percent_encoded(text).as_bytes()), text);
    }
}
