//! What Google Cloud would let a lease do under the plans that the adapter makes: where its bindings reach, what their roles
//! hold, and their conditions, evaluated as CEL.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use grantd_provider_api::{
    Capability, CapabilityMap, Carrier, Cloud, Entitlement, ErrorKind, Expiry, Narrowing, NativeRole, NoAssertions,
    Plan, Provider, ProviderError, ResourceRef, SystemClock,
};
use grantd_provider_gcp::GcpProvider;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::maps::{map, native};
use crate::tool;

/// When the leases of these tests end.
const END: &str = "2026-11-22T12:00:00Z";
const LIST_PREFIX: &str = "storage.googleapis.com/objectListPrefix";
const PROJECT: &str = "//cloudresourcemanager.googleapis.com/projects/acme-prod";

/// The adapter with one account; nothing is ever sent.
fn adapter() -> &'static GcpProvider {
    static ADAPTER: LazyLock<GcpProvider> = LazyLock::new(|| {
        let config = toml::from_str(
            "[[account]]\nname = \"prod\"\nprojects = [\"acme-prod\"]\nnumber = \"123456789012\"\npool = \"grantd\"\n\
             provider = \"grantd\"\nendpoint = \"http://127.0.0.1:1\"\n\
             base = { type = \"assertion\", subject = \"grantd\" }\n\
             [[account.service_account]]\nemail = \"grantd-1@acme-prod.iam.gserviceaccount.com\"\n",
        );
        GcpProvider::new(config.unwrap(), Arc::new(SystemClock::new()), Arc::new(NoAssertions)).unwrap()
    });
    &ADAPTER
}

fn shipped() -> &'static CapabilityMap {
    static SHIPPED: LazyLock<CapabilityMap> = LazyLock::new(|| map(Cloud::Gcp));
    &SHIPPED
}

/// The plan that the adapter makes.
fn planned(capability: &Capability, native: &str, prefix: Option<&str>) -> Result<Plan, ProviderError> {
    let entitlement = Entitlement {
        capability: capability.clone(),
        resource: ResourceRef {
            cloud: Cloud::Gcp,
            account: "prod".to_owned(),
            kind: capability.resource_type().to_owned(),
            native: native.to_owned(),
        },
        narrowing: Narrowing { prefix: prefix.map(str::to_owned), source_networks: Vec::new() },
    };
    adapter().plan(&entitlement, shipped())
}

/// The document of a plan. A field that is not known here would be one that nobody judged.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    carrier: Carrier,
    expiry: Expiry,
    bindings: Vec<Binding>,
    #[serde(default)]
    boundary: Option<Value>,
}

/// One binding of a plan.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Binding {
    policy: String,
    role: String,
    #[serde(default)]
    permissions: Vec<String>,
    #[serde(default)]
    condition: Option<String>,
    #[serde(default, rename = "prefix")]
    _prefix: Option<String>,
}

impl Document {
    fn of(plan: &Plan) -> Self {
        assert_eq!(plan.cloud, Cloud::Gcp);
        Self::deserialize(&plan.native).unwrap_or_else(|why| panic!("{why}: {}", plan.native))
    }
}

impl Binding {
    /// Whether it stands where the resource looks: in its own policy or its project's, which reaches all that is in it.
    fn reaches(&self, resource: &str) -> bool {
        let own = resource.strip_prefix(&self.policy).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        // The project of a bucket does not stand in its name; it is the same here.
        let inside = resource.contains("/projects/acme-prod/") || resource.contains("/projects/_/");
        own || (self.policy == PROJECT && inside)
    }

    /// Its condition as it is written for a lease: with the end of the lease, unless the daemon alone ends it.
    fn with_end(&self, expiry: Expiry) -> Option<String> {
        let end = format!("request.time < timestamp(\"{END}\")");
        match (expiry, &self.condition) {
            (Expiry::Daemon, condition) => condition.clone(),
            (Expiry::Cloud, Some(narrow)) => Some(format!("({narrow}) && {end}")),
            (Expiry::Cloud, None) => Some(end),
        }
    }
}

/// The condition of the one binding of a capability, as the adapter plans it. None if it cannot be narrowed so.
fn condition(capability: &Capability, prefix: Option<&str>) -> Option<String> {
    let plan = planned(capability, &native(Cloud::Gcp, capability.as_str(), "example"), prefix);
    let document = Document::of(&plan.inspect_err(|error| assert!(prefix.is_some(), "{capability}: {error}")).ok()?);
    document.bindings[0].with_end(document.expiry)
}

/// Roles that have a condition beside the end.
fn conditional() -> Vec<(Capability, NativeRole)> {
    let all = map(Cloud::Gcp).capability.into_iter().flat_map(|(capability, permission)| {
        assert!(permission.roles.len() == 1, "{capability}: these tests know one role each");
        permission.roles.into_iter().map(move |role| (capability.clone(), role))
    });
    all.filter(|(_, role)| role.condition.is_some() || role.prefix_condition.is_some()).collect()
}

