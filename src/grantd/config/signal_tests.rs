//! What `[[signal]]` may say.

use super::*;

fn parse(text: &str) -> Result<SignalSettings, String> {
    let text = format!("name = \"n\"\ncontact = \"the desk\"\n{text}");
    toml::from_str::<RawSignal>(&text).map_err(|error| error.to_string())?.parse().map_err(|error| error.to_string())
}

const TICKETS: &str = "type = \"ticket\"\nurl = \"https://t.example/i/{ticket}\"\nids = \"OPS-{digits}\"\nid = \"/key\"\n\
                       state = \"/state\"\nstates = { active = [\"Doing\"] }";

#[test]
fn each_type_is_read() {
    let ticket = parse(TICKETS).unwrap();
    assert_eq!((ticket.signal(), ticket.timeout), (Signal::Ticket, Duration::from_secs(3)));
    let on_call = parse(
        "type = \"on_call\"\nurl = \"https://p.example/oncalls\"\nsecret = \"credential:pd\"\nlist = \"/oncalls\"\n\
         person = \"/user/id\"\naccounts = { anna = \"P1\" }\n\
         overrides = [{ url = \"https://p.example/overrides?since={since}&until={until}\", list = \"/overrides\" }]",
    );
    let mut on_call = on_call.unwrap();
    on_call.resolve(Some(Path::new("/run/c"))).unwrap();
    let SignalSource::OnCall { endpoint, overrides, more, .. } = &on_call.source else { panic!("{on_call:?}") };
    assert_eq!(
        (more.as_str(), overrides[0].more.as_str(), overrides[0].list.as_str()),
        ("/more", "/more", "/overrides")
    );
    assert_eq!(endpoint.secret.as_deref(), Some(Path::new("/run/c/pd")));
    let freeze = parse("type = \"freeze\"\nfile = \"/etc/grantd/freeze.ics\"\nenvironments = [\"prod\"]").unwrap();
    assert_eq!(freeze.signal(), Signal::Freeze);
    assert_eq!(
        parse("type = \"change_window\"\nurl = \"https://c.example/x.ics\"").unwrap().signal(),
        Signal::ChangeWindow
    );
}

