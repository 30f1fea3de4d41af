//! The stage: a world whose daemon looks things up at a fake of Jira, ServiceNow, GitHub, PagerDuty, Opsgenie and a server
//! of calendars. Rules that read signals are about the buckets `beta` and `ledger`; `alpha` needs none.

use std::fs::{self, OpenOptions};
use std::io::Write;

use grantd_testkit::{DESK_BASIC, DESK_BEARER, DESK_OPSGENIE, DESK_PAGERDUTY, DeskTicket, FakeDesk};
use grantd_tests::{Answer, Setup, User, World};
use serde_json::{Value, json};

/// The ticket has to be one of somebody else, worked on, that names the bucket.
pub const TICKET: &str = r#"
@id("beta-ticket")
@reason("{resource} is used for a ticket that is worked on, names it, and is not one's own")
@who_can_fix("{owners}")
@next("name another: grantctl request --ticket TICKET")
forbid (principal, action in [Grantd::Action::"request", Grantd::Action::"issue"], resource)
when { resource == Grantd::Resource::"beta" || resource == Grantd::Resource::"ledger" }
unless
{
  context.ticket_state == Grantd::TicketState::"active" && context.ticket_names_resource && !context.ticket_by_requester
};
"#;

/// Whoever uses it is on call.
pub const ON_CALL: &str = r#"
@id("beta-on-call")
@reason("{resource} is for whoever is on call")
@who_can_fix("{owners}")
@next("wait for your turn")
forbid (principal, action in [Grantd::Action::"request", Grantd::Action::"issue"], resource)
when { resource == Grantd::Resource::"beta" && !context.on_call };
"#;

/// In its change window only.
pub const WINDOW: &str = r#"
@id("beta-window")
@reason("{resource} is used in its change window")
@who_can_fix("{owners}")
@next("wait for the window")
forbid (principal, action == Grantd::Action::"issue", resource)
when { resource == Grantd::Resource::"beta" && !context.in_change_window };
"#;

/// Not in a freeze.
pub const FREEZE: &str = r#"
@id("beta-freeze")
@reason("changes to {resource} are frozen")
@who_can_fix("change management")
@next("wait for the end of the freeze")
forbid (principal, action == Grantd::Action::"issue", resource)
when { resource == Grantd::Resource::"beta" && context.in_freeze };
"#;

/// A permit that asks for facts of this very moment, and has more to say.
pub fn fresh(more: &str) -> String {
    format!(
        "@id(\"fresh\") @max_duration(\"8h\") @max_ttl(\"1h\") @signal_max_age(\"0s\") {more}\npermit (principal, action in [Grantd::Action::\"request\", \
         Grantd::Action::\"issue\"], resource)\nwhen {{ resource.tier == Grantd::Tier::\"low\" && context.self_subject \
         }};\n"
    )
}

/// The world and what its daemon asks.
pub struct Stage {
    pub world: World,
    pub desk: FakeDesk,
}

impl Stage {
    /// With these rules and sources, running. `{desk}` in the sources is where the fake is, `{config}` where files are.
    pub fn new(rules: &str, sources: &str) -> Self {
        let mut stage = Self::prepared(rules, sources);
        stage.world.start();
        stage
    }

    /// The same without the daemon.
    pub fn prepared(rules: &str, sources: &str) -> Self {
        let desk = FakeDesk::start().unwrap();
        let world = World::prepared(&Setup::default());
        for (name, secret) in
            [("basic", DESK_BASIC), ("bearer", DESK_BEARER), ("pagerduty", DESK_PAGERDUTY), ("opsgenie", DESK_OPSGENIE)]
        {
            world.scene.write(&format!("config/{name}.secret"), &format!("{secret}\n"), User::Daemon, 0o600);
        }
        world.scene.write("config/policy/policies/signals.cedar", rules, User::Root, 0o644);
        let config = world.scene.config().display().to_string();
        let sources = sources.replace("{desk}", &desk.url()).replace("{config}", &config);
        let mut file = OpenOptions::new().append(true).open(world.config()).unwrap();
        writeln!(file, "\n{sources}").unwrap();
        Self { world, desk }
    }