#[test]
fn each_condition_is_taken_with_the_end_of_a_lease() {
    let mut questions = Vec::new();
    for (capability, permission) in &shipped().capability {
        for prefix in [None, Some("logs/")] {
            let found = condition(capability, prefix);
            assert!(permission.expiry == Expiry::Cloud || found.is_none(), "{capability}: who ends it?");
            let Some(condition) = found else { continue };
            let resource = json!({ "type": "x", "name": "x", "service": "x" });
            questions.push(json!({ "condition": condition, "resource": resource, "time": END }));
        }
    }
    assert!(questions.len() > 20, "{}", questions.len());
    let answers = tool::python("cel.py", &json!(questions));
    for (question, answer) in questions.iter().zip(answers) {
        assert_eq!(answer, json!({ "value": false }), "at the very end of the lease: {question}");
    }
}

#[test]
fn a_slip_in_a_shipped_condition_is_noticed() {
    let words = [
        "resource.type",
        "resource.name",
        "startsWith",
        "getAttribute",
        "api",
        "objectListPrefix",
        "googleapis",
        "Bucket'",
        "Object'",
        "Instance'",
        "Cluster'",
        "&&",
        "||",
        "==",
    ];
    let (mut questions, mut hit) = (Vec::new(), BTreeSet::new());
    for (capability, _) in conditional() {
        let made = [None, Some("logs/")].into_iter().filter_map(|prefix| condition(&capability, prefix));
        for made in made {
            for word in words.into_iter().filter(|word| made.contains(word)) {
                let middle = word.len() / 2;
                let slipped = made.replacen(word, &format!("{}{}", &word[..middle], &word[middle + 1..]), 1);
                let resource = json!({ "type": "x", "name": "x", "service": "x" });
                questions.push(json!({ "condition": slipped, "resource": resource, "time": END }));
                hit.insert(word);
            }
        }
    }
    assert_eq!(hit.len(), words.len(), "{hit:?}");
    for (question, answer) in questions.iter().zip(tool::python("cel.py", &json!(questions))) {
        assert!(answer["error"].is_string(), "{question} was taken: {answer}");
    }
}

/// Each plan binds exactly the role of the map, where the map says, with no permission besides.
#[test]
fn a_plan_has_the_role_of_its_capability_and_no_other() {
    for (capability, permission) in &shipped().capability {
        let native = native(Cloud::Gcp, capability.as_str(), "example");
        let plan = planned(capability, &native, None).unwrap_or_else(|error| panic!("{capability}: {error}"));
        let document = Document::of(&plan);
        assert_eq!((document.carrier, document.expiry), (permission.carrier, permission.expiry), "{capability}");
        let [binding] = document.bindings.as_slice() else { panic!("{capability}: {document:?}") };
        let role = &permission.roles[0];
        let name = match role.role.strip_prefix("custom:") {
            Some(name) => format!("projects/acme-prod/roles/grantd.{name}"),
            None => role.role.clone(),
        };
        assert_eq!((&binding.role, &binding.permissions), (&name, &role.permissions), "{capability}");
        assert_eq!(binding.policy == native, role.on == "{native}", "{capability}: {binding:?}");
        assert!(binding.policy == native || (binding.policy == PROJECT && binding.condition.is_some()), "{binding:?}");
        let carried = match permission.carrier {
            Carrier::Principal => "principal://iam.googleapis.com/projects/123456789012/",
            Carrier::ServiceAccount => "grantd-1@acme-prod.iam.gserviceaccount.com",
        };
        assert!(plan.targets.len() == 1 && plan.targets[0].starts_with(carried), "{capability}: {:?}", plan.targets);
        // A boundary is of Cloud Storage alone, and no capability of it is carried by a service account.
        assert_eq!(document.boundary, None, "{capability}");
    }
}

/// One thing that somebody asks for under a capability, and one that is done.
#[derive(Debug, Clone)]
struct Case {
    which: prop::sample::Index,
    of_permission: prop::sample::Index,
    own_permission: bool,
    name: String,
    elsewhere: Option<String>,
    prefix: Option<String>,
    key: String,
    inside: bool,
    late: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    let key = "[a-zA-Z0-9/_.=+ :@()\\[\\]-]{0,12}";
    (
        (any::<prop::sample::Index>(), any::<prop::sample::Index>(), proptest::bool::weighted(0.8)),
        "[a-z][a-z0-9]{2,10}",
        proptest::option::weighted(0.4, "[a-z0-9-]{0,2}"),
        proptest::option::of("[a-zA-Z0-9/_.=+ :@()\\[\\]-]{1,8}"),
        key,
        any::<bool>(),
        proptest::bool::weighted(0.1),
    )
        .prop_map(|((which, of_permission, own_permission), name, elsewhere, prefix, key, inside, late)| Case {
            which,
            of_permission,
            own_permission,
            name,
            elsewhere,
            prefix,
            key,
            inside,
            late,
        })
}

/// A request: which permission on which resource, as a condition sees it.
struct Asked {
    permission: String,
    resource: String,
    kind: String,
    attributes: Value,
    time: &'static str,
}