#[test]
fn an_id_is_matched_whole() {
    let pattern = IdPattern::parse("OPS-{digits}").unwrap();
    assert_eq!(pattern.digits("OPS-17"), Some("17"));
    for bad in
        ["OPS-", "ops-17", "OPS-17 ", "xOPS-17", "OPS-1/../../x", "OPS-1\n", "OPS-1?x=y", "OPS-1234567890123456789"]
    {
        assert_eq!(pattern.digits(bad), None, "{bad}");
    }
    for bad in ["OPS", "{digits}-OPS", "O S-{digits}", "OPS1{digits}", "%{digits}"] {
        assert!(IdPattern::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (text, word) in [
        ("type = \"weather\"", "weather"),
        ("type = \"ticket\"\nurl = \"http://t.example/{ticket}\"", "https://"),
        ("type = \"ticket\"\nurl = \"https://t.example/\"", "{ticket}"),
        ("type = \"ticket\"\nurl = \"https://{ticket}.example/\"", "{ticket}"),
        ("type = \"ticket\"\nurl = \"https://t.example/{ticket}\"", "signal \"n\".ids"),
        ("type = \"on_call\"\nurl = \"https://p.example/\"", "accounts"),
        ("type = \"on_call\"\nurl = \"https://p.example/\"\naccounts = { a = \"X\", b = \"x\" }", "twice"),
        ("type = \"on_call\"\nurl = \"https://p.example/\"\nlist = \"oncalls\"", "JSON pointer"),
        ("type = \"on_call\"\nurl = \"https://p.example/\"\nstate = \"/x\"", "no such setting"),
        ("type = \"on_call\"\nurl = \"https://p.example/\"\naccounts = { a = \"X\" }", "overrides: write where"),
        ("type = \"freeze\"", "url and file"),
        ("type = \"freeze\"\nfile = \"freeze.ics\"", "absolute"),
        ("type = \"freeze\"\nurl = \"https://c.example\"\nsecret = \"x\"", "credential:"),
        ("type = \"freeze\"\nurl = \"https://c.example\"\nheader = \"X: y\"", "header"),
        ("type = \"freeze\"\nurl = \"https://c.example\"\ntimeout = \"1m\"", "timeout"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(word), "{text}: {error}");
    }
    for (from, to, word) in [
        ("active = [\"Doing\"]", "open = [\"Doing\"]", "active at least"),
        ("active = [\"Doing\"]", "active = [\"Doing\"], closed = [\"Doing\"]", "twice"),
        ("id = \"/key\"", "id = \"key\"", "JSON pointer"),
    ] {
        let error = parse(&TICKETS.replace(from, to)).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn overrides_are_asked_of_the_same_server_and_what_is_wrong_with_them_is_named() {
    let parse = |overrides: &str| {
        let accounts = "accounts = { anna = \"P1\" }";
        parse(&format!("type = \"on_call\"\nurl = \"https://p.example/x\"\n{accounts}\noverrides = [{overrides}]"))
    };
    parse("").unwrap();
    parse("{ url = \"https://p.example\", begins = \"/b\", ends = \"/e\", more = \"/paging/next\" }").unwrap();
    for (text, word) in [
        ("{ url = \"https://p.example.org/x\" }", "same server"),
        ("{ url = \"https://p.example:8443/x\" }", "same server"),
        ("{ url = \"http://p.example/x\" }", "https://"),
        ("{ url = \"https://p.example/x\", list = \"data\" }", "JSON pointer"),
        ("{ url = \"https://p.example/x\", begins = \"/b\" }", "both begins and ends"),
        ("{ url = \"https://p.example/x\", secret = \"/x\" }", "secret"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(word), "{text}: {error}");
    }
}

#[test]
fn who_moved_a_ticket_is_one_or_the_last_of_a_list_that_is_told_whole() {
    let parse = |moved_by: &str| parse(&format!("{TICKETS}\nmoved_by = {{ {moved_by} }}"));
    let list = "list = \"\", person = \"/by\", time = \"/at\", kind = \"/event\", kinds = [\"closed\"], most = 100";
    let url = |url: &str| format!("url = \"{url}\", {list}");
    for good in ["person = \"/by\"", list, &url("https://t.example/i/{ticket}/events")] {
        parse(good).unwrap_or_else(|error| panic!("{good}: {error}"));
    }
    for (text, word) in [
        ("person = \"by\"", "JSON pointer"),
        ("person = \"/by\", most = 3", "write list too"),
        ("list = \"\", person = \"/by\"", "time, kind, kinds and most"),
        (&list.replace("100", "0"), "how many"),
        (&list.replace("\"closed\"", ""), "which kinds"),
        (&url("https://elsewhere.example/i/{ticket}"), "same server"),
        (&url("https://t.example/events"), "ticket's id"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(word), "{text}: {error}");
    }
}

#[test]
fn the_examples_of_the_shipped_file_are_read() {
    let shipped = include_str!("../../../config/grantd.toml");
    let (_, rest) = shipped.split_once("#[[signal]]").unwrap();
    let (examples, _) = rest.split_once("\n\n").unwrap();
    let lines = examples.lines().filter_map(|line| line.strip_prefix('#').filter(|line| !line.starts_with('#')));
    let text = format!("[[signal]]\n{}", lines.collect::<Vec<_>>().join("\n"));
    let settings =
        crate::config::Settings::parse(&text, &|_| Some(0)).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let signals: Vec<Signal> = settings.signals.iter().map(SignalSettings::signal).collect();
    assert_eq!(signals, [Signal::Ticket, Signal::OnCall, Signal::Freeze]);
}