    /// Has every permit of tier low say that a lease outlives the yes that it was issued on, as all that apply have to.
    pub fn keep(&self) {
        let path = self.world.policy().join("policies/low-tier.cedar");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text.replace("@max_ttl(", "@on_signal_change(\"keep\")\n@max_ttl(")).unwrap();
    }

    /// Has alice request `beta` for `ticket`.
    pub fn request(&self, ticket: &str) -> Answer {
        self.world.request(&self.world.alice(), "beta", json!({ "ticket": ticket }))
    }

    /// The same; the grant's id.
    pub fn granted(&self, ticket: &str) -> String {
        id_of(&self.request(ticket))
    }

    /// The signals that stand in the record of the last decision of this kind.
    pub fn recorded(&self, kind: &str) -> Value {
        let record = self.world.audited(kind).pop().unwrap();
        record["detail"]["decision"]["inputs"]["signals"].clone()
    }
}

/// A grant's id.
pub fn id_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body["id"].as_str().unwrap().to_owned()
}

/// That it was denied by this rule, with these words.
pub fn is_denied(answer: &Answer, rule: &str, words: &[&str]) {
    answer.is_problem(403, "denied", words);
    assert_eq!(answer.body["rule"], rule, "{answer:?}");
    assert!(answer.body["next"].as_str().is_some_and(|next| !next.is_empty()), "{answer:?}");
}

/// Jira, with the ids `PREFIX-N`. Alice is a pipeline there and has no account.
pub fn jira(name: &str, prefix: &str) -> String {
    format!(
        "[[signal]]\nname = \"{name}\"\ntype = \"ticket\"\ncontact = \"the Jira desk\"\ntimeout = \"2s\"\n\
         url = \"{{desk}}/rest/api/3/issue/{{ticket}}?fields=status,assignee,reporter,labels\"\n\
         secret = \"{{config}}/basic.secret\"\nids = \"{prefix}-{{digits}}\"\nid = \"/key\"\n\
         state = \"/fields/status/name\"\n\
         states = {{ open = [\"To Do\"], active = [\"In Progress\"], closed = [\"Done\"] }}\n\
         assignee = \"/fields/assignee/emailAddress\"\nopened_by = \"/fields/reporter/emailAddress\"\n\
         resource = \"/fields/labels\"\naccounts = {{ olga = \"olga@example.com\" }}\n\n"
    )
}

/// ServiceNow.
pub fn servicenow() -> String {
    "[[signal]]\nname = \"now\"\ntype = \"ticket\"\ncontact = \"change management\"\n\
     url = \"{desk}/api/now/table/change_request?sysparm_query=number={ticket}&sysparm_limit=1&sysparm_fields=number,state,\
     assigned_to.email,opened_by.email,cmdb_ci.name\"\n\
     secret = \"{config}/basic.secret\"\nids = \"CHG{digits}\"\nid = \"/result/0/number\"\nstate = \"/result/0/state\"\n\
     states = { open = [\"-5\", \"-4\", \"-3\", \"-2\"], active = [\"-1\"], closed = [\"0\", \"3\", \"4\"] }\n\
     assignee = \"/result/0/assigned_to.email\"\nopened_by = \"/result/0/opened_by.email\"\n\
     resource = \"/result/0/cmdb_ci.name\"\n\n"
        .to_owned()
}

/// GitHub.
pub fn github() -> String {
    "[[signal]]\nname = \"hub\"\ntype = \"ticket\"\ncontact = \"the platform team\"\n\
     url = \"{desk}/repos/acme/ops/issues/{digits}\"\nsecret = \"{config}/bearer.secret\"\n\
     ids = \"acme/ops#{digits}\"\nid = \"/number\"\nstate = \"/state\"\n\
     states = { active = [\"open\"], closed = [\"closed\"] }\nassignee = \"/assignee/login\"\nopened_by = \"/user/login\"\n\
     resource = \"/labels\"\nresource_name = \"/name\"\naccounts = { olga = \"olga-hub\" }\n\n"
        .to_owned()
}

/// A ticket in this state that somebody else opened and that names `beta` and `ledger`.
pub fn ticket(state: &str) -> DeskTicket {
    DeskTicket {
        state: state.to_owned(),
        assignee: None,
        opened_by: "otto@example.com".to_owned(),
        names: vec!["beta".to_owned(), "ledger".to_owned()],
        moves: Vec::new(),
        moved_to: None,
    }
}
