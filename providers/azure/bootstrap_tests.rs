use grantd_provider_api::{Capability, Need, Provider};

use super::*;
use crate::testing::{SLOTS, SUBSCRIPTION, Stage, container, machine};

fn needs(stage: &Stage) -> AccountNeeds {
    let need = |capability: &str, native: &str| Need {
        resource: native.rsplit('/').next().unwrap().to_owned(),
        capability: capability.parse::<Capability>().unwrap(),
        plan: stage.plan(capability, native, None),
    };
    let needs = vec![need("object-storage:read", &container("logs")), need("virtual-machine:admin", &machine())];
    AccountNeeds { account: "main".to_owned(), base: None, needs }
}

#[tokio::test]
async fn what_is_printed_lets_the_daemon_assign_what_is_needed_and_nothing_else() {
    let stage = Stage::new();
    let text = stage.provider.bootstrap(&[needs(&stage)]).unwrap();
    let condition = text.lines().find_map(|line| line.trim().strip_prefix("condition          = \"")).unwrap();
    let slots = SLOTS.map(|(_, object)| object).into();
    let roles = delegation::judge(condition.trim_end_matches('"'), &slots, &slots).unwrap().unwrap();
    let power = custom_role(SUBSCRIPTION, "machine-power");
    assert!(roles.len() == 3 && roles.contains(&power), "{roles:?}");
    let privileged = include_str!("escalating.txt").lines().filter_map(|line| line.split_once(' '));
    assert!(privileged.into_iter().all(|(id, _)| !text.contains(id)), "{text}");
    for said in [
        &format!("role_definition_id = \"{power}\""),
        "\"Microsoft.Compute/virtualMachines/restart/action\"",
        "issuer         = \"https://issuer.test\"",
        "subject        = \"slot-1\"",
        "audiences      = [\"api://AzureADTokenExchange\"]",
        &format!("self.object_id == \"{}\"", SLOTS[0].1),
        "# can be asked for: virtual-machine:admin on \"vm\"",
    ] {
        assert!(text.contains(said), "{said} is not in {text}");
    }
    assert_eq!(text.matches('{').count(), text.matches('}').count());
    assert!(stage.fake.requests("").is_empty(), "it asks nobody");
}

#[tokio::test]
async fn without_needs_the_daemon_may_assign_nothing() {
    let stage = Stage::new();
    let nothing = AccountNeeds { account: "main".to_owned(), base: None, needs: Vec::new() };
    let text = stage.provider.bootstrap(&[nothing]).unwrap();
    assert!(!text.contains("azurerm_role_assignment") && text.contains("nothing can be assigned there"), "{text}");
}
