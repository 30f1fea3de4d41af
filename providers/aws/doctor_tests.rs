use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_clock_that_is_off_is_told_and_no_date_is_no_good_news() {
    let minute = Duration::from_secs(60);
    let now = at("2026-11-22T12:00:00.9Z");
    for (date, standing) in [
        ("Sun, 22 Nov 2026 12:00:00 GMT", Standing::Ok),
        ("Sun, 22 Nov 2026 12:00:05 GMT", Standing::Ok),
        ("Sun, 22 Nov 2026 11:59:40 GMT", Standing::Warning),
        ("Sun, 22 Nov 2026 11:58:00 GMT", Standing::Problem),
        ("Sun, 22 Nov 2026 12:02:00 GMT", Standing::Problem),
        ("yesterday", Standing::NotChecked),
    ] {
        assert_eq!(clock("a", Some(date.to_owned()), now, minute).standing, standing, "{date}");
    }
    assert_eq!(clock("a", None, now, minute).standing, Standing::NotChecked);
}

#[test]
fn a_role_that_ends_sessions_earlier_than_configured_is_a_problem() {
    let config = crate::testing::config("max_session = \"2h\"");
    let role = &config.accounts.values().next().unwrap().roles[0];
    assert_eq!(longest(role, Some(7_200)).standing, Standing::Ok);
    assert_eq!(longest(role, None).standing, Standing::Problem);
    let found = longest(role, Some(3_600));
    assert!(found.fix.unwrap().contains("max_session = \"3600s\""));
}

#[test]
fn what_a_stranger_named_is_shown_without_what_could_mislead() {
    assert_eq!(shown("role x\u{1b}[2J\"\u{202e}y"), "role x2Jy");
}