impl Asked {
    fn of(case: &Case, capability: &Capability, permission: String) -> (Self, bool) {
        let native = native(Cloud::Gcp, capability.as_str(), &case.name);
        let own = case.elsewhere.is_none();
        let resource = match &case.elsewhere {
            Some(end) => format!("{native}{end}x"),
            None => native,
        };
        let prefix = case.prefix.as_deref().unwrap_or_default();
        let key = if case.inside { format!("{prefix}{}", case.key) } else { case.key.clone() };
        let begins = key.starts_with(prefix);
        let (kind, resource, attributes, begins) = match capability.resource_type() {
            // Listing is asked of the bucket; the attribute is of listings and does not make an object any other.
            "object-storage" if permission == "storage.objects.list" => {
                let attributes = if key.is_empty() { json!({}) } else { json!({ LIST_PREFIX: key }) };
                ("storage.googleapis.com/Bucket", resource, attributes, begins)
            }
            "object-storage" if permission.starts_with("storage.buckets.") => {
                ("storage.googleapis.com/Bucket", resource, json!({}), prefix.is_empty())
            }
            "object-storage" => {
                let object = format!("{resource}/objects/{key}");
                ("storage.googleapis.com/Object", object, json!({ LIST_PREFIX: prefix }), begins)
            }
            "kubernetes-cluster" => ("container.googleapis.com/Cluster", resource, json!({}), true),
            "database" | "database-user" => ("sqladmin.googleapis.com/Instance", resource, json!({}), true),
            // Conditions of the map know no others.
            _ => ("x", resource, json!({}), true),
        };
        let time = if case.late { END } else { "2026-11-22T11:59:59Z" };
        let kind = kind.to_owned();
        (Self { permission, resource, kind, attributes, time }, own && begins)
    }

    /// The question whether a condition holds for it.
    fn question(&self, condition: &str) -> Value {
        let (_, name) = self.resource.strip_prefix("//").unwrap().split_once('/').unwrap();
        json!({
            "condition": condition, "time": self.time, "attributes": self.attributes,
            "resource": { "type": self.kind, "name": name, "service": self.kind.split('/').next() },
        })
    }
}

/// P3: whatever is asked, the plan lets nothing pass on another resource, another path or by another permission, and
/// nothing after the end, where the cloud ends it.
#[test]
fn p3_nothing_outside_the_entitlement_passes_on_google_cloud() {
    let mut runner = TestRunner::default();
    let capabilities: Vec<&Capability> = shipped().capability.keys().collect();
    let (conditional, mut asked, mut passed, mut shut) = (conditional(), Vec::new(), 0, 0);
    for _ in 0..3000 {
        let case = cases().new_tree(&mut runner).unwrap().current();
        // Most of them where conditions decide.
        let capability = match case.key.len() % 4 {
            0 => capabilities[case.which.index(capabilities.len())],
            _ => &conditional[case.which.index(conditional.len())].0,
        };
        let permission = &shipped().capability[capability];
        let native = native(Cloud::Gcp, capability.as_str(), &case.name);
        let plan = match planned(capability, &native, case.prefix.as_deref()) {
            Ok(plan) => plan,
            Err(error) => {
                let odd = case.prefix.as_deref().is_some_and(|prefix| prefix.starts_with('/'));
                let refusable = odd || (case.prefix.is_some() && permission.roles[0].prefix_condition.is_none());
                assert!(refusable && error.kind == ErrorKind::Invalid, "{case:?} of {capability}: {error}");
                continue;
            }
        };
        let own = &permission.roles[0].permissions;
        let all: Vec<&String> = match case.own_permission {
            true => own.iter().collect(),
            false => shipped().capability.values().flat_map(|one| &one.roles[0].permissions).collect(),
        };
        let name = all[case.of_permission.index(all.len())].clone();
        let (request, inside) = Asked::of(&case, capability, name.clone());
        let late = case.late && permission.expiry == Expiry::Cloud;
        let wanted = inside && own.contains(&name) && !late;
        let document = Document::of(&plan);
        let held = |binding: &&Binding| {
            binding.reaches(&request.resource) && binding.permissions.contains(&request.permission)
        };
        let conditions: Vec<Option<String>> =
            document.bindings.iter().filter(held).map(|binding| binding.with_end(document.expiry)).collect();
        match conditions.as_slice() {
            [] => {
                assert!(!wanted, "nothing of {} lets {name} pass on {}: {case:?}", plan.native, request.resource);
                shut += 1;
            }
            [None] => assert!(wanted, "{} lets {name} pass on {}: {case:?}", plan.native, request.resource),
            [Some(condition)] => asked.push((case, request.question(condition), wanted)),
            more => panic!("{capability} has {more:?}"),
        }
    }
    let answers = tool::python("cel.py", &Value::Array(asked.iter().map(|(_, asked, _)| asked.clone()).collect()));
    for ((case, asked, wanted), answer) in asked.iter().zip(&answers) {
        assert_eq!(*answer, json!({ "value": wanted }), "{case:?}: {asked}");
        passed += usize::from(*wanted);
    }
    let refused = asked.len() - passed;
    assert!(
        passed > 100 && refused > 300 && shut > 100,
        "{passed} passed, {refused} refused, {shut} without a binding"
    );
}
